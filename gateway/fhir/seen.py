"""Which resources stood on an earlier line: sixteen bytes for each, however long its id is."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
"""(resources, 2): 128 bits for each. Of 2^64 resources, two might be taken for one."""

NO_KEYS: Keys = np.empty((0, 2), dtype=np.uint64)

_KEY_BYTES = 16


def keys(names: Iterable[str]) -> Keys:
    """The keys of resources, each named `Type/id`."""
    digests = b"".join(blake2b(name.encode(), digest_size=_KEY_BYTES).digest() for name in names)
    return np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)


class Seen:
    """A set of resources that only grows: sorted arrays are merged when they have become as long as their neighbour."""

    def __init__(self) -> None:
        self._sorted: list[_Columns] = []

    def add(self, added: Keys) -> npt.NDArray[np.bool_]:
        """Add resources; return which of them were there, or stand earlier among the added ones."""
        order = np.lexsort((added[:, 1], added[:, 0]))  # stable: the first of equal ones stays the first
        high, low = added[order, 0], added[order, 1]
        repeated = np.zeros(len(added), dtype=bool)
        repeated[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        repeated |= self._contained(high, low)
        self._merge((high[~repeated], low[~repeated]))
        found = np.empty_like(repeated)
        found[order] = repeated
        return found

    def contains(self, wanted: Keys) -> npt.NDArray[np.bool_]:
        """Which resources are there."""
        order = np.argsort(wanted[:, 0])  # looking up neighbours one after the other is several times as fast
        found = np.empty(len(wanted), dtype=bool)
        found[order] = self._contained(wanted[order, 0], wanted[order, 1])
        return found

    def update(self, other: "Seen") -> None:
        """Add all resources of another set, none of which is in this one."""
        for new in other._sorted:
            self._merge(new)

    def _contained(self, high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(high), dtype=bool)
        for earlier in self._sorted:
            begin = np.searchsorted(earlier[0], high)
            at = np.minimum(begin, len(earlier[0]) - 1)
            for row in np.flatnonzero(earlier[0][at] == high):  # those that are there, and one of 2^64 others
                end = np.searchsorted(earlier[0], high[row], side="right")
                found[row] |= bool((earlier[1][begin[row] : end] == low[row]).any())
        return found

    def _merge(self, new: "_Columns") -> None:
        while self._sorted and len(self._sorted[-1][0]) <= len(new[0]):
            high, low = (np.concatenate(columns) for columns in zip(self._sorted.pop(), new, strict=True))
            order = np.lexsort((low, high))
            new = high[order], low[order]
        if len(new[0]):
            self._sorted.append(new)


_Columns = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]
"""The first and the second half of sorted keys."""
