"""Merkle trees as in RFC 6962, section 2.1: a root that commits to a list, and paths that show one entry without the others. Pure."""

import hashlib
from collections.abc import Sequence


def root(leaves: Sequence[bytes]) -> bytes:
    """The tree's hash (32 bytes); of no leaves, the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return _leaf(leaves[0])
    split = _split(len(leaves))
    return _node(root(leaves[:split]), root(leaves[split:]))


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root, the nearest first."""
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*path(leaves[:split], index), root(leaves[split:])]
    return [*path(leaves[split:], index - split), root(leaves[:split])]


def leads_to(leaf: bytes, index: int, count: int, hashes: Sequence[bytes], expected: bytes) -> bool:
    """Whether `hashes` show that `leaf` is entry `index` of the `count` under the root `expected`."""
    return _climb(leaf, index, count, list(hashes)) == expected


def _climb(leaf: bytes, index: int, count: int, hashes: list[bytes]) -> bytes | None:
    if count == 1:
        return _leaf(leaf) if index == 0 and not hashes else None
    if not 0 <= index < count or not hashes:
        return None
    split, sibling = _split(count), hashes.pop()
    left = index < split
    below = _climb(leaf, index if left else index - split, split if left else count - split, hashes)
    if below is None:
        return None
    return _node(below, sibling) if left else _node(sibling, below)


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
