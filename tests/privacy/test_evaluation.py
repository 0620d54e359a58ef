"""Model quality against scikit-learn, from histograms and from the scores themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from privacy.evaluation import (
    EvaluationError,
    Histogram,
    accuracy,
    auc,
    brier,
    calibration,
    calibration_error,
    exact_auc,
    roc,
    score_histogram,
)

EMPTY = Histogram((0, 0), (0, 0))
scored = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1)), min_size=1, max_size=60)


def patients(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    return np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1), labels


@given(scored)
def test_exact_auc_is_scikit_learns(rows):
    probabilities, labels = np.array([score / 1000 for score, _ in rows]), np.array([label for _, label in rows])
    if len(set(labels.tolist())) == 1:
        assert exact_auc(probabilities, labels) is None
    else:
        assert exact_auc(probabilities, labels) == pytest.approx(roc_auc_score(labels, probabilities))


@given(scored)
def test_histogram_auc_is_the_exact_one_of_binned_scores(rows):
    probabilities, labels = np.array([score / 1000 for score, _ in rows]), np.array([label for _, label in rows])
    binned = np.minimum((probabilities * 200).astype(int), 199)
    histogram = score_histogram(probabilities, labels)
    if len(set(labels.tolist())) == 1:
        assert auc(histogram) is None and roc(histogram) is None
    else:
        assert auc(histogram) == pytest.approx(roc_auc_score(labels, binned))


def test_histogram_of_many_patients_is_close_to_the_scores():
    probabilities, labels = patients()
    histogram = score_histogram(probabilities, labels)
    assert auc(histogram) == pytest.approx(roc_auc_score(labels, probabilities), abs=0.003)
    assert brier(histogram) == pytest.approx(brier_score_loss(labels, probabilities), abs=0.003)
    assert accuracy(histogram) == np.mean((probabilities >= 0.5) == labels)


def test_probability_one_falls_into_the_last_bin():
    assert score_histogram([0.0, 1.0], [0, 1], bins=2) == Histogram((0, 1), (1, 0))


def test_roc_runs_from_corner_to_corner_and_never_falls():
    points = roc(score_histogram(*patients()))
    assert points is not None and points[0] == (0.0, 0.0) and points[-1] == (1.0, 1.0)
    assert list(points) == sorted(points)


def test_calibration_of_a_calibrated_and_of_an_overconfident_model():
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0, 1, 20_000)
    truth = (rng.uniform(0, 1, 20_000) < probabilities).astype(int)
    curve = calibration(score_histogram(probabilities, truth))
    assert len(curve) == 10 and sum(point.patients for point in curve) == 20_000
    assert all(point.observed == pytest.approx(point.predicted, abs=0.05) for point in curve)
    assert calibration_error(score_histogram(probabilities, truth)) < 0.02
    assert calibration_error(score_histogram(np.where(truth, 0.9, 0.9), truth)) == pytest.approx(0.4, abs=0.02)


def test_empty_bins_are_left_out():
    assert [point.patients for point in calibration(score_histogram([0.05, 0.06, 0.95], [0, 1, 1]))] == [2, 1]


def test_without_patients_there_is_no_number():
    assert brier(EMPTY) is None and accuracy(EMPTY) is None and auc(EMPTY) is None and calibration_error(EMPTY, bins=2) is None


@pytest.mark.parametrize(("probabilities", "labels"), [([0.5], [2]), ([1.5], [1]), ([np.nan], [1]), ([0.5, 0.5], [1]), ([[0.5]], [[1]])])
def test_unusable_scores_are_refused(probabilities, labels):
    with pytest.raises(EvaluationError):
        score_histogram(probabilities, labels)
    with pytest.raises(EvaluationError):
        exact_auc(probabilities, labels)


@pytest.mark.parametrize(("positives", "negatives"), [((), ()), ((1,), (1, 2)), ((1, -1), (0, 0))])
def test_unusable_histograms_are_refused(positives, negatives):
    with pytest.raises(EvaluationError):
        Histogram(positives, negatives)


def test_bins_that_do_not_divide_are_refused():
    with pytest.raises(EvaluationError, match="divide"):
        calibration(EMPTY, bins=3)
    with pytest.raises(EvaluationError, match="even"):
        accuracy(Histogram((1,), (1,)))
