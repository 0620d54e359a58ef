"""What a hospital learns about its own data before it takes part. It stays in the hospital: nothing is suppressed."""

from collections.abc import Mapping
from dataclasses import dataclass

PPM = 1_000_000
RARE = 10
"""One patient in ten: a rarer class, or more clamped values, are worth a look."""


@dataclass(frozen=True)
class LineCounts:
    """Lines of the folder: every one read is either kept or dropped for one reason."""

    read: int
    kept: int
    dropped: Mapping[str, int]
    """Reason → lines. The reason "not-needed" counts resources of a type that no view of the task asks for."""

    @property
    def quarantined(self) -> int:
        """Lines dropped because something is wrong with them."""
        return sum(count for reason, count in self.dropped.items() if reason != NOT_NEEDED)


NOT_NEEDED = "not-needed"


@dataclass(frozen=True)
class FeatureQuality:
    """One feature over the patients of the matrix."""

    name: str
    missing: int
    """Patients without a usable value, those outside the bounds included."""
    outside: int
    """Patients with a value outside the bounds or categories that was taken for an error of recording."""
    clamped: int
    """Patients with a value outside the bounds that counts as the bound."""


@dataclass(frozen=True)
class QualityReport:
    """Counts of one extraction."""

    files: int
    lines: LineCounts
    content: str
    """Digest of the resources that were kept, whatever their order, files and compression."""
    cohort: int
    """Patients of the cohort's view."""
    unlabelled: int
    """Patients of the cohort that were left out because they have no label."""
    positive: int
    negative: int
    duplicate_rows: int
    """Patients whose features and label equal another patient's to the last digit."""
    features: tuple[FeatureQuality, ...]

    @property
    def patients(self) -> int:
        """Rows of the matrix."""
        return self.positive + self.negative

    @property
    def quality_ppm(self) -> int:
        """Share of the values that the task asks for and that are there, times the share of lines with nothing wrong, in ppm."""
        wanted = self.patients * len(self.features)
        missing = sum(feature.missing for feature in self.features)
        needed = self.lines.kept + self.lines.quarantined
        if not wanted or not needed:
            return 0
        return PPM * (wanted - missing) // wanted * self.lines.kept // needed

    def warnings(self) -> tuple[str, ...]:
        """One sentence for each thing that a person should look at."""
        return tuple(_warnings(self))


def _warnings(report: QualityReport) -> list[str]:
    return _about_patients(report) + [sentence for feature in report.features for sentence in _about_feature(feature, report.patients)]


def _about_patients(report: QualityReport) -> list[str]:
    found = []
    if report.lines.quarantined:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(report.lines.dropped.items()) if reason != NOT_NEEDED)
        found.append(f"{report.lines.quarantined} of {report.lines.read} lines were set aside ({reasons})")
    if report.unlabelled:
        found.append(f"{report.unlabelled} of {report.cohort} patients have no label and were left out")
    rarer, word = min((report.positive, "with"), (report.negative, "without"))
    if rarer * RARE < report.patients:
        found.append(f"only {rarer} of {report.patients} patients are {word} the label")
    if report.duplicate_rows:
        found.append(f"{report.duplicate_rows} of {report.patients} patients repeat another patient's values and label")
    return found


def _about_feature(feature: FeatureQuality, patients: int) -> list[str]:
    found = []
    if feature.outside:
        found.append(f"{feature.name}: {feature.outside} of {patients} patients have a value outside its bounds or categories")
    if feature.clamped * RARE > patients:
        found.append(f"{feature.name}: {feature.clamped} of {patients} patients have a value beyond its bounds, which counts as the bound")
    if feature.missing * 2 > patients:
        found.append(f"{feature.name}: missing for {feature.missing} of {patients} patients")
    return found
