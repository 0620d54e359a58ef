"""A digest of a set of resources that does not depend on their order, files or compression, in constant memory.

LtHash (Bellare and Micciancio, Eurocrypt 1997; parameters of Lewi et al., https://eprint.iacr.org/2019/227): each resource's text
is expanded to 1024 numbers of 16 bits, which are added up. Finding two sets with one sum is a lattice problem of over 200 bits.
"""

import hashlib
from collections.abc import Sequence
from typing import Self

import numpy as np

_NUMBERS = 1024
_AT_ONCE = 256
"""Expansions that are in memory at a time."""


class ContentDigest:
    """The digest of what was added so far."""

    def __init__(self) -> None:
        self._sum = np.zeros(_NUMBERS, dtype="<u2")
        self._count = 0

    def add(self, texts: Sequence[str]) -> None:
        """Add resources; the same one added twice counts twice."""
        for start in range(0, len(texts), _AT_ONCE):
            expanded = b"".join(hashlib.shake_256(text.encode()).digest(2 * _NUMBERS) for text in texts[start : start + _AT_ONCE])
            self._sum += np.frombuffer(expanded, dtype="<u2").reshape(-1, _NUMBERS).sum(axis=0, dtype="<u2")
        self._count += len(texts)

    def merge(self, other: Self) -> None:
        """Add all that was added to another digest."""
        self._sum += other._sum
        self._count += other._count

    def to_bytes(self) -> bytes:
        """Number and sum, for `from_bytes`."""
        return self._count.to_bytes(8, "big") + self._sum.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` gave."""
        found = cls()
        found._count = int.from_bytes(data[:8], "big")
        found._sum = np.frombuffer(data[8:], dtype="<u2").copy()
        return found

    def hex(self) -> str:
        """SHA-256 over the number of resources and the sum."""
        return hashlib.sha256(self.to_bytes()).hexdigest()
