"""A digest of a set of resources that does not depend on their order, files or compression, in constant memory.

LtHash (Bellare and Micciancio, Eurocrypt 1997; parameters of Lewi et al., https://eprint.iacr.org/2019/227): each resource's text
is expanded to 1024 numbers of 16 bits, which are added up. Finding two sets with one sum is a lattice problem of over 200 bits.
"""

import hashlib

import numpy as np

_NUMBERS = 1024


class ContentDigest:
    """The digest of what was added so far."""

    def __init__(self) -> None:
        self._sum = np.zeros(_NUMBERS, dtype=np.uint16)
        self._count = 0

    def add(self, text: str) -> None:
        """Add one resource; the same one added twice counts twice."""
        expanded = hashlib.shake_256(text.encode()).digest(2 * _NUMBERS)
        self._sum += np.frombuffer(expanded, dtype="<u2")
        self._count += 1

    def hex(self) -> str:
        """SHA-256 over the number of resources and the sum."""
        return hashlib.sha256(self._count.to_bytes(8, "big") + self._sum.astype("<u2").tobytes()).hexdigest()
