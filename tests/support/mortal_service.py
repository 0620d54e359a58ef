"""The consortium's chaincode service, killed at each message of one function.

    python -m tests.support.mortal_service CONFIG FUNCTION DEATHS

The first call of the function is killed when it comes, the next one before its first question to the peer is sent, the one after before
the second, and so on; then one before its answer, and all later ones live. A new service stands in for the killed one at once. DEATHS
is a file with a line for each death: what the service was about to send.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fabric.chaincode.messages import Message
from fabric.contract.entry import invoke
from fabric.contract.stub import Stub
from gateway.chaincode.config import load_chaincode_config
from gateway.chaincode.serve import serve

ANSWER = "answer"


class Mortal:
    """The contract, whose process dies."""

    def __init__(self, function: str, deaths: Path) -> None:
        self._function, self._deaths = function, deaths

    def __call__(self, stub: Stub, function: str, args: Sequence[bytes]) -> bytes:
        died = self._deaths.read_text().splitlines() if self._deaths.exists() else []
        if function != self._function or ANSWER in died:
            return invoke(stub, function, args)
        if not died:
            self._die("nothing yet")
        self._watch(stub, len(died))
        answer = invoke(stub, function, args)
        self._die(ANSWER)
        return answer

    def _watch(self, stub: Any, last: int) -> None:
        """Die before question number `last`."""
        ask, asked = stub._ask, 0

        def counted(message: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked == last:
                self._die(Message.Type.Name(message.type))
            return ask(message)

        stub._ask = counted

    def _die(self, before: str) -> None:
        with self._deaths.open("a") as book:
            print(before, file=book)
        os.kill(os.getpid(), signal.SIGKILL)


def main(config: Path, function: str, deaths: Path) -> None:
    """Serve, again after each death, until SIGTERM."""
    parsed, contract = load_chaincode_config(config), Mortal(function, deaths)
    own = multiprocessing.get_context("fork")  # everything is imported by then: the successor listens within milliseconds
    while True:
        service = own.Process(target=lambda: asyncio.run(serve(parsed, contract=contract)))
        service.start()
        signal.signal(signal.SIGTERM, lambda number, _, running=service: running.terminate())
        service.join()
        if service.exitcode != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
