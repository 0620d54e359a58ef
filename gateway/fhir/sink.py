"""What is made of the verdicts on a folder's lines: counts that add up, a digest, the quarantine file, and rows of views."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gateway.fhir.concept_maps import CodeCounts, ConceptMaps, Translator
from gateway.fhir.content import ContentDigest
from gateway.fhir.database import AT_ONCE, Database
from gateway.fhir.errors import DataError
from gateway.fhir.judge import REFERENCES, Kept, Part, Refused, Verdict
from gateway.fhir.quality import NO_CODES, NOT_NEEDED, LineCounts
from gateway.fhir.references import References

MAX_BAD_SHARE = 0.5
"""Largest share of lines that may be set aside; beyond it the export is at fault, not single resources."""

_NOT_TEXT = frozenset({"not-json", "not-utf8"})


@dataclass(frozen=True)
class Loaded:
    """What was read of a folder."""

    files: int
    lines: LineCounts
    content: str
    """Digest of the resources that were kept, whatever their order and files."""
    codes: CodeCounts
    """What the hospital's concept maps translated."""


class Sink:
    """Counts every line once, and passes on what is read of those that are kept."""

    def __init__(
        self,
        needed: frozenset[str] | None,
        database: Database,
        listing: TextIO | None,
        references: References | None,
        maps: ConceptMaps | None,
    ) -> None:
        self._needed = needed
        self._database = database
        self._listing = listing
        self._references = references
        self._translator = None if maps is None else Translator(maps)
        self._waiting: dict[str, list[bytes]] = {}
        self._content = ContentDigest()
        self._lines = self._kept = 0
        self._dropped: Counter[str] = Counter()
        self._file = _File("")

    def begin(self, path: Path) -> None:
        """What follows is of this file."""
        self._file = _File(path.name)

    def verdict(self, verdict: Verdict) -> None:
        """Count a chunk's lines."""
        self._lines += verdict.lines
        self._file.lines += verdict.lines
        self._file.last = max([self._file.last, *(line for kept in verdict.kept for line in kept.lines[-1:].tolist())])
        for kept in verdict.kept:
            self._keep(kept)
        for refused in verdict.refused:
            self._drop(refused)

    def part(self, part: Part) -> None:
        """Pass on what was read of resources."""
        if part.name == REFERENCES:
            if self._references is not None:
                self._references.want(part)
            return
        if self._translator is not None:
            self._translator.add(part.mapped, part.unmapped)
        waiting = self._waiting.setdefault(part.source, [])
        waiting.append(part.data)
        if len(waiting) == AT_ONCE:
            self._database.add(part.source, waiting)
            waiting.clear()

    def cut(self) -> None:
        """The file cannot be read beyond its last line."""
        self._lines += 1
        self._drop(Refused(self._file.last + 1, "cut-file", "the file cannot be read beyond this line", None))

    def end(self, path: Path) -> None:
        """Raise DataError if nothing in the file is JSON."""
        if self._file.unreadable and self._file.unreadable == self._file.lines:
            raise DataError(f"{path} is not NDJSON: none of its {self._file.lines} lines is JSON; put one FHIR resource on each line")

    def finish(self, folder: Path) -> None:
        """Raise DataError if too many lines cannot be used."""
        for resource_type, tables in self._waiting.items():
            self._database.add(resource_type, tables)
        bad = sum(count for reason, count in self._dropped.items() if reason != NOT_NEEDED)
        if bad > MAX_BAD_SHARE * (self._kept + bad):
            reasons = ", ".join(f"{reason} {count}" for reason, count in self._dropped.most_common() if reason != NOT_NEEDED)
            raise DataError(f"{bad} of {self._kept + bad} lines in {folder} cannot be used ({reasons}); mend the export")

    def loaded(self, count: int) -> Loaded:
        """What was read of `count` files."""
        counts = LineCounts(self._lines, self._kept, dict(sorted(self._dropped.items())))
        return Loaded(count, counts, self._content.hex(), NO_CODES if self._translator is None else self._translator.counts())

    def _keep(self, kept: Kept) -> None:
        if self._needed is not None and kept.type not in self._needed:
            self._dropped[NOT_NEEDED] += len(kept.keys)
            return
        self._kept += len(kept.keys)
        self._content.merge(ContentDigest.from_bytes(kept.content))
        if self._references is not None:
            self._references.hold(kept)

    def _drop(self, refused: Refused) -> None:
        if self._needed is not None and refused.type is not None and refused.type not in self._needed:
            self._dropped[NOT_NEEDED] += 1
            return
        self._dropped[refused.reason] += 1
        self._file.last = max(self._file.last, refused.line)
        self._file.unreadable += refused.reason in _NOT_TEXT
        if self._listing is not None:
            entry = {"file": self._file.name, "line": refused.line, "reason": refused.reason, "detail": refused.detail}
            self._listing.write(json.dumps(entry, ensure_ascii=False) + "\n")


@dataclass
class _File:
    """The file that is being read."""

    name: str
    lines: int = 0
    unreadable: int = 0
    last: int = 0
    """Number of the last line that is not blank."""
