"""The hospital's report in numbers and sentences."""

from gateway.fhir.quality import FeatureQuality, LineCounts, QualityReport


def _report(**changes: object) -> QualityReport:
    values: dict[str, object] = {
        "files": 1,
        "content": "0" * 64,
        "lines": LineCounts(100, 80, {"bad-code": 15, "not-json": 5}),
        "cohort": 40,
        "unlabelled": 0,
        "positive": 20,
        "negative": 20,
        "duplicate_rows": 0,
        "features": (FeatureQuality("a", 10, 2, 0), FeatureQuality("b", 0, 0, 0)),
    }
    return QualityReport(**{**values, **changes})  # type: ignore[arg-type]  # the keys are the fields


def test_quality_is_the_share_of_values_times_the_share_of_lines() -> None:
    assert _report().quality_ppm == 700_000
    assert _report(lines=LineCounts(100, 80, {"not-needed": 20})).quality_ppm == 875_000
    assert _report(positive=0, negative=0).quality_ppm == 0
    assert _report(lines=LineCounts(0, 0, {})).quality_ppm == 0


def test_what_needs_a_look_is_said() -> None:
    assert _report(lines=LineCounts(9, 9, {}), features=()).warnings() == ()
    assert _report(
        positive=37,
        negative=3,
        unlabelled=2,
        duplicate_rows=4,
        lines=LineCounts(100, 60, {"bad-code": 15, "not-json": 5, "not-needed": 20}),
        features=(FeatureQuality("a", 21, 2, 0), FeatureQuality("b", 20, 0, 4), FeatureQuality("c", 0, 0, 5)),
    ).warnings() == (
        "20 of 100 lines were set aside (bad-code 15, not-json 5)",
        "2 of 40 patients have no label and were left out",
        "only 3 of 40 patients are without the label",
        "4 of 40 patients repeat another patient's values and label",
        "a: 2 of 40 patients have a value outside its bounds or categories",
        "a: missing for 21 of 40 patients",
        "c: 5 of 40 patients have a value beyond its bounds, which counts as the bound",
    )
