"""`consortium data check`: what a folder holds, and what it is worth to a task."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.fhir.concept_maps import ConceptMaps
from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import DataError
from gateway.fhir.extract import LeftOut, extract
from gateway.fhir.findings import Finding
from gateway.fhir.profile import Profile, profile
from gateway.fhir.quality import RARE, REASONS, QualityReport
from gateway.fhir.shift import Shift, in_shifts, shifts
from gateway.fhir.store import StorePlace
from gateway.task_file import TaskFile
from privacy.normalisation import InputNormalisation


@dataclass(frozen=True)
class CheckReport:
    """A folder's profile and, where a task was named, its quality for it."""

    profile: Profile
    task: QualityReport | None
    refusal: str | None
    """Why the task cannot be trained on the folder at all."""
    shifts: tuple[Shift, ...] = ()
    """How the folder's patients differ from the federation's, where its statistics are known."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of the folder and those of the task."""
        return (*self.profile.findings, *_of_task(self.task, self.refusal), *in_shifts(self.shifts))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON's types."""
        found = asdict(self.profile) | {"findings": [asdict(finding) for finding in self.findings]}
        task = asdict(self.task) | {"patients": self.task.patients, "quality_ppm": self.task.quality_ppm} if self.task else None
        return found | {"task": task, "refusal": self.refusal, "shifts": [asdict(shift) for shift in self.shifts]}


def check_folder(
    folder: Path,
    task: TaskFile | None,
    *,
    quarantine: Path | None,
    version: FhirVersion = "R4",
    maps: ConceptMaps | None = None,
    left_out: LeftOut | None = None,
    federation: InputNormalisation | None = None,
    store: StorePlace | None = None,
) -> CheckReport:
    """Describe `folder`, and extract it for the task if there is one, without the patients `left_out`.

    `federation`: mean and deviation of the task's inputs over all hospitals, to compare with.
    What the `store` knows is not validated again.

    CPU-heavy; raises DataError or ViewError with one sentence.
    """
    found = profile(folder, quarantine=quarantine, version=version, store=store)
    if task is None:
        return CheckReport(found, None, None)
    try:
        extracted = extract(task, folder, quarantine=None, maps=maps, left_out=left_out, store=store)
    except DataError as error:
        return CheckReport(found, None, str(error))
    compared = () if federation is None else shifts(task, extracted, federation)
    return CheckReport(found, extracted.report, None, compared)


def _of_task(report: QualityReport | None, refusal: str | None) -> Iterator[Finding]:
    if refusal is not None:
        yield Finding("refused", "task", 1, 1, refusal)
    if report is None:
        return
    for why, count in report.left_out.items():
        of = report.cohort + sum(report.left_out.values())
        yield Finding("consent", why, count, of, f"{count} of {of} patients are left out for lack of consent: {why}")
    rarer = min(report.positive, report.negative)
    if rarer * RARE < report.patients:
        sentence = f"only {rarer} of {report.patients} patients are of the rarer class"
        yield Finding("class-balance", "label", rarer, report.patients, sentence)
    for code in report.codes.unmapped:
        where = f"{code.system}|{code.code}"
        sentence = f"{where}: {code.count} codings are not translated: {code.reason}"
        yield Finding("unmapped-code", where, code.count, report.codes.mapped + sum(each.count for each in report.codes.unmapped), sentence)
    for feature in report.features:
        for reason, why in REASONS.items():
            count = feature.rows.dropped.get(reason, 0)
            if not count:
                continue
            units = f" ({', '.join(unit or 'no unit' for unit in feature.foreign_units)})" if reason == "unit" else ""
            sentence = f"{feature.name}: {count} of {feature.rows.read} rows are not used: {why}{units}"
            yield Finding(f"row-{reason}", feature.name, count, feature.rows.read, sentence)
        if feature.missing * 2 > report.patients:
            sentence = f"{feature.name}: missing for {feature.missing} of {report.patients} patients"
            yield Finding("missing", feature.name, feature.missing, report.patients, sentence)
        strays = feature.outside + feature.clamped
        if strays:
            sentence = f"{feature.name}: {strays} of {report.patients} patients have a value outside the task's bounds or categories"
            yield Finding("outside", feature.name, strays, report.patients, sentence)
    if report.duplicate_rows:
        sentence = f"{report.duplicate_rows} of {report.patients} patients repeat another patient's features and label"
        yield Finding("duplicate", "matrix", report.duplicate_rows, report.patients, sentence)
