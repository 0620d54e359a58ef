"""Transactions that this process's own peers have just endorsed: what comes back byte for byte needs no second reading and checking."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fabric.msp import Member
from fabric.transactions import EndorserTransaction

_KEPT_BYTES = 16 * 1024 * 1024  # of payloads; a transaction comes back within seconds, or is checked like a stranger's
_AWAITED_S = 0.01  # as long as a client on the same machine takes to sign and hand in what it was given


@dataclass(frozen=True)
class Endorsed:
    """A transaction as it would be parsed, but for the creator's signature, which only the client can make; and whose peers endorsed it."""

    transaction: EndorserTransaction
    endorsers: tuple[Member, ...]


class OwnTransactions:
    """The newest transactions that were assembled here and have not come back yet, by their exact payload bytes."""

    def __init__(self, *, kept_bytes: int = _KEPT_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._room, self._clock = kept_bytes, clock
        self._kept: dict[bytes, tuple[Endorsed, float]] = {}

    def remember(self, endorsed: Endorsed) -> None:
        """Take note of what this process has just assembled and endorsed."""
        payload = endorsed.transaction.payload
        self.take(payload)
        self._kept[payload] = endorsed, self._clock()
        self._room -= len(payload)
        while self._room < 0:
            self._room += len(oldest := next(iter(self._kept)))
            del self._kept[oldest]

    def take(self, payload: bytes) -> Endorsed | None:
        """The transaction with this very payload, once; None if it was not assembled here, came back already, or was so long ago."""
        if payload not in self._kept:
            return None
        self._room += len(payload)
        return self._kept.pop(payload)[0]

    def awaited(self) -> bool:
        """Whether a transaction was given out so short a time ago that its client is likely to hand it in now."""
        newest = next(reversed(self._kept.values()), None)
        return newest is not None and self._clock() - newest[1] < _AWAITED_S
