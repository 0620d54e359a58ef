"""Which organisations are asked to endorse: the client names them, so that no peer has to work out who would be enough.

A peer that is asked for "whoever is enough" first runs the contract alone, then lists every set of organisations that satisfies all
policies of the call, which takes it minutes where single keys have policies and organisations are many. Named ones all run the
contract at the same time.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from random import SystemRandom

from fabric.client.errors import ContractRefused, StreamError

_AVOIDED_SECONDS = 10.0  # an organisation whose peers failed is asked again after this, or when the others are not enough
_random = SystemRandom()


@dataclass(frozen=True)
class Organisations:
    """A channel's organisations. `owners` are those of them whose own peer, and a majority of whose peers, single keys ask for."""

    members: Sequence[str]
    owners: Sequence[str]


class Endorsers:
    """A majority of a channel's organisations that satisfies the policies of keys as well: see `named`."""

    def __init__(
        self,
        own: Callable[[], str],
        read: Callable[[], Awaitable[Organisations]],
        *,
        clock: Callable[[], float] = time.monotonic,
        shuffled: Callable[[list[str]], list[str]] = lambda names: _random.sample(names, len(names)),
    ) -> None:
        """`own`: the caller's MSP id. `read` asks the ledger for the organisations, when they are first needed and after `forget`."""
        self._own, self._read, self._clock, self._shuffled = own, read, clock, shuffled
        self._known: Organisations | None = None
        self._avoided: dict[str, float] = {}

    @property
    def own(self) -> str:
        """The caller's MSP id."""
        return self._own()

    async def named(self, *, by_own: bool = False) -> list[str]:
        """MSP ids to ask: as many as make a majority, drawn anew each time, the caller's own and then owners first.

        Where an owner calls, a majority of owners is among them, too: there are no more owners than members. `by_own`: the caller's own
        organisation is among them even if its peer failed before. Empty where the caller may not ask
        who belongs to the channel: the peer then chooses. Raises LedgerUnavailable.
        """
        if self._known is None:
            try:
                self._known = await self._read()
            except (ContractRefused, StreamError):
                return []
        members, owners, own, now = self._known.members, self._known.owners, self._own(), self._clock()

        def rank(mspid: str) -> tuple[bool, bool, bool]:
            avoided = self._avoided.get(mspid, now) > now and not (by_own and mspid == own)
            return avoided, mspid != own, mspid not in owners

        return sorted(self._shuffled(list(members)), key=rank)[: len(members) // 2 + 1]

    def avoid(self, mspids: Iterable[str]) -> None:
        """Their peers failed: ask others for a while."""
        self._avoided |= dict.fromkeys(mspids, self._clock() + _AVOIDED_SECONDS)

    def forget(self) -> None:
        """Those that were named were not enough: the channel or its owners are others by now."""
        self._known = None
