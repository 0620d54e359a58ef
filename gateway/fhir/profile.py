"""What a hospital's folder holds, whatever it will be used for: counts, code systems, units, ranges and what is wrong with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.fhir import findings as rules
from gateway.fhir.database import Database
from gateway.fhir.elements import FhirVersion
from gateway.fhir.findings import Finding
from gateway.fhir.load import load
from gateway.fhir.measurements import (
    Measurement,
    before_birth,
    code_systems,
    measurements,
    repeated_patients,
    repeated_values,
    views,
)
from gateway.fhir.quality import LineCounts
from gateway.fhir.references import ReferenceCount, References
from gateway.fhir.store import StorePlace
from gateway.fhir.views import compile_views


@dataclass(frozen=True)
class Profile:
    """Counts of one folder: they stay in the hospital, nothing is suppressed."""

    files: int
    lines: LineCounts
    content: str
    """Digest of the resources that were kept, whatever their order, files and compression."""
    resources: Mapping[str, int]
    code_systems: Mapping[str, Mapping[str, int]]
    """Resource type → code system → codings."""
    measurements: tuple[Measurement, ...]
    references: tuple[ReferenceCount, ...]
    findings: tuple[Finding, ...]


def profile(folder: Path, *, quarantine: Path | None, version: FhirVersion = "R4", store: StorePlace | None = None) -> Profile:
    """Validate every resource of `folder` that the `store` does not know, and describe what the folder holds.

    CPU-heavy; raises DataError with one sentence.
    """
    database, references = Database(compile_views(views(), version)), References()
    try:
        loaded = load(
            folder, None, database, quarantine=quarantine, version=version, references=references, list_cut_files=True, store=store
        )
        measured, counts = measurements(database), references.counts()
        found = [
            *rules.in_lines(loaded.lines.read, loaded.lines.dropped),
            *(finding for each in measured for finding in rules.in_measurement(each)),
            *(finding for each in counts for finding in rules.in_references(each)),
            *_in_rows(database, references.resources()),
        ]
        return Profile(
            files=loaded.files,
            lines=loaded.lines,
            content=loaded.content,
            resources=references.resources(),
            code_systems=code_systems(database),
            measurements=measured,
            references=counts,
            findings=tuple(found),
        )
    finally:
        database.close()


def _in_rows(database: Database, resources: Mapping[str, int]) -> Iterator[Finding]:
    counted = [
        ("duplicate", "Observation", repeated_values(database), "measurements repeat another one: patient, code, time, value and unit"),
        ("duplicate", "Patient", repeated_patients(database), "patients have the same sex, date of birth and measurements as another one"),
        ("time-order", "Observation", before_birth(database), "measurements are dated before the year of the patient's birth"),
    ]
    for kind, where, count, what in counted:
        if count:
            yield Finding(kind, where, count, resources.get(where, 0), f"{count} {what}")
