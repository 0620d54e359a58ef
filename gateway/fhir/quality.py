"""What a hospital learns about its own data before it takes part. It stays in the hospital: nothing is suppressed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.fhir.concept_maps import CodeCounts

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
class RowCounts:
    """Rows of a view that a feature or the label asks for: every one read is either kept or dropped for one reason."""

    read: int
    kept: int
    dropped: Mapping[str, int]
    """Reason → rows."""


NO_ROWS = RowCounts(0, 0, {})
NO_CODES = CodeCounts(0, ())

REASONS = {
    "unit": "their unit is missing or does not convert to the feature's",
    "implausible": "no living patient has such a value in the unit that stands there",
    "no-time": "nothing says when they happened",
    "samples": "their samples are unreadable, or not as many as the task says",
}
"""Why rows were not used, where it is the data's fault and not the task's choice."""


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
    rows: RowCounts = NO_ROWS
    foreign_units: tuple[str, ...] = ()
    """Units that do not convert to the feature's; the empty one stands for no unit."""


@dataclass(frozen=True)
class QualityReport:
    """Counts of one extraction."""

    files: int
    lines: LineCounts
    content: str
    """Digest of the resources that were kept, whatever their order, files and compression, and of the concept maps."""
    cohort: int
    """Patients of the cohort's view."""
    unlabelled: int
    """Patients of the cohort that were left out because they have no label."""
    positive: int
    negative: int
    duplicate_rows: int
    """Patients whose features and label equal another patient's to the last digit."""
    features: tuple[FeatureQuality, ...]
    without_index: int = 0
    """Patients of the cohort for whom the index never happened."""
    label_rows: RowCounts = NO_ROWS
    codes: CodeCounts = NO_CODES
    """What the hospital's concept maps translated."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Patients of the cohort's view who are not in `cohort`, by the reason for which consent leaves them out."""

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
        """One sentence for each thing that a person should look at. For the hospital's own eyes: they count patients."""
        return tuple(_warnings(self))


def _warnings(report: QualityReport) -> list[str]:
    about_features = [sentence for feature in report.features for sentence in _about_feature(feature, report.patients)]
    return _about_patients(report) + about_features


def _about_patients(report: QualityReport) -> list[str]:
    found = []
    if report.lines.quarantined:
        reasons = {reason: count for reason, count in sorted(report.lines.dropped.items()) if reason != NOT_NEEDED}
        told = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        found.append(f"{report.lines.quarantined} of {report.lines.read} lines were set aside ({told})")
    if report.codes.unmapped:
        codings = sum(code.count for code in report.codes.unmapped)
        found.append(f"{codings} codings of the hospital's own systems, {len(report.codes.unmapped)} different ones, have no mapping")
    if left_out := sum(report.left_out.values()):
        found.append(f"{left_out} of {report.cohort + left_out} patients were left out for lack of consent")
    if report.without_index:
        found.append(f"{report.without_index} of {report.cohort} patients have no index and were left out")
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
    for reason, why in REASONS.items():
        if count := feature.rows.dropped.get(reason, 0):
            found.append(f"{feature.name}: {count} of {feature.rows.read} rows are not used: {why}")
    if feature.clamped * RARE > patients:
        found.append(f"{feature.name}: {feature.clamped} of {patients} patients have a value beyond its bounds, which counts as the bound")
    if feature.missing * 2 > patients:
        found.append(f"{feature.name}: missing for {feature.missing} of {patients} patients")
    return found
