"""The commit hash that Fabric peers keep in a block's metadata: a chained digest of validation codes and state updates.

Each peer computes it, nobody signs it. It is SHA-256 over the number of codes, the codes, the block's updates in a fixed
order, and the commit hash before. The genesis block has none.
"""

from collections.abc import Iterator, Sequence

from fabric.crypto import sha256
from fabric.rwset import Version
from fabric.worldstate import Entry, Key, Space, Updates


def commit_hash(codes: Sequence[int], updates: Updates, previous: bytes) -> bytes:
    """The commit hash of a block; `previous` is that of the block before, empty before block 1."""
    return sha256(_varint(len(codes)) + bytes(codes) + _update_bytes(updates) + previous)


def _update_bytes(updates: Updates) -> bytes:
    """The updates as Fabric's peers serialise them: public keys before collections, each name said once where it changes."""
    parts: list[bytes] = []
    last_namespace = last_collection = ""
    for space, key, entry in _ordered(updates):
        namespace = space.namespace if space.namespace != last_namespace else ""
        if namespace:
            last_collection = ""
        collection = space.collection if space.collection != last_collection else ""
        last_namespace, last_collection = space
        write = _write(namespace, collection, key, entry)
        parts.append(b"\x0a" + _varint(len(write)) + write)
    return b"".join(parts)


def _ordered(updates: Updates) -> Iterator[tuple[Space, Key, Entry]]:
    for space in sorted(updates.spaces):
        entries = updates.spaces[space]
        for key in sorted(entries, key=_key_bytes):
            yield space, key, entries[key]


def _write(namespace: str, collection: str, key: Key, entry: Entry) -> bytes:
    return b"".join(
        (
            _field(1, namespace.encode()),
            _field(2, collection.encode()),
            _field(3, _key_bytes(key)),
            b"\x20\x01" if entry.value is None else b"",
            _field(5, entry.value or b""),
            _field(6, _version_bytes(entry.version)),
        )
    )


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data if data else b""


def _version_bytes(version: Version) -> bytes:
    return b"".join(bytes([size]) + part.to_bytes(size, "big") for part in version for size in [(part.bit_length() + 7) // 8])


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _key_bytes(key: Key) -> bytes:
    return key if isinstance(key, bytes) else key.encode()
