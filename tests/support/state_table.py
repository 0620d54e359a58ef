"""Committed state in a dictionary: the simplest thing that simulation and validation can read."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fabric.devledger.store import Entry
from fabric.rwset import Version, Write


@dataclass
class Table:
    """Committed state in a dictionary."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def version(self, key: str) -> Version | None:
        return entry.version if (entry := self.entries.get(key)) else None

    def policy(self, key: str) -> bytes:
        return entry.policy if (entry := self.entries.get(key)) else b""

    def range(self, start: str, end: str) -> Iterator[tuple[str, Entry]]:
        return iter([(key, self.entries[key]) for key in sorted(self.entries) if start <= key and (not end or key < end)])

    def apply(self, writes: tuple[Write, ...], version: Version, policies: tuple[tuple[str, bytes], ...] = ()) -> None:
        for write in writes:
            before = self.entries.pop(write.key, None)
            if write.value is not None:
                self.entries[write.key] = Entry(write.value, version, before.policy if before else b"")
        for key, policy in policies:
            if key in self.entries:
                self.entries[key] = Entry(self.entries[key].value, version, policy)


STATE = Table({"a": Entry(b"1", Version(4, 2)), "c": Entry(b"1", Version(1, 0))})
