"""Every line of a folder is validated once and then either kept in the database or dropped for a reason that is counted."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from gateway.fhir.concept_maps import ConceptMaps
from gateway.fhir.database import Database
from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import CutFileError, DataError
from gateway.fhir.judge import Job, Judged, Plan, Verdict
from gateway.fhir.judges import Judges
from gateway.fhir.keeping import Keeping
from gateway.fhir.references import References
from gateway.fhir.seen import NO_KEYS, Keys, Seen
from gateway.fhir.sink import Loaded, Sink
from gateway.fhir.sources import chunks, files
from gateway.fhir.store import Entry, StorePlace

_HASHING = 2
"""Files whose fingerprints are computed at once."""


def load(
    folder: Path,
    needed: frozenset[str] | None,
    database: Database,
    *,
    quarantine: Path | None,
    version: FhirVersion = "R4",
    maps: ConceptMaps | None = None,
    references: References | None = None,
    list_cut_files: bool = False,
    store: StorePlace | None = None,
) -> Loaded:
    """Fill `database` with the resources whose types are `needed`; with None, every type is read.

    With `list_cut_files` what a cut file still gives is read, and its end counts as a line that is dropped: for who looks at the folder.
    Who computes from it must not: a CutFileError says so.
    `maps` change a resource's text before the views read it; the digest is of what the hospital wrote.
    `references` learns what was kept and what it refers to.
    `quarantine` gets one JSON line for each line that is wrong: file, line, reason, detail; nothing of the resource itself.
    What is in the `store` is not validated again; counts, digest, rows and quarantine are the same with and without.
    CPU-heavy: uses all cores. Raises DataError with one sentence.
    """
    sources = files(folder)
    plan = Plan.of(database.views, version, maps=maps, references=references is not None)
    try:
        with (
            _open_quarantine(quarantine) as listing,
            Judges(plan) as judges,
            Keeping(store, version) as keeping,
            ThreadPoolExecutor(_HASHING) as pool,
        ):
            # Begun here, so that files are hashed while those before are read.
            marks = pool.map(keeping.mark, sources)
            sink = Sink(needed, database, listing, references, maps)
            reader = _Reader(plan, judges, keeping, sink, list_cut_files)
            for path, mark in zip(sources, marks, strict=True):
                reader.read(path, mark)
            sink.finish(folder)
            keeping.settle(sources)
    except OSError as error:
        raise DataError(f"cannot write the quarantine file {quarantine}: {error.strerror}; make its folder writable") from error
    return sink.loaded(len(sources))


def _open_quarantine(path: Path | None) -> AbstractContextManager[TextIO | None]:
    if path is None:
        return nullcontext()
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")


class _Reader:
    """Finds a verdict on every line of each file, in the store or by judging it."""

    def __init__(self, plan: Plan, judges: Judges, keeping: Keeping, sink: Sink, list_cut_files: bool) -> None:
        self._plan = plan
        self._judges = judges
        self._keeping = keeping
        self._sink = sink
        self._list_cut_files = list_cut_files
        self._earlier = Seen()
        """Resources of the files before."""
        self._own = Seen()
        """Those of the file that is being read."""

    def read(self, path: Path, mark: str | None) -> None:
        """Read a file with this fingerprint; None where it does not matter."""
        self._sink.begin(path)
        entry = self._keeping.find(mark, self._plan.names)
        if entry is None or not self._read_known(path, mark, entry):
            self._judge(path, mark, (Job(chunk, self._plan.names) for chunk in chunks(path)), None)
        self._sink.end(path)
        self._earlier.update(self._own)
        self._own = Seen()

    def _read_known(self, path: Path, mark: str | None, entry: Entry) -> bool:
        """Take a file as the store knows it; False where a resource stands in an earlier file too: verdicts are of a file alone."""
        found = [kept for verdict in self._keeping.verdicts(entry) for kept in verdict.kept]
        keys = np.concatenate([NO_KEYS, *(kept.keys for kept in found)])
        if self._earlier.contains(keys).any():
            return False
        self._keeping.use(path, entry)
        for part in self._keeping.parts(entry):
            self._sink.part(part)
        verdicts = self._keeping.verdicts(entry)
        missing = self._plan.names_of({kept.type for kept in found}) - entry.names
        if missing:
            self._judge(path, mark, (Job(chunk, missing, verdict) for chunk, verdict in zip(chunks(path), verdicts, strict=False)), entry)
            return True
        self._own.add(keys)
        for verdict in verdicts:
            self._sink.verdict(verdict)
        return True

    def _judge(self, path: Path, mark: str | None, jobs: Iterator[Job], entry: Entry | None) -> None:
        self._keeping.begin(mark, entry)
        try:
            for number, (job, judged) in enumerate(self._judges.judged(jobs)):
                found = self._without_repeats(job, judged)
                self._keeping.add(number, None if job.verdict else found.verdict, found.parts)
                self._sink.verdict(found.verdict)
                for part in found.parts:
                    self._sink.part(part)
        except CutFileError:
            self._keeping.drop()
            if not self._list_cut_files:
                raise
            self._sink.cut()
            return
        if mark is not None and self._keeping.mark(path) != mark:
            raise DataError(f"{path} changed while it was read; try again when it is written")
        self._keeping.finish(path, self._plan.names if entry is None else self._plan.names - entry.names)

    def _without_repeats(self, job: Job, judged: Judged) -> Judged:
        """What became of a chunk once it is known which of its resources stand on earlier lines."""
        keys = _keys(judged.verdict)
        foreign = self._earlier.contains(keys)
        repeated = self._own.add(keys) | foreign
        if foreign.any():
            self._keeping.drop()  # what is kept of a file is true of it wherever it stands
        if not repeated.any():
            return judged
        lines = np.concatenate([kept.lines for kept in judged.verdict.kept])[repeated]
        return self._judges.again(replace(job, repeats=frozenset(lines.tolist())))


def _keys(verdict: Verdict) -> Keys:
    return np.concatenate([NO_KEYS, *(kept.keys for kept in verdict.kept)])
