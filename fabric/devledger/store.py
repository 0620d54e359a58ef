"""The embedded ledger's data: blocks, world state and transaction index in one SQLite database.

A block, its writes and its transactions become durable together, in one SQLite transaction (WAL, synchronous=FULL), so that a
process killed at any moment leaves either the whole block or nothing of it. One process at a time: the folder is locked.

The writing half (`append`, `Store.writer`) belongs to one thread, everything else to another: each half has its own connection,
and SQLite lets a reader see a consistent snapshot while the writer commits.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fabric.devledger.errors import DevLedgerError
from fabric.rwset import Version, Write

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE blocks (number INTEGER PRIMARY KEY, block BLOB NOT NULL);
CREATE TABLE transactions (tx_id TEXT PRIMARY KEY, block INTEGER NOT NULL, code INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE state (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, block INTEGER NOT NULL, position INTEGER NOT NULL, policy BLOB NOT NULL DEFAULT x''
) WITHOUT ROWID;
"""
_POLICIES = "ALTER TABLE state ADD COLUMN policy BLOB NOT NULL DEFAULT x''"  # format 1 knew no endorsement policies of keys
# A new value leaves the key's policy as it is.
_UPSERT = """
INSERT INTO state (key, value, block, position) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, block = excluded.block, position = excluded.position
"""
_REMEMBERED = 20_000  # versions and policies of keys
_NOWHERE: tuple[None, bytes] = (None, b"")  # where a key that does not exist stands, and its policy


@dataclass(frozen=True)
class Entry:
    """A key's value, who wrote it last, and its own endorsement policy; b"" where it has none."""

    value: bytes
    version: Version
    policy: bytes = b""


class StateReader(Protocol):
    """Committed state, as simulation and validation read it. Keys are ordered by their UTF-8 bytes, as in Fabric."""

    def get(self, key: str) -> Entry | None: ...

    def version(self, key: str) -> Version | None: ...

    def policy(self, key: str) -> bytes:
        """The key's own endorsement policy; b"" where it has none."""

    def range(self, start: str, end: str) -> Iterator[tuple[str, Entry]]:
        """Entries, without policies, with start <= key < end; an empty `end` means no bound."""


@dataclass(frozen=True)
class TransactionRecord:
    """The fate of one transaction of a block. `writes` and `policies` (of keys, b"" for none) are empty unless it is valid."""

    tx_id: str
    code: int
    writes: tuple[Write, ...] = ()
    policies: tuple[tuple[str, bytes], ...] = ()

    @property
    def changed(self) -> Iterator[str]:
        """The keys that it changes."""
        yield from (write.key for write in self.writes)
        yield from (key for key, _ in self.policies)


@dataclass(frozen=True)
class TransactionStatus:
    """Where the first transaction with an id stands, and its `TxValidationCode`."""

    block: int
    code: int


class State:
    """`StateReader` over one SQLite connection. Remembers versions and policies: `forget` the keys that are written meanwhile."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._places: dict[str, tuple[Version | None, bytes]] = {}

    def get(self, key: str) -> Entry | None:
        row = self._connection.execute("SELECT value, block, position, policy FROM state WHERE key = ?", (key.encode(),)).fetchone()
        if row is None:
            self._places[key] = _NOWHERE
            return None
        version, policy = self._places[key] = Version(row[1], row[2]), row[3]
        return Entry(row[0], version, policy)

    def version(self, key: str) -> Version | None:
        return self._place(key)[0]

    def policy(self, key: str) -> bytes:
        return self._place(key)[1]

    def forget(self, keys: Iterable[str]) -> None:
        """Read these again when they are asked for next."""
        for key in keys:
            self._places.pop(key, None)
        if len(self._places) > _REMEMBERED:
            self._places.clear()

    def _place(self, key: str) -> tuple[Version | None, bytes]:
        if key not in self._places:
            row = self._connection.execute("SELECT block, position, policy FROM state WHERE key = ?", (key.encode(),)).fetchone()
            self._places[key] = (Version(row[0], row[1]), row[2]) if row else _NOWHERE
        return self._places[key]

    def range(self, start: str, end: str) -> Iterator[tuple[str, Entry]]:
        columns = "SELECT key, value, block, position FROM state WHERE key >= ?"
        rows = (
            self._connection.execute(f"{columns} AND key < ? ORDER BY key", (start.encode(), end.encode()))
            if end
            else self._connection.execute(f"{columns} ORDER BY key", (start.encode(),))
        )
        for key, value, block, position in rows:
            yield key.decode(), Entry(value, Version(block, position))


class Store:
    """An open data folder. Made by `open_store`; closed by `close`."""

    def __init__(self, lock: int, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._lock, self._write, self._read = lock, writer, reader
        self.writer = State(writer)
        self._height: int = writer.execute("SELECT COALESCE(MAX(number) + 1, 0) FROM blocks").fetchone()[0]

    @property
    def height(self) -> int:
        """How many blocks are durable."""
        return self._height

    def append(self, number: int, block: bytes, transactions: Sequence[TransactionRecord]) -> None:
        """Make block `number`, which must be the next, durable with everything it changes. Returns once it is on disk."""
        try:
            with self._write:
                self._write.execute("BEGIN IMMEDIATE")
                self._write.execute("INSERT INTO blocks VALUES (?, ?)", (number, block))
                # The first transaction with an id keeps it: a later one is recorded as a duplicate in its block only.
                self._write.executemany(
                    "INSERT OR IGNORE INTO transactions VALUES (?, ?, ?)",
                    [(transaction.tx_id, number, transaction.code) for transaction in transactions],
                )
                for position, transaction in enumerate(transactions):
                    self._apply(transaction, number, position)
        except sqlite3.Error as error:
            raise DevLedgerError(f"cannot store block {number}: {error}; free disk space or repair the data folder") from error
        self.writer.forget(key for transaction in transactions for key in transaction.changed)
        self._height = number + 1

    def _apply(self, transaction: TransactionRecord, number: int, position: int) -> None:
        deletes = [(write.key.encode(),) for write in transaction.writes if write.value is None]
        upserts = [(write.key.encode(), write.value, number, position) for write in transaction.writes if write.value is not None]
        self._write.executemany("DELETE FROM state WHERE key = ?", deletes)
        self._write.executemany(_UPSERT, upserts)
        policies = [(policy, number, position, key.encode()) for key, policy in transaction.policies]
        self._write.executemany("UPDATE state SET policy = ?, block = ?, position = ? WHERE key = ?", policies)

    @contextmanager
    def snapshot(self) -> Iterator[State]:
        """Committed state that stays as it is until the block ends. Must not be left open across an await."""
        self._read.execute("BEGIN")
        try:
            yield State(self._read)
        finally:
            self._read.execute("ROLLBACK")

    def block(self, number: int) -> bytes | None:
        """Block bytes as stored; None beyond the tip."""
        row = self._read.execute("SELECT block FROM blocks WHERE number = ?", (number,)).fetchone()
        return bytes(row[0]) if row else None

    def transaction(self, tx_id: str) -> TransactionStatus | None:
        """The fate of the first transaction with this id."""
        return _status(self._read, tx_id)

    def writer_transaction(self, tx_id: str) -> TransactionStatus | None:
        """The same, for the thread that writes."""
        return _status(self._write, tx_id)

    def close(self) -> None:
        self._read.close()
        self._write.close()
        os.close(self._lock)


def _status(connection: sqlite3.Connection, tx_id: str) -> TransactionStatus | None:
    row = connection.execute("SELECT block, code FROM transactions WHERE tx_id = ?", (tx_id,)).fetchone()
    return TransactionStatus(row[0], row[1]) if row else None


def open_store(folder: Path) -> Store:
    """Open or create the data folder; raise DevLedgerError if another process has it or it cannot be read."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DevLedgerError(f"cannot use data folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise DevLedgerError(f"data folder {folder} is in use by another ledger process; stop that one or choose another folder") from error
    try:
        writer = _connect(folder / "ledger.sqlite")
        _create_or_check_schema(writer)
        return Store(lock, writer, _connect(folder / "ledger.sqlite"))
    except sqlite3.Error as error:
        os.close(lock)
        raise DevLedgerError(f"{folder / 'ledger.sqlite'} cannot be opened: {error}; restore it or remove the folder") from error


def _connect(path: Path) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, but not always by the one that opened it.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _create_or_check_schema(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version == 1:
        connection.executescript(f"BEGIN IMMEDIATE; {_POLICIES}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version != SCHEMA_VERSION:
        raise DevLedgerError(f"the ledger's data has format {version}, this program reads {SCHEMA_VERSION}; use the program that wrote it")
