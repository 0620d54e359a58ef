"""The threads that run the contract, and how many calls may be in the house at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """`running` threads; up to `admitted` calls, the rest of them waiting for a thread. Used from one event loop.

    A call beyond that must be turned away at once: a peer gives up after 30 s, and reading of its stream must not stop, for
    the answers that running calls wait for come the same way.
    """

    def __init__(self, *, running: int, admitted: int) -> None:
        self._threads = ThreadPoolExecutor(running, thread_name_prefix="contract")
        self._free = admitted
        self._refusing = False

    def admit(self) -> bool:
        """Take a place; False if there is none. A place taken is given back by `release`."""
        if self._refusing or self._free == 0:
            return False
        self._free -= 1
        return True

    def refuse_more(self) -> None:
        """Let no further call in."""
        self._refusing = True

    def release(self) -> None:
        self._free += 1

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))

    def close(self) -> None:
        self._threads.shutdown(wait=False)
