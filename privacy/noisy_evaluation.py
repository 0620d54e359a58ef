"""What a hospital may tell of a finished model: held-out patients counted by score and label, with noise, and what can be read off that.

A patient is in one cell of 2 * BINS, so adding or removing one changes one count by 1: one Gaussian release of sensitivity 1.

Everything after the release is post-processing: noisy counts of several hospitals add up, and the nearest counts that can be (none
negative, the same number in all) are an ordinary histogram of `privacy.evaluation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from privacy.evaluation import EvaluationError, Histogram, score_histogram
from privacy.noise import NoiseSource
from privacy.noisy_counts import nearest_counts, noisy_counts

BINS = 10
"""Few, for each has its own noise; as many as a calibration curve has."""
LARGEST_COUNT = 10**9
"""Larger counts come from no hospital: what a gateway sends is checked against it."""
DRAWS = 400
COVERED = 0.9
"""Of intervals: how often a simulated figure lies within."""

Measure = Callable[[Histogram], float | None]


@dataclass(frozen=True)
class NoisyHistogram:
    """Noisy counts by predicted probability, in equal bins over [0, 1]; they may be negative. `deviation`: of each count's noise."""

    positives: tuple[float, ...]
    negatives: tuple[float, ...]
    deviation: float

    def __post_init__(self) -> None:
        counts = np.array([*self.positives, *self.negatives, self.deviation], dtype=np.float64)
        if len(self.positives) != BINS or len(self.negatives) != BINS or not (np.abs(counts) <= LARGEST_COUNT).all() or self.deviation < 0:
            raise EvaluationError(f"a noisy histogram has {BINS} finite counts for each label, and a deviation of at least 0")


def private_histogram(probabilities: ArrayLike, labels: ArrayLike, *, noise_multiplier: float, noise: NoiseSource) -> NoisyHistogram:
    """Count the held-out patients, with noise of that standard deviation on each count. Run by the hospital, after the debit.

    Raises EvaluationError if shapes differ or a probability is out of range.
    """
    exact = score_histogram(probabilities, labels, BINS)
    noisy = noisy_counts([*exact.positives, *exact.negatives], scale=noise_multiplier, noise=noise)
    return NoisyHistogram(tuple(noisy[:BINS].tolist()), tuple(noisy[BINS:].tolist()), noise_multiplier)


def merge_noisy(histograms: Sequence[NoisyHistogram]) -> NoisyHistogram:
    """The noisy counts of all hospitals together, whose noises add up; raise EvaluationError if there is none."""
    if not histograms:
        raise EvaluationError("noisy histograms can be merged only if there is at least one")
    return NoisyHistogram(
        tuple(sum(counts) for counts in zip(*(each.positives for each in histograms), strict=True)),
        tuple(sum(counts) for counts in zip(*(each.negatives for each in histograms), strict=True)),
        float(np.sqrt(sum(each.deviation**2 for each in histograms))),
    )


def plausible(noisy: NoisyHistogram) -> Histogram:
    """The histogram that is nearest to the noisy one among those that can be, label by label."""
    return Histogram(nearest_counts(noisy.positives), nearest_counts(noisy.negatives))


def interval(noisy: NoisyHistogram, measure: Measure, *, rng: np.random.Generator) -> tuple[float, float] | None:
    """Bounds in [0, 1] of a figure that a draw of other patients and of other noise would give, `COVERED` of the time.

    By simulation: patients are drawn from the plausible histogram, noise is added, and the figure is read again; the bounds are the basic
    bootstrap's (Davison and Hinkley 1997, section 5.2), which corrects the pull of the noise. None where a figure is missing too often.
    """
    truth = plausible(noisy)
    centre = measure(truth)
    if centre is None:
        return None
    drawn = [measure(_again(truth, noisy.deviation, rng)) for _ in range(DRAWS)]
    found = np.array([value for value in drawn if value is not None])
    if len(found) * 2 < DRAWS:
        return None
    low, high = np.quantile(found, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(np.clip(2 * centre - high, 0.0, 1.0)), float(np.clip(2 * centre - low, 0.0, 1.0))


def _again(truth: Histogram, deviation: float, rng: np.random.Generator) -> Histogram:
    """What another hospital with the same kind of patients would have released, made plausible."""
    patients = rng.poisson([truth.positives, truth.negatives])
    noisy = patients + rng.normal(scale=deviation, size=patients.shape) if deviation else patients.astype(np.float64)
    return Histogram(nearest_counts(noisy[0]), nearest_counts(noisy[1]))
