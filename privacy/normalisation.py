"""Mean and standard deviation of a model's inputs over all hospitals, released once under differential privacy.

Run by each gateway on its own training patients before the first model. Inputs come scaled by bounds that the task declares to [-1, 1].
Of each numeric input a patient gives (x, 1 - x^2, 0), or (0, 0, 1) where the value is missing: a point of the unit ball, since
x^2 + (1 - x^2)^2 <= 1. So a patient's contribution of d inputs has Euclidean norm at most sqrt(d), which is the sensitivity of the sum:
unit the patient, neighbours differ by adding or removing one patient, number of patients public, as in privacy.training.

Everything after the noise is element-wise float64 in a fixed order and ends on a grid, so that every gateway comes to the same bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from privacy.noise import NoiseSource
from privacy.robust import combine_groups

Vector = NDArray[np.float64]

STATISTICS = 3  # for each numeric input: of x, of 1 - x^2, of missing values
GRID = 2.0**-13
LEAST_SHARE_OBSERVED = 0.05  # below, an input says next to nothing, and dividing by its share would only enlarge the noise
LEAST_DEVIATION = 2.0**-5

# What is believed of an input before the data speak: bounds lie around the values. A noisy mean or variance is drawn towards it in the
# proportion of the noise's variance to the belief's (the posterior mean of two normal distributions), which costs no privacy.
MEAN_BELIEVED, MEAN_DOUBT = 0.0, 0.5
VARIANCE_BELIEVED, VARIANCE_DOUBT = 0.2, 0.2


@dataclass(frozen=True, eq=False)
class InputNormalisation:
    """Mean and standard deviation, each (inputs,), of inputs scaled by their bounds; 0 and 1 for an input that stays as it is."""

    mean: Vector
    deviation: Vector

    @property
    def vector(self) -> Vector:
        """Both in one vector (2 x inputs,): what the ledger's digest of round 0 is of."""
        return np.concatenate([self.mean, self.deviation])

    @classmethod
    def from_vector(cls, vector: Vector) -> Self:
        """Raise ValueError for a vector that no normalisation gives."""
        if vector.ndim != 1 or len(vector) % 2 or not np.isfinite(vector).all() or not (vector[len(vector) // 2 :] > 0).all():
            raise ValueError("a normalisation is as many finite means as positive standard deviations")
        mean, deviation = np.split(vector, 2)
        return cls(mean, deviation)

    @classmethod
    def identity(cls, inputs: int) -> Self:
        """Inputs as they are."""
        return cls(np.zeros(inputs), np.ones(inputs))

    def apply(self, features: ArrayLike, observed: ArrayLike) -> Vector:
        """Features (patients, inputs) in standard deviations from the mean; 0, the mean itself, where nothing was observed."""
        values = np.asarray(features, dtype=np.float64)
        return np.where(np.asarray(observed, dtype=bool), (values - self.mean) / self.deviation, 0.0)


def sensitivity(columns: int) -> float:
    """The most that one patient changes the sum of `columns` numeric inputs' statistics, in Euclidean norm."""
    return math.sqrt(columns)


def statistics(features: ArrayLike, observed: ArrayLike, columns: Sequence[int]) -> Vector:
    """The sum over patients in units of the sensitivity, (3 x columns,), without noise: it never leaves the gateway."""
    values = np.asarray(features, dtype=np.float64)[:, list(columns)]
    if not np.isfinite(values).all():
        raise ValueError("an input is not a finite number; missing values must be filled and marked")
    seen = np.asarray(observed, dtype=bool)[:, list(columns)]
    inside = np.clip(values, -1.0, 1.0)  # the bound on which privacy rests, whoever made the matrix
    parts = np.concatenate([np.where(seen, inside, 0.0), np.where(seen, 1.0 - inside**2, 0.0), ~seen], axis=1)
    return np.asarray(parts.sum(axis=0) / sensitivity(len(columns)), dtype=np.float64)


def noisy_statistics(
    features: ArrayLike, observed: ArrayLike, columns: Sequence[int], *, noise_multiplier: float, noise: NoiseSource
) -> Vector:
    """What a hospital encrypts: `statistics` with Gaussian noise of standard deviation `noise_multiplier` on each."""
    exact = statistics(features, observed, columns)
    return exact + noise.gaussian(len(exact), scale=noise_multiplier)


def derive(
    sums: Sequence[Vector], patients: Sequence[int], columns: Sequence[int], *, inputs: int, noise_deviation: float = 0.0
) -> InputNormalisation:
    """Mean and deviation of `inputs` inputs from sums of groups with these numbers of patients, in units of the sensitivity.

    `noise_deviation`: standard deviation of the noise in the mean over all patients, in units of the sensitivity; 0 for exact sums.
    """
    scaled = [each * sensitivity(len(columns)) for each in sums]
    linear, _, missing = np.split(combine_groups(scaled, patients), STATISTICS)
    seen = np.clip(1.0 - missing, LEAST_SHARE_OBSERVED, 1.0)
    noise = noise_deviation * sensitivity(len(columns)) / seen
    mean = np.clip(_believed(linear / seen, noise, MEAN_BELIEVED, MEAN_DOUBT), -1.0, 1.0)
    about_mean = [_about(mean, each, count) for each, count in zip(scaled, patients, strict=True)]
    # The standard deviation of what _about adds up, whose three terms carry the same noise.
    noise = noise * np.sqrt(1.0 + 4.0 * mean**2 + (1.0 + mean**2) ** 2)
    variance = _believed(combine_groups(about_mean, patients) / seen, noise, VARIANCE_BELIEVED, VARIANCE_DOUBT)
    # A small variance under much noise is mostly noise, and dividing by it would make an input loud.
    least = np.maximum(LEAST_DEVIATION**2, noise / 3.0)
    whole = InputNormalisation.identity(inputs)
    whole.mean[list(columns)] = _on_grid(mean)
    whole.deviation[list(columns)] = _on_grid(np.sqrt(np.clip(variance, np.minimum(least, 1.0), 1.0)))
    return whole


def _about(mean: Vector, group_sum: Vector, patients: int) -> Vector:
    """Sum over a group's patients of (x - mean)^2 of observed values, from the sums of x, 1 - x^2 and missing values.

    About the mean of all: groups that are combined robustly, coordinate by coordinate, would otherwise give a mean square of one group
    and the square of another one's mean.
    """
    linear, quadratic, missing = np.split(group_sum, STATISTICS)
    return np.asarray((1.0 + mean**2) * (patients - missing) - quadratic - 2.0 * mean * linear, dtype=np.float64)


def _believed(measured: Vector, noise: Vector, belief: float, doubt: float) -> Vector:
    weight = doubt**2 / (doubt**2 + noise**2)
    return np.asarray(weight * measured + (1.0 - weight) * belief, dtype=np.float64)


def _on_grid(values: Vector) -> Vector:
    return np.asarray(np.round(values / GRID) * GRID, dtype=np.float64)
