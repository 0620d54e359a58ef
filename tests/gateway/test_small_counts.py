"""What leaves a hospital tells no count of fewer than ten patients, and not by subtraction either."""

import json
import re
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fhir.concept_maps import CodeCounts
from gateway.fhir.quality import FeatureQuality, LineCounts, QualityReport, RowCounts
from gateway.hospital.cohort import Cohort, Patients
from gateway.hospital.evaluate import evaluate, merged_bins
from gateway.researcher.evaluations import parse_evaluation
from privacy.models import ModelSpec

SPEC = ModelSpec("logistic_regression", 2)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(1, 12))
def test_merged_bins_hold_everybody_and_never_few(counts: list[int], smallest: int) -> None:
    merged = merged_bins(counts, smallest)
    assert len(merged) == len(counts)
    assert sum(merged) == sum(counts)
    if sum(counts) >= smallest:
        assert all(count == 0 or count >= smallest for count in merged)
    if smallest == 1:
        assert merged == counts


def _part(patients: int, positive: int, seed: int) -> Patients:
    values = np.random.default_rng(seed).normal(size=(patients, 2))
    labels = (np.arange(patients) < positive).astype(np.float32)
    return Patients(values, np.ones_like(values, dtype=bool), labels, tuple(f"p{seed}-{n}" for n in range(patients)))


def _report(count: int) -> QualityReport:
    rows = RowCounts(100, 100 - count, {"unit": count})
    return QualityReport(
        files=1,
        lines=LineCounts(100, 100 - count, {"not-json": count - 1, "not-fhir": 1}),
        content="",
        cohort=100,
        unlabelled=count,
        positive=count,
        negative=100 - count,
        duplicate_rows=count,
        features=(FeatureQuality("glucose", 100 - count, count, count, rows), FeatureQuality("age", 100, 0, 0)),
        without_index=count,
        codes=CodeCounts(0, ()),
        left_out={"opted-out": 1, "denied": count - 1},
    )


def _released(*, test_positive: int, test: int, validation: int, bad: int, smallest: int = 10) -> dict[str, Any]:
    cohort = Cohort(_report(bad), "", _part(80, 40, 1), _part(validation, validation // 2, 2), _part(test, test_positive, 3))
    plan = cast(Any, SimpleNamespace(spec=SPEC, parameters=3))
    return evaluate(plan, cohort, np.array([1.0, -1.0, 0.0]), mspid="A", task_id="t", upload_bytes=1, seconds={}, smallest_count=smallest)


def _numbers(sentences: list[str]) -> list[int]:
    return [int(number) for sentence in sentences for number in re.findall(r"\d+", sentence.replace("fewer than 10", ""))]


@pytest.mark.parametrize("bad", [2, 5, 9])
def test_warnings_tell_no_small_count(bad: int) -> None:
    warnings = _released(test_positive=30, test=60, validation=20, bad=bad)["warnings"]
    assert len(warnings) >= 8
    assert not [number for number in _numbers(warnings) if 0 < number < 10 or 90 < number < 100], warnings
    exact = _released(test_positive=30, test=60, validation=20, bad=bad, smallest=1)["warnings"]
    assert bad in _numbers(exact)


def test_bins_are_merged_and_figures_stay() -> None:
    found, exact = (_released(test_positive=30, test=60, validation=20, bad=20, smallest=smallest) for smallest in (10, 1))
    for model in ("federated", "alone"):
        for side in ("positives", "negatives"):
            assert all(count == 0 or count >= 10 for count in found[model][side])
            assert sum(found[model][side]) == 30
            assert any(0 < count < 10 for count in exact[model][side])
        assert found[model]["auc"] == exact[model]["auc"]
    assert found["patients"] == {"train": 80, "validation": 20, "test": 60}


@pytest.mark.parametrize("positive", [3, 57])
def test_where_too_few_have_or_lack_the_label_nothing_is_told(positive: int) -> None:
    found = _released(test_positive=positive, test=60, validation=7, bad=20)
    for model in ("federated", "alone"):
        assert sum(found[model]["positives"]) == sum(found[model]["negatives"]) == 0
        assert {found[model][figure] for figure in ("auc", "accuracy", "brier", "calibration_error")} == {None}
    assert found["patients"]["validation"] is None
    assert parse_evaluation(json.dumps(found).encode()).patients == 140
