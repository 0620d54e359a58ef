"""Every line of a folder is validated once and then either kept in the database or dropped for a reason that is counted."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gateway.fhir.content import ContentDigest
from gateway.fhir.database import Database
from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import CutFileError, DataError
from gateway.fhir.quality import NOT_NEEDED, LineCounts
from gateway.fhir.seen import Seen
from gateway.fhir.sources import Line, files, lines
from gateway.fhir.validate import RefusedLineError, Resource, resource

MAX_BAD_SHARE = 0.5
"""Largest share of lines that may be set aside; beyond it the export is at fault, not single resources."""

_BATCH_BYTES = 4 << 20
_NOT_TEXT = frozenset({"not-json", "not-utf8"})


@dataclass(frozen=True)
class Loaded:
    """What was read of a folder."""

    files: int
    lines: LineCounts
    content: str
    """Digest of the resources that were kept, whatever their order and files."""


def load(
    folder: Path,
    needed: frozenset[str] | None,
    database: Database,
    *,
    quarantine: Path | None,
    version: FhirVersion = "R4",
    watch: Callable[[Resource], None] | None = None,
    translate: Callable[[str], str] | None = None,
    list_cut_files: bool = False,
) -> Loaded:
    """Fill `database` with the resources whose types are `needed`; with None, every type is read and shown to `watch`.

    With `list_cut_files` what a cut file still gives is read, and its end counts as a line that is dropped: for who looks at the folder.
    Who computes from it must not: a CutFileError says so.
    `translate` changes a resource's text before the views read it; the digest is of what the hospital wrote.
    `quarantine` gets one JSON line for each line that is wrong: file, line, reason, detail; nothing of the resource itself.
    """
    sources = files(folder)
    try:
        with _open_quarantine(quarantine) as listing:
            loader = _Loader(needed, database, listing, version, watch, translate, list_cut_files)
            for path in sources:
                loader.read(path)
            loader.finish(folder)
    except OSError as error:
        raise DataError(f"cannot write the quarantine file {quarantine}: {error.strerror}; make its folder writable") from error
    return Loaded(len(sources), LineCounts(loader.lines, loader.kept, dict(sorted(loader.dropped.items()))), loader.content.hex())


def _open_quarantine(path: Path | None) -> AbstractContextManager[TextIO | None]:
    if path is None:
        return nullcontext()
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")


class _Loader:
    def __init__(
        self,
        needed: frozenset[str] | None,
        database: Database,
        listing: TextIO | None,
        version: FhirVersion,
        watch: Callable[[Resource], None] | None,
        translate: Callable[[str], str] | None,
        list_cut_files: bool,
    ) -> None:
        self._needed = needed
        self._version = version
        self._watch = watch
        self._translate = translate
        self._list_cut_files = list_cut_files
        self._database = database
        self._listing = listing
        self._seen = Seen()
        self.content = ContentDigest()
        self._waiting: dict[str, list[str]] = {}
        self._waiting_bytes = 0
        self.lines = 0
        self.kept = 0
        self.dropped: Counter[str] = Counter()

    def read(self, path: Path) -> None:
        before, unreadable = self.lines, 0
        for line in self._lines(path):
            self.lines += 1
            try:
                self._keep(resource(line.data, self._needed, self._version))
            except RefusedLineError as error:
                self._drop(line, error)
                unreadable += error.reason in _NOT_TEXT
        if unreadable and unreadable == self.lines - before:
            raise DataError(f"{path} is not NDJSON: none of its {unreadable} lines is JSON; put one FHIR resource on each line")

    def _lines(self, path: Path) -> Iterator[Line]:
        last = 0
        try:
            for line in lines(path):
                last = line.number
                yield line
        except CutFileError:
            if not self._list_cut_files:
                raise
            self.lines += 1
            self._drop(Line(path.name, last + 1, None), RefusedLineError("cut-file", "the file cannot be read beyond this line"))

    def finish(self, folder: Path) -> None:
        self._flush()
        bad = sum(count for reason, count in self.dropped.items() if reason != NOT_NEEDED)
        if bad > MAX_BAD_SHARE * (self.kept + bad):
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.dropped.most_common() if reason != NOT_NEEDED)
            raise DataError(f"{bad} of {self.kept + bad} lines in {folder} cannot be used ({reasons}); mend the export")

    def _keep(self, found: Resource | None) -> None:
        if found is None:
            self.dropped[NOT_NEEDED] += 1
            return
        if not self._seen.add(found.type, found.id):
            raise RefusedLineError("duplicate-id", f"a {found.type} with this id stands on an earlier line")
        self.kept += 1
        self.content.add(found.text)
        if self._watch is not None:
            self._watch(found)
        if found.type not in self._database.resources:
            return
        text = found.text if self._translate is None else self._translate(found.text)
        self._waiting.setdefault(found.type, []).append(text)
        self._waiting_bytes += len(text)
        if self._waiting_bytes > _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        for resource_type, texts in self._waiting.items():
            self._database.insert(resource_type, texts)
        self._waiting, self._waiting_bytes = {}, 0

    def _drop(self, line: Line, error: RefusedLineError) -> None:
        self.dropped[error.reason] += 1
        if self._listing is not None:
            entry = {"file": line.file, "line": line.number, "reason": error.reason, "detail": error.detail}
            self._listing.write(json.dumps(entry, ensure_ascii=False) + "\n")
