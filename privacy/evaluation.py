"""Model quality on held-out patients: histograms of scores, and what is read off them.

No prediction leaves a hospital: each counts its own held-out patients, and releases the counts with noise (`privacy.noisy_evaluation`).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

BINS = 200


class EvaluationError(ValueError):
    """Scores cannot be evaluated; the message says why."""


@dataclass(frozen=True)
class Histogram:
    """Patients by predicted probability in equal bins over [0, 1]: counts of those with label 1 and with label 0.

    Counts that noise was taken out of (`privacy.noisy_evaluation`) need not be whole.
    """

    positives: tuple[float, ...]
    negatives: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.positives or len(self.positives) != len(self.negatives) or min(*self.positives, *self.negatives) < 0:
            raise EvaluationError("a histogram needs as many counts of positives as of negatives, at least one, none negative")


@dataclass(frozen=True)
class CalibrationPoint:
    """One bin of the calibration curve: mean predicted probability (by bin centres), share of positives, patients."""

    predicted: float
    observed: float
    patients: float


def score_histogram(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> Histogram:
    """Count patients by probability and label; raise EvaluationError if shapes differ or a value is out of range."""
    scores, truth = _checked(probabilities, labels)
    index = np.minimum((scores * bins).astype(np.int64), bins - 1)
    return Histogram(
        positives=tuple(int(count) for count in np.bincount(index[truth == 1], minlength=bins)),
        negatives=tuple(int(count) for count in np.bincount(index[truth == 0], minlength=bins)),
    )


def auc(histogram: Histogram) -> float | None:
    """Area under the ROC curve, ties within a bin counted half (trapezium rule); None unless both labels are present."""
    points = roc(histogram)
    if points is None:
        return None
    return sum((x1 - x0) * (y0 + y1) / 2.0 for (x0, y0), (x1, y1) in pairwise(points))


def roc(histogram: Histogram) -> tuple[tuple[float, float], ...] | None:
    """(false positive rate, true positive rate) from (0, 0) to (1, 1) as the threshold falls; None unless both labels are present."""
    positives, negatives = sum(histogram.positives), sum(histogram.negatives)
    if not positives or not negatives:
        return None
    caught = np.cumsum(histogram.positives[::-1]) / positives
    alarms = np.cumsum(histogram.negatives[::-1]) / negatives
    return ((0.0, 0.0), *((float(x), float(y)) for x, y in zip(alarms, caught, strict=True)))


def calibration(histogram: Histogram, bins: int = 10) -> tuple[CalibrationPoint, ...]:
    """The calibration curve in `bins` equal bins, empty ones left out; `bins` must divide the histogram's number of bins."""
    if len(histogram.positives) % bins:
        raise EvaluationError(f"{bins} calibration bins do not divide {len(histogram.positives)} score bins")
    centres = _centres(histogram).reshape(bins, -1)
    positives = np.array(histogram.positives).reshape(bins, -1)
    patients = positives + np.array(histogram.negatives).reshape(bins, -1)
    totals = patients.sum(axis=1)
    return tuple(
        CalibrationPoint(float(np.dot(centres[i], patients[i]) / totals[i]), float(positives[i].sum() / totals[i]), float(totals[i]))
        for i in np.flatnonzero(totals)
    )


def calibration_error(histogram: Histogram, bins: int = 10) -> float | None:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599): mean |observed - predicted| over patients; None without any."""
    points = calibration(histogram, bins)
    total = sum(point.patients for point in points)
    return sum(abs(point.observed - point.predicted) * point.patients for point in points) / total if total else None


def brier(histogram: Histogram) -> float | None:
    """Mean squared error of the probabilities, each taken as its bin's centre (off by at most 1/bins); None without patients."""
    centres, positives, negatives = _centres(histogram), np.array(histogram.positives), np.array(histogram.negatives)
    total = positives.sum() + negatives.sum()
    return float((positives * (1 - centres) ** 2 + negatives * centres**2).sum() / total) if total else None


def accuracy(histogram: Histogram) -> float | None:
    """Share of patients on the right side of probability one half; None without patients. Needs an even number of bins."""
    half = len(histogram.positives) // 2
    if half * 2 != len(histogram.positives):
        raise EvaluationError("accuracy needs an even number of bins, so that one half is a border between two")
    total = sum(histogram.positives) + sum(histogram.negatives)
    return (sum(histogram.positives[half:]) + sum(histogram.negatives[:half])) / total if total else None


def exact_auc(probabilities: ArrayLike, labels: ArrayLike) -> float | None:
    """Area under the ROC curve from the scores themselves (Mann-Whitney, ties half); None unless both labels are present."""
    scores, truth = _checked(probabilities, labels)
    positives, negatives = scores[truth == 1], np.sort(scores[truth == 0])
    if not len(positives) or not len(negatives):
        return None
    below = np.searchsorted(negatives, positives, side="left")
    not_above = np.searchsorted(negatives, positives, side="right")
    return float((below + not_above).sum() / (2.0 * len(positives) * len(negatives)))


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 1 or truth.shape != scores.shape or not np.isin(truth, (0, 1)).all():
        raise EvaluationError("evaluation needs one probability and one label of 0 or 1 for each patient")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise EvaluationError("a predicted probability is not between 0 and 1")
    return scores, truth


def _centres(histogram: Histogram) -> np.ndarray:
    bins = len(histogram.positives)
    return (np.arange(bins) + 0.5) / bins
