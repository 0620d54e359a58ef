"""The world state of an audit in a temporary file, so that memory does not grow with the number of keys."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from fabric.rwset import Version
from fabric.worldstate import Entry, Key, Space, Updates, WorldState

_HELD_BYTES = 16 * 1024 * 1024  # in memory, as far as they can be told; a ledger that has fewer never comes to the disk
_ENTRY_BYTES = 400  # what Python needs for a key and its entry beside the value
_SCHEMA = """
CREATE TABLE state (
    namespace TEXT, collection TEXT, key, value BLOB, block INTEGER, transaction_number INTEGER, metadata TEXT,
    PRIMARY KEY (namespace, collection, key)
) WITHOUT ROWID
"""
_PUT = "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM state WHERE namespace = ? AND collection = ? AND key = ?"
_ENTRY = "SELECT value, block, transaction_number, metadata FROM state WHERE namespace = ? AND collection = ? AND key = ?"
# Keys of private data are their hashes, in bytes, and belong to no range.
_RANGE = """
SELECT key, value, block, transaction_number, metadata FROM state
WHERE namespace = ? AND collection = ? AND key >= ? AND (? = '' OR key < ?) AND typeof(key) = 'text' ORDER BY key
"""


class StateOnDisk(WorldState):
    """What was read or written last is held in memory, the rest in a file that SQLite deletes. A context manager."""

    def __init__(self, *, held_bytes: int = _HELD_BYTES) -> None:
        # The empty name asks for a private file in the system's temporary folder. One thread at a time uses it, though not always the same.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", _SCHEMA):
            self._database.execute(statement)
        self._room = self._held_bytes = held_bytes
        self._held: dict[tuple[Space, Key], Entry | None] = {}  # None where there is no such key
        self._unwritten: set[tuple[Space, Key]] = set()
        self._forgotten = False  # whether there may be keys that are in the file only
        self._namespaces: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def get(self, space: Space, key: Key) -> Entry | None:
        place = space, key
        if place in self._held or not self._forgotten:
            return self._held.get(place)
        row = self._database.execute(_ENTRY, (*space, key)).fetchone()
        entry = None if row is None else _entry(*row)
        self._hold(place, entry)
        return entry

    def range(self, space: Space, start: str, end: str) -> Iterator[tuple[str, Entry]]:
        self._write()
        for key, *row in self._database.execute(_RANGE, (*space, start, end, end)):
            yield key, _entry(*row)

    def holds(self, namespace: str) -> bool:
        return namespace in self._namespaces

    def commit(self, updates: Updates) -> None:
        for space, entries in updates.spaces.items():
            if not space.collection:
                self._namespaces.add(space.namespace)
            for key, entry in entries.items():
                place = space, key
                self._unwritten.add(place)
                self._hold(place, None if entry.value is None else entry)
        if self._room < 0:
            self._write()
            self._held.clear()
            self._room, self._forgotten = self._held_bytes, True

    def copy_to(self, other: sqlite3.Connection) -> None:
        """Give another database a table `state` with every key."""
        self._write()
        other.execute(_SCHEMA)
        other.executemany(_PUT, self._database.execute("SELECT * FROM state"))

    def copy_from(self, other: sqlite3.Connection) -> None:
        """Hold what a database holds that `copy_to` filled, and nothing else. Raises ValueError for rows that it did not write."""
        self._insert(_checked(row) for row in other.execute("SELECT * FROM state"))
        self._forgotten = True
        self._namespaces.update(row[0] for row in self._database.execute("SELECT DISTINCT namespace FROM state WHERE collection = ''"))

    def _hold(self, place: tuple[Space, Key], entry: Entry | None) -> None:
        self._held[place] = entry
        self._room -= _ENTRY_BYTES + len(entry.value or b"" if entry else b"")

    def _write(self) -> None:
        """Bring the file up to date."""
        gone = [(*space, key) for space, key in self._unwritten if self._held[space, key] is None]
        self._insert(_row(*place, entry) for place in self._unwritten if (entry := self._held[place]) is not None)
        self._database.execute("BEGIN")
        self._database.executemany(_DELETE, gone)
        self._database.execute("COMMIT")
        self._unwritten.clear()

    def _insert(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany(_PUT, rows)
        self._database.execute("COMMIT")


def _row(space: Space, key: Key, entry: Entry) -> tuple[Any, ...]:
    metadata = json.dumps([[name, value.hex()] for name, value in entry.metadata])
    return *space, key, entry.value, entry.version.block, entry.version.transaction, metadata


def _entry(value: bytes, block: int, number: int, metadata: str) -> Entry:
    return Entry(Version(block, number), value, tuple((name, bytes.fromhex(data)) for name, data in json.loads(metadata)))


def _checked(row: tuple[Any, ...]) -> tuple[Any, ...]:
    _entry(*row[3:])
    return row
