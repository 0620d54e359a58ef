"""Which resources stood on an earlier line: sixteen bytes for each, however long its id is."""

import hashlib

import numpy as np
import numpy.typing as npt

_KEY_BYTES = 16
_RECENT = 1 << 16
"""Keys held in a Python set, which takes six times as much, before they are sorted into an array."""


class Seen:
    """A set of resources that only grows; arrays of keys are merged when they have become as long as their neighbour."""

    def __init__(self) -> None:
        self._recent: set[bytes] = set()
        self._sorted: list[npt.NDArray[np.void]] = []

    def add(self, resource_type: str, identifier: str) -> bool:
        """Add a resource; False if it was there. Of 2^64 resources, two might be taken for one."""
        # Marked at its end, because numpy's fixed-length bytes forget zeros there.
        key = hashlib.blake2b(f"{resource_type}/{identifier}".encode(), digest_size=_KEY_BYTES - 1).digest() + b"\1"
        if key in self._recent or any(_contains(keys, key) for keys in self._sorted):
            return False
        self._recent.add(key)
        if len(self._recent) >= _RECENT:
            self._sort()
        return True

    def _sort(self) -> None:
        keys = np.sort(np.array(list(self._recent), dtype=f"S{_KEY_BYTES}"))
        self._recent = set()
        while self._sorted and len(self._sorted[-1]) <= len(keys):
            keys = np.sort(np.concatenate([self._sorted.pop(), keys]))
        self._sorted.append(keys)


def _contains(keys: npt.NDArray[np.void], key: bytes) -> bool:
    position = int(np.searchsorted(keys, np.bytes_(key)))
    return position < len(keys) and bool(keys[position] == key)
