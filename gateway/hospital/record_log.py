"""The hospital's records on disk: NDJSON that is only ever added to, one file a resource type, each line there before what it is about.

A crash may leave the last line cut; it is taken off at the next start, and what it was about has not happened.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from gateway.fhir.records import Record

TYPES = ("AuditEvent", "Provenance")


class RecordLog:
    """Opened by one gateway, which holds its state folder's lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._files: dict[str, int] = {}
        self._ids: set[str] = set()
        for kind in TYPES:
            path = _path(folder, kind)
            self._files[kind] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with path.open("rb") as lines:
                whole = 0
                for line in lines:
                    if line.endswith(b"\n"):
                        whole += len(line)
                        self._ids.add(json.loads(line)["id"])
            os.ftruncate(self._files[kind], whole)
        _sync(folder)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._ids

    def append(self, record: Record) -> None:
        """Add a record, unless one with its id is there; it is on disk when the call returns. Raises OSError if it is not."""
        if record["id"] in self._ids:
            return
        file = self._files[record["resourceType"]]
        data = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        before = os.fstat(file).st_size
        try:
            if os.write(file, data) != len(data):
                raise OSError("the disk is full")
            os.fsync(file)
        except OSError:
            os.ftruncate(file, before)
            raise
        self._ids.add(record["id"])

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)


def records(folder: Path, kind: str, task_id: str | None) -> Iterator[str]:
    """The whole lines of one type, of one task or of all; a gateway may be adding to them. Raises OSError where they cannot be read."""
    with _path(folder, kind).open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n") and (task_id is None or _is_of(json.loads(line), task_id)):
                yield line.decode()


def _is_of(record: Record, task_id: str) -> bool:
    identifiers = (entity.get("what", {}).get("identifier", {}) for entity in record["entity"])
    return any(each.get("type", {}).get("text") == "task" and each.get("value") == task_id for each in identifiers)


def _path(folder: Path, kind: str) -> Path:
    return folder / f"{kind}.ndjson"


def _sync(folder: Path) -> None:
    """Make the files' names last a crash of the machine."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
