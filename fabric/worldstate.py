"""The world state as blocks build it: every key with its value, metadata and the transaction that wrote it last."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fabric.rwset import VALIDATION_PARAMETER, NamespaceRwset, Version

Key = str | bytes  # private keys are known by their hashes only

_LEAST = "\x00"  # what is appended to a key to get the next one in order


class Space(NamedTuple):
    """Where a key lives: a chaincode's name space, and a private data collection in it ("" for the public state)."""

    namespace: str
    collection: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's content. `value` None marks a deletion within a block. For private keys the value is the value's hash."""

    version: Version
    value: bytes | None
    metadata: tuple[tuple[str, bytes], ...] = ()


class WorldState(ABC):
    """Committed keys. Grows with the number of keys that exist, not with the length of the chain."""

    @abstractmethod
    def get(self, space: Space, key: Key) -> Entry | None: ...

    @abstractmethod
    def range(self, space: Space, start: str, end: str) -> Iterator[tuple[str, Entry]]:
        """Public keys with start <= key < end, in key order; an empty `end` means no bound."""

    @abstractmethod
    def holds(self, namespace: str) -> bool:
        """Whether anything was ever written publicly in a name space."""

    @abstractmethod
    def commit(self, updates: "Updates") -> None:
        """Take over what a block's valid transactions wrote."""

    def value(self, namespace: str, key: str) -> bytes | None:
        """A public key's value; None where it does not exist."""
        entry = self.get(Space(namespace), key)
        return entry.value if entry else None

    def validation_parameter(self, space: Space, key: Key) -> bytes:
        """The key's own endorsement policy; b"" where it has none."""
        entry = self.get(space, key)
        return dict(entry.metadata).get(VALIDATION_PARAMETER, b"") if entry else b""

    def public(self, namespace: str) -> dict[str, bytes]:
        """All public keys of a name space with their values, in key order."""
        return {key: entry.value for key, entry in self.range(Space(namespace), "", "") if entry.value is not None}


class StateInMemory(WorldState):
    """Every key in memory."""

    def __init__(self) -> None:
        self.spaces: dict[Space, dict[Key, Entry]] = {}

    def get(self, space: Space, key: Key) -> Entry | None:
        return self.spaces.get(space, {}).get(key)

    def range(self, space: Space, start: str, end: str) -> Iterator[tuple[str, Entry]]:
        entries = self.spaces.get(space, {})
        yield from ((key, entries[key]) for key in sorted(_between(entries, start, end)))

    def holds(self, namespace: str) -> bool:
        return Space(namespace) in self.spaces

    def commit(self, updates: "Updates") -> None:
        for space, entries in updates.spaces.items():
            committed = self.spaces.setdefault(space, {})
            for key, entry in entries.items():
                if entry.value is None:
                    committed.pop(key, None)
                else:
                    committed[key] = entry


class Updates:
    """What the valid transactions of one block wrote so far, on top of a committed state."""

    def __init__(self, state: WorldState) -> None:
        self._state = state
        self.spaces: dict[Space, dict[Key, Entry]] = {}

    def written(self, space: Space, key: Key) -> bool:
        """Whether a preceding transaction of this block wrote or deleted the key."""
        return key in self.spaces.get(space, {})

    def latest(self, space: Space, key: Key) -> Entry | None:
        """The key as the preceding transactions left it; None where it does not exist."""
        entry = self.spaces.get(space, {}).get(key) or self._state.get(space, key)
        return entry if entry and entry.value is not None else None

    def scan(self, space: Space, start: str, end: str, *, include_end: bool) -> Iterator[tuple[str, Version]]:
        """Public keys of [start, end) in order with their versions; `end` "" is the end of the name space."""
        beyond = end + _LEAST if end and include_end else end
        written = self.spaces.get(space, {})
        for key in sorted({*(key for key, _ in self._state.range(space, start, beyond)), *_between(written, start, beyond)}):
            entry = self.latest(space, key)
            if entry:
                yield key, entry.version

    def apply(self, rwsets: Sequence[NamespaceRwset], version: Version) -> None:
        """Add one valid transaction's writes."""
        for rwset in rwsets:
            public: dict[Key, bytes | None] = {write.key: write.value for write in rwset.writes}
            self._apply(Space(rwset.namespace), public, {write.key: write.entries for write in rwset.metadata_writes}, version)
            for collection in rwset.collections:
                hashed: dict[Key, bytes | None] = {write.key_hash: write.value_hash for write in collection.writes}
                metadata = {write.key: write.entries for write in collection.metadata_writes}
                self._apply(Space(rwset.namespace, collection.collection), hashed, metadata, version)

    def _apply(
        self,
        space: Space,
        values: Mapping[Key, bytes | None],
        metadata: Mapping[Key, tuple[tuple[str, bytes], ...]],
        version: Version,
    ) -> None:
        entries = {
            key: entry for key in {**values, **metadata} if (entry := self._merged(space, key, values, metadata, version)) is not None
        }
        if entries:
            self.spaces.setdefault(space, {}).update(entries)

    def _merged(
        self,
        space: Space,
        key: Key,
        values: Mapping[Key, bytes | None],
        metadata: Mapping[Key, tuple[tuple[str, bytes], ...]],
        version: Version,
    ) -> Entry | None:
        """The key after the transaction: what it leaves unsaid, value or metadata, stays as it was; deletion drops both."""
        latest = self.latest(space, key)
        if key not in values:
            return Entry(version, latest.value, metadata[key]) if latest else None
        value = values[key]
        if value is None:
            return Entry(version, None)
        return Entry(version, value, metadata.get(key, latest.metadata if latest else ()))


def _between(keys: Iterable[Key], start: str, end: str) -> Iterator[str]:
    return (key for key in keys if isinstance(key, str) and key >= start and (not end or key < end))
