"""What was found in a hospital's files, kept beside them: a file that was validated and digested is not validated again.

A file is known by the SHA-256 of its bytes, which is computed at every reading. Name, size, time and inode are not asked: an edit that
keeps size and time is noticed like any other, and links to one file, or a copy of it, are the same file. (The kernel's change time would
notice such an edit too, but each link changes it, and tasks read links.) The bytes are read at every use for this, which takes a
fiftieth of the time of validating them.

What is kept belongs to one set of rules: this package's own code and the libraries that judge. Under other rules everything is dropped.

It is one SQLite file, readable by its owner only, written in one transaction for each source file: wherever a process is killed, that
file is kept as a whole or not at all. A store that cannot be used (locked by another reading, damaged, disk full) is done without;
nothing depends on it but time.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b, file_digest, sha256
from importlib import metadata
from pathlib import Path

import msgspec

from gateway.fhir.elements import FhirVersion
from gateway.fhir.judge import Part, Verdict
from gateway.sqlite_transaction import transaction

MAX_BYTES = 4 << 30
"""Most that is kept, which is enough for a hundred gigabytes of NDJSON; what was not used for longest makes room."""

_WAIT_SECONDS = 1.0
_CHECK_BYTES = 16
_JUDGES = ("duckdb", "fhir.resources", "msgspec", "pydantic")

_SCHEMA = """
PRAGMA auto_vacuum = FULL;
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS rules (rules TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS file (
    id INTEGER PRIMARY KEY AUTOINCREMENT, fingerprint TEXT NOT NULL, version TEXT NOT NULL, bytes INTEGER NOT NULL, used INTEGER NOT NULL,
    UNIQUE (fingerprint, version)
);
CREATE TABLE IF NOT EXISTS verdict (
    file INTEGER NOT NULL REFERENCES file ON DELETE CASCADE, number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (file, number)
);
CREATE TABLE IF NOT EXISTS made (
    file INTEGER NOT NULL REFERENCES file ON DELETE CASCADE, name TEXT NOT NULL, PRIMARY KEY (file, name)
);
CREATE TABLE IF NOT EXISTS part (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES file ON DELETE CASCADE, name TEXT NOT NULL, data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS part_of ON part (file, name);
CREATE TABLE IF NOT EXISTS place (
    folder TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    file INTEGER NOT NULL REFERENCES file ON DELETE CASCADE, PRIMARY KEY (folder, name)
);
"""


@dataclass(frozen=True)
class StorePlace:
    """Where a hospital's store is."""

    path: Path
    values: bool
    """Whether values of patients are kept (the columns that views read), beside verdicts, which hold none."""


@dataclass(frozen=True)
class Entry:
    """A file that is known."""

    id: int
    names: frozenset[str]
    """Names of the parts that were made of all of it."""


class StoreError(Exception):
    """The store cannot be used."""


def fingerprint(path: Path) -> str | None:
    """SHA-256 in hex of a file's bytes; None where it cannot be read, which whoever reads its lines will say."""
    try:
        with path.open("rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


class Store:
    """An open store, for one thread. Every method raises StoreError where the store cannot be used."""

    def __init__(self, place: StorePlace, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = place.path
        self._values = place.values
        self._max_bytes = max_bytes
        with self._guarded():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            self._db = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Drop what was begun and not finished, and let go of the file."""
        with suppress(sqlite3.Error):  # what is not emptied into the file now is so by whoever opens it next
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def find(self, mark: str, version: FhirVersion, names: Set[str]) -> Entry | None:
        """The file with this fingerprint, if its verdicts and those of the parts `names` that are there are undamaged."""
        with self._guarded():
            row = self._db.execute("SELECT id FROM file WHERE fingerprint = ? AND version = ?", [mark, version]).fetchone()
            if row is None:
                return None
            made = {name for (name,) in self._db.execute("SELECT name FROM made WHERE file = ?", row)}
            entry = Entry(row[0], frozenset(made & names))
            try:
                deque(self._data(entry), maxlen=0)
            except _DamagedError:
                self._forget("id = ?", row)
                return None
            return entry

    def verdicts(self, entry: Entry) -> Iterator[Verdict]:
        """The verdicts on a file's chunks, in their order."""
        with self._guarded():
            for (data,) in self._db.execute("SELECT data FROM verdict WHERE file = ? ORDER BY number", [entry.id]):
                yield msgspec.msgpack.decode(_checked(data), type=Verdict)
            self._check_stands(entry)

    def parts(self, entry: Entry) -> Iterator[Part]:
        """The parts of a file that its entry names, in the order of its chunks."""
        with self._guarded():
            for data in self._parts(entry):
                yield msgspec.msgpack.decode(data, type=Part)
            self._check_stands(entry)

    def begin(self, mark: str, version: FhirVersion, entry: Entry | None) -> None:
        """Begin to keep what is found in a file; with an `entry`, more of one that is known."""
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            if entry is None:
                self._forget("fingerprint = ? AND version = ?", [mark, version])
                made = self._db.execute("INSERT INTO file (fingerprint, version, bytes, used) VALUES (?, ?, 0, 0)", [mark, version])
                self._draft = made.lastrowid
            else:
                self._draft = entry.id

    def add(self, number: int, verdict: Verdict | None, parts: Iterable[Part]) -> None:
        """Keep what was found in the chunk of this number; `verdict` None where it is kept already."""
        with self._guarded():
            if verdict is not None:
                data = _with_check(msgspec.msgpack.encode(verdict))
                self._db.execute("INSERT INTO verdict VALUES (?, ?, ?)", [self._draft, number, data])
                self._grow(data)
            for part in parts if self._values else ():
                data = _with_check(msgspec.msgpack.encode(part))
                self._db.execute("INSERT INTO part (file, name, data) VALUES (?, ?, ?)", [self._draft, part.name, data])
                self._grow(data)

    def finish(self, path: Path, names: Iterable[str]) -> None:
        """Keep what was added, if there is room: the file stands at `path`, and all parts of these names were made of it."""
        with self._guarded():
            made = [(self._draft, name) for name in names] if self._values else []
            self._db.executemany("INSERT INTO made VALUES (?, ?)", made)
            self._place(path, self._draft)
            self._db.execute("COMMIT" if self._has_room() else "ROLLBACK")

    def drop(self) -> None:
        """Keep nothing of what was added."""
        with self._guarded():
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def use(self, path: Path, entry: Entry) -> None:
        """Note that a file that is known stands at `path`, and was used."""
        # Another process may be writing: then it is the older for it.
        with suppress(StoreError), self._guarded(), transaction(self._db):
            self._place(path, entry.id)

    def settle(self, folder: Path, names: Iterable[str]) -> None:
        """Drop what is known of files that the folder no longer has."""
        with self._guarded(), transaction(self._db):
            here = str(folder.absolute())
            known = {name for (name,) in self._db.execute("SELECT name FROM place WHERE folder = ?", [here])}
            self._leave([(here, name) for name in known.difference(names)])

    def _open(self) -> None:
        # What is deleted is overwritten: nothing of it stays in pages that are free.
        for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = NORMAL"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        if self._db.execute("SELECT rules FROM rules").fetchall() != [(_rules(),)]:
            with transaction(self._db):
                self._forget("true", [])
                self._db.execute("DELETE FROM rules")
                self._db.execute("INSERT INTO rules VALUES (?)", [_rules()])
        if not self._values and self._db.execute("SELECT 1 FROM made LIMIT 1").fetchone():
            with transaction(self._db):
                self._db.execute("DELETE FROM made")
                self._db.execute("DELETE FROM part")
        places = self._db.execute("SELECT folder, name, size, mtime_ns FROM place").fetchall()
        gone = [(folder, name) for folder, name, *known in places if _stands(Path(folder, name)) != known]
        if gone:
            with transaction(self._db):
                self._leave(gone)
        (self._opened,) = self._db.execute("SELECT coalesce(max(used), 0) FROM file").fetchone()

    def _place(self, path: Path, file: int | None) -> None:
        self._db.execute("UPDATE file SET used = ? WHERE id = ?", [self._opened + 1, file])
        found = [str(path.parent.absolute()), path.name, *_stands(path), file]
        self._db.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?, ?)", found)

    def _leave(self, places: Iterable[tuple[str, str]]) -> None:
        self._db.executemany("DELETE FROM place WHERE folder = ? AND name = ?", places)
        self._forget("id NOT IN (SELECT file FROM place)", [])

    def _has_room(self) -> bool:
        """Make room of what this reading has not used; whether it is enough."""
        while True:
            (size,) = self._db.execute("SELECT sum(bytes) FROM file").fetchone()
            if size <= self._max_bytes:
                return True
            oldest = self._db.execute("SELECT id FROM file WHERE used <= ? ORDER BY used LIMIT 1", [self._opened]).fetchone()
            if oldest is None:
                return False
            self._forget("id = ?", oldest)

    def _forget(self, condition: str, values: Sequence[object]) -> None:
        # S608: conditions are this class's own.
        self._db.execute(f"DELETE FROM file WHERE {condition}", values)  # noqa: S608

    def _grow(self, data: bytes) -> None:
        self._db.execute("UPDATE file SET bytes = bytes + ? WHERE id = ?", [len(data), self._draft])

    def _data(self, entry: Entry) -> Iterator[bytes]:
        for (data,) in self._db.execute("SELECT data FROM verdict WHERE file = ?", [entry.id]):
            yield _checked(data)
        yield from self._parts(entry)

    def _parts(self, entry: Entry) -> Iterator[bytes]:
        for name in sorted(entry.names):
            for (data,) in self._db.execute("SELECT data FROM part WHERE file = ? AND name = ? ORDER BY id", [entry.id, name]):
                yield _checked(data)

    def _check_stands(self, entry: Entry) -> None:
        """Raise StoreError if another process has dropped the file by now: then some of it may have been missing."""
        if self._db.execute("SELECT 1 FROM file WHERE id = ?", [entry.id]).fetchone() is None:
            raise StoreError("another process made room in it at this moment")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            raise StoreError(str(error)) from error
        except (sqlite3.DatabaseError, _DamagedError, msgspec.MsgspecError) as error:
            for ending in ("", "-wal", "-shm"):
                Path(f"{self._path}{ending}").unlink(missing_ok=True)
            raise StoreError(f"{error}; it was removed, and is made anew by the next reading") from error


class _DamagedError(Exception):
    """Bytes are not those that were written."""


@cache
def _rules() -> str:
    """Digest of everything that a verdict or a part depends on, beside the file: this package's code and the libraries it asks."""
    code = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    versions = [f"{name} {metadata.version(name)}".encode() for name in _JUDGES]
    return sha256(b"".join(sha256(each).digest() for each in (*code, *versions))).hexdigest()


def _stands(path: Path) -> list[int]:
    """Size and time of a file, by which one that was replaced is dropped early; nothing is read for them."""
    try:
        found = path.stat()
    except OSError:
        return [-1, -1]
    return [found.st_size, found.st_mtime_ns]


def _with_check(data: bytes) -> bytes:
    return blake2b(data, digest_size=_CHECK_BYTES).digest() + data


def _checked(data: bytes) -> bytes:
    if blake2b(data[_CHECK_BYTES:], digest_size=_CHECK_BYTES).digest() != data[:_CHECK_BYTES]:
        raise _DamagedError("its bytes are not those that were written")
    return data[_CHECK_BYTES:]
