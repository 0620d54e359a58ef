"""The consents of a hospital's patients: read of its folder and its opt-out list, all of them or an error.

A Consent that cannot be told whose it is stops the reading: nobody could say whom it excludes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.fhir.consent import ID, Decided, Default, Reason, Rules, decided, left_out, patient_of, unreadable
from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import ConsentError, ViewError
from gateway.fhir.sources import Line, files, lines
from gateway.fhir.validate import RefusedLineError, resource
from gateway.fhir.view_definition import Column, Select
from gateway.task_file import PATIENT_COLUMN, TaskFile

_CONSENT = frozenset({"Consent"})
_NAMED = re.compile(rb'"resourceType"\s*:\s*"Consent"')
_VERSIONS: tuple[FhirVersion, ...] = ("R4", "R5")
_REFERENCE_KEY = re.compile(r"(?:.*\.)?getReferenceKey\((?:Patient)?\)", re.DOTALL)


@dataclass(frozen=True)
class ConsentSource:
    """Where a hospital's consents are, and what its policy makes of them."""

    folder: Path
    opt_out: Path | None
    """A text file with the id of one patient on each line."""
    rules: Rules

    def state(self, at: datetime) -> tuple[object, ...]:
        """Something that differs whenever `read` may: the files as the file system knows them, and the day, on which periods end."""
        paths = files(self.folder) if self.opt_out is None else (*files(self.folder), self.opt_out)
        return (at.date(), *(_known(path) for path in paths))

    def read(self, at: datetime) -> "Consents":
        """Who is left out at this moment. Raises ConsentError with one sentence."""
        opted_out = frozenset() if self.opt_out is None else read_opt_out(self.opt_out)
        decisions: dict[str, list[Decided]] = {}
        for path in files(self.folder):
            for line in lines(path):
                if (found := _decision(line, self.rules, at)) is not None:
                    decisions.setdefault(found[0], []).append(found[1])
        answers = {
            patient: left_out(decisions.get(patient, ()), opted_out=patient in opted_out, default=self.rules.default)
            for patient in opted_out | decisions.keys()
        }
        return Consents(answers, self.rules.default)


@dataclass(frozen=True)
class Consents:
    """Who is left out, at one moment."""

    answers: Mapping[str, Reason | None]
    default: Default

    def left_out(self, patient: str) -> Reason | None:
        """Why a patient is left out; None for one whose data may be used."""
        return self.answers.get(patient, None if self.default == "permit" else "no-consent")


def read_opt_out(path: Path) -> frozenset[str]:
    """Ids of patients, one a line; raise ConsentError naming the line that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConsentError(f"cannot read the opt-out list {path}: {error.strerror}; without it no patient's data are used") from error
    except UnicodeDecodeError as error:
        raise ConsentError(
            f"the opt-out list {path} is not UTF-8 text (byte {error.start}); write one patient's id on each line"
        ) from error
    found = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not ID.fullmatch(line):
            raise ConsentError(f"line {number} of the opt-out list {path} is no FHIR id; write one patient's id on each line, nothing else")
        found.add(line)
    return frozenset(found)


def check_patient_key(task: TaskFile) -> None:
    """Raise ViewError if the cohort's patients are not known by the ids of which consents speak."""
    view = task.view(task.cohort.view)
    for column in (column for select in view.select for column in _columns(select) if column.name == PATIENT_COLUMN):
        path = column.path.strip()
        if not (_REFERENCE_KEY.fullmatch(path) or (path == "getResourceKey()" and view.resource == "Patient")):
            raise ViewError(
                f"view {view.name}: this hospital asks for consent, so the cohort's column {PATIENT_COLUMN} must be getResourceKey() of"
                " Patient, or a reference's getReferenceKey(Patient)"
            )


def _columns(select: Select) -> list[Column]:
    """All columns, of every branch of a union."""
    return [*select.column, *(column for nested in (*select.select, *select.union_all) for column in _columns(nested))]


def _known(path: Path) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError:
        return (str(path), None)
    return (str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _decision(line: Line, rules: Rules, at: datetime) -> tuple[str, Decided] | None:
    """Whose decision a line is, and what it says; None for one that is about nothing of this."""
    if line.data is None:
        if line.file.startswith("Consent"):
            raise _unattributable(line, "is too long to be read")
        return None
    if b"Consent" not in line.data:
        return None
    consent, found = _consent(line, line.data), unreadable()
    if consent is None:
        return None
    if consent.valid:
        said = decided(consent.content, rules, at=at)
        if said is None:
            return None
        found = said
    patient = patient_of(consent.content)
    if patient is None:
        raise _unattributable(line, "does not say of which patient it is")
    return patient, found


@dataclass(frozen=True)
class _Read:
    content: Mapping[str, Any]
    valid: bool


def _consent(line: Line, data: bytes) -> _Read | None:
    """The Consent on a line; None for another resource and for one that the hospital marked as an error."""
    for version in _VERSIONS:
        try:
            found = resource(data, _CONSENT, version)
        except RefusedLineError as error:
            if error.reason == "entered-in-error":
                return None
            continue
        return None if found is None else _Read(json.loads(found.text), valid=True)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        if _NAMED.search(data):
            raise _unattributable(line, "cannot be read") from None
        return None
    return _Read(content, valid=False) if isinstance(content, dict) and content.get("resourceType") == "Consent" else None


def _unattributable(line: Line, why: str) -> ConsentError:
    return ConsentError(f"the Consent on line {line.number} of {line.file} {why}, so nobody can tell whom it excludes; mend the export")
