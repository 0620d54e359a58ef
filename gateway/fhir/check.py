"""`consortium data check`: what a folder holds, and what it is worth to a task."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import DataError
from gateway.fhir.extract import extract
from gateway.fhir.findings import Finding
from gateway.fhir.profile import Profile, profile
from gateway.fhir.quality import RARE, QualityReport
from gateway.task_file import TaskFile


@dataclass(frozen=True)
class CheckReport:
    """A folder's profile and, where a task was named, its quality for it."""

    profile: Profile
    task: QualityReport | None
    refusal: str | None
    """Why the task cannot be trained on the folder at all."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of the folder and those of the task."""
        return (*self.profile.findings, *_of_task(self.task, self.refusal))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON's types."""
        found = asdict(self.profile) | {"findings": [asdict(finding) for finding in self.findings]}
        task = asdict(self.task) | {"patients": self.task.patients, "quality_ppm": self.task.quality_ppm} if self.task else None
        return found | {"task": task, "refusal": self.refusal}


def check_folder(folder: Path, task: TaskFile | None, *, quarantine: Path | None, version: FhirVersion = "R4") -> CheckReport:
    """Describe `folder`, and extract it for the task if there is one. CPU-heavy; raises DataError or ViewError with one sentence."""
    found = profile(folder, quarantine=quarantine, version=version)
    if task is None:
        return CheckReport(found, None, None)
    try:
        return CheckReport(found, extract(task, folder, quarantine=None).report, None)
    except DataError as error:
        return CheckReport(found, None, str(error))


def _of_task(report: QualityReport | None, refusal: str | None) -> Iterator[Finding]:
    if refusal is not None:
        yield Finding("refused", "task", 1, 1, refusal)
    if report is None:
        return
    rarer = min(report.positive, report.negative)
    if rarer * RARE < report.patients:
        sentence = f"only {rarer} of {report.patients} patients are of the rarer class"
        yield Finding("class-balance", "label", rarer, report.patients, sentence)
    for feature in report.features:
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
