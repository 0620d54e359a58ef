"""The transaction ids of a verified ledger in a temporary file, so that memory does not grow with the length of the chain."""

import sqlite3
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from fabric.validation import compact


class IdsOnDisk:
    """A set of transaction ids (`fabric.validation.KnownTransactions`). SQLite keeps a few MiB in memory and deletes the file."""

    def __init__(self) -> None:
        # The empty name asks for a private file in the system's temporary folder. One thread at a time uses it, though not always the same.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "CREATE TABLE known (id BLOB PRIMARY KEY) WITHOUT ROWID"):
            self._database.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def __contains__(self, tx_id: str) -> bool:
        return self._database.execute("SELECT 1 FROM known WHERE id = ?", (compact(tx_id),)).fetchone() is not None

    def copy_to(self, other: sqlite3.Connection) -> None:
        """Make another, empty database hold the same ids, in a table `known`."""
        self._database.backup(other)

    def copy_from(self, other: sqlite3.Connection) -> None:
        """Know the ids of a database that `copy_to` filled, and no others."""
        self._database.executemany("INSERT OR IGNORE INTO known VALUES (?)", other.execute("SELECT id FROM known"))

    def add(self, tx_ids: Iterable[str]) -> None:
        self._database.executemany("INSERT OR IGNORE INTO known VALUES (?)", [(compact(tx_id),) for tx_id in tx_ids if tx_id])
