"""Of every resource its newest version: what a folder held, without what was deleted, and what a server gave since.

Works on files larger than memory: which line is the newest of its resource is kept in an SQLite file.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from gateway.fhir.errors import DataError
from gateway.fhir.export.bulk import JobLost
from gateway.fhir.sources import MAX_LINE_BYTES, Line, lines

UNREADABLE = "Unreadable"
"""What lines that are no resource count as. They are kept: whoever reads the folder counts them and says what is wrong."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,40}")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_DELETED = re.compile(r"(?:.*/)?([A-Z][A-Za-z]{1,40})/([A-Za-z0-9.-]{1,64})(?:/_history/[^/?]*)?")

_TABLE = "CREATE TABLE newest (type TEXT, id TEXT, updated INTEGER, version INTEGER, line INTEGER, PRIMARY KEY (type, id)) WITHOUT ROWID"
# The later line wins, unless both tell their time and the earlier one is newer.
_ADD = """
INSERT INTO newest VALUES (?, ?, ?, ?, ?) ON CONFLICT (type, id) DO UPDATE
SET updated = excluded.updated, version = excluded.version, line = excluded.line
WHERE excluded.updated IS NULL OR updated IS NULL OR (excluded.updated, excluded.version) >= (updated, version)
"""


@dataclass(frozen=True)
class Merged:
    """Lines that are not blank: read = kept + replaced + deleted."""

    read: int
    kept: int
    replaced: int
    """Lines whose resource has a newer or the same version on another line."""
    deleted: int
    """Lines whose resource was deleted at the server."""
    resources: Mapping[str, int]
    """Kept lines by type; those that are no resource are under UNREADABLE."""


def merge(before: Sequence[Path], new: Sequence[Path], gone: Iterable[tuple[str, str]], out: Path) -> Merged:
    """Write the newest versions to `out`, a folder that is empty, one NDJSON file for each type; what is no resource goes to one of them.

    `before`: the files of the folder until now; `gone`: (type, id) of what was deleted since; `new`: what changed since, which holds
    against `gone`. CPU- and disk-heavy. Raises DataError where a file cannot be read.
    """
    index = out / "index.sqlite"
    try:
        with closing(_Newest(index)) as newest:
            newest.add(before)
            deleted = newest.forget(gone)
            newest.add(new)
            kept = _write([*before, *new], newest.lines(), out)
    except sqlite3.Error as error:
        raise DataError(f"cannot write {index}: {error}; make room and export again") from error
    index.unlink()
    total = sum(kept.values())
    return Merged(newest.read, total, newest.read - total - deleted, deleted, dict(sorted(kept.items())))


class _Newest:
    """The number of the line on which each resource's newest version stands, over all files in the order they were added."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        # Made anew after a crash, so that nothing has to be durable.
        for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", _TABLE):
            self._database.execute(statement)
        self.read = 0

    def add(self, paths: Sequence[Path]) -> None:
        self._database.executemany(_ADD, self._rows(paths))

    def _rows(self, paths: Sequence[Path]) -> Iterator[tuple[str, str, int | None, int, int]]:
        for path in paths:
            for line in lines(path):
                yield (*_identity(line), self.read)
                self.read += 1

    def forget(self, names: Iterable[tuple[str, str]]) -> int:
        """Take resources out; returns how many were in."""
        return self._database.executemany("DELETE FROM newest WHERE type = ? AND id = ?", names).rowcount

    def lines(self) -> Iterator[int]:
        for (number,) in self._database.execute("SELECT line FROM newest ORDER BY line"):
            yield number

    def close(self) -> None:
        self._database.close()


def _identity(line: Line) -> tuple[str, str, int | None, int]:
    """Type and id, time and number of the version; a line that has none is only the same as one with the same bytes."""
    text = _text(line)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    resource = found if isinstance(found, dict) else {}
    resource_type, identifier, meta = resource.get("resourceType"), resource.get("id"), resource.get("meta")
    if not isinstance(resource_type, str) or not _TYPE.fullmatch(resource_type):
        return UNREADABLE, hashlib.sha256(text).hexdigest(), None, -1
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        return resource_type, f"sha256:{hashlib.sha256(text).hexdigest()}", None, -1
    meta = meta if isinstance(meta, dict) else {}
    return resource_type, identifier, _microseconds(meta.get("lastUpdated")), _number(meta.get("versionId"))


def _microseconds(instant: Any) -> int | None:
    """Microseconds since 1970 of an instant; None if it is none."""
    try:
        return (datetime.fromisoformat(instant) - _EPOCH) // timedelta(microseconds=1)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(version: Any) -> int:
    """A version's number; -1 where the server counts otherwise."""
    return int(version) if isinstance(version, str) and version.isdecimal() and len(version) <= 18 else -1


def _text(line: Line) -> bytes:
    if line.data is None:
        # A JSON string is no resource, so that it is counted and listed by whoever reads the folder.
        return json.dumps(f"{line.file}, line {line.number}: longer than {MAX_LINE_BYTES} bytes").encode()
    return line.data.strip()


def _write(paths: Sequence[Path], numbers: Iterator[int], out: Path) -> Counter[str]:
    kept: Counter[str] = Counter()
    wanted = next(numbers, None)
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for number, line in enumerate(line for path in paths for line in lines(path)):
            if number != wanted:
                continue
            wanted = next(numbers, None)
            resource_type = _identity(line)[0]
            if resource_type not in files:
                files[resource_type] = stack.enter_context(_new_file(out / f"{resource_type}.ndjson"))
            files[resource_type].write(_text(line) + b"\n")
            kept[resource_type] += 1
        if UNREADABLE in files and len(files) > 1:
            # Who reads a file of which no line is JSON takes it for something else than NDJSON.
            _move(files.pop(UNREADABLE), files[min(files)])
            (out / f"{UNREADABLE}.ndjson").unlink()
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return kept


def _new_file(path: Path) -> BinaryIO:
    # For its owner alone, wherever it lies.
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")


def _move(source: BinaryIO, target: BinaryIO) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target)


def deletions(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(type, id) of the resources that files of Bundles name as deleted; raise JobLost for a deletion that names none."""
    for path in paths:
        for line in lines(path):
            try:
                bundle = json.loads(line.data or b"")
            except (ValueError, RecursionError):
                bundle = None
            entries = bundle.get("entry", []) if isinstance(bundle, dict) and bundle.get("resourceType") == "Bundle" else None
            if not isinstance(entries, list):
                raise JobLost(f"line {line.number} of a file of deletions is no Bundle")
            for entry in entries:
                yield _deleted(entry, line)


def _deleted(entry: object, line: Line) -> tuple[str, str]:
    request = entry.get("request") if isinstance(entry, dict) else None
    method, url = (request.get("method"), request.get("url")) if isinstance(request, dict) else (None, None)
    found = _DELETED.fullmatch(url) if method == "DELETE" and isinstance(url, str) else None
    if found is None:
        # To go on would keep a resource that the hospital deleted.
        raise JobLost(f"line {line.number} of a file of deletions has an entry that deletes no one resource")
    return found[1], found[2]
