"""What happens to decrypted group sums: refuse those no honest group can send, combine the rest, step.

Everything here is element-wise float64 in a fixed order, so that every gateway comes to the same bytes and the same digest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Combination = Literal["trimmed_mean", "mean", "median"]
"""How group means become one step; docs/benchmarks/attacks.md holds what each does under attack."""

# Chances that an honest value breaks a bound. A coordinate: 1e-15, so about 1e-6 in 1,000 rounds of a million parameters.
COORDINATE_DEVIATIONS = 8.0
# The norm, looked at once a group and round: 1.5e-8. Larger would let scaled updates pass that are found now.
NORM_DEVIATIONS = 6.0
FEWEST_WITH_A_MIDDLE = 3  # groups
COUNT_NATS = 35.0  # -ln(6e-16), for the number of patients that Poisson sampling picks


@dataclass(frozen=True)
class GroupBound:
    """Limits that the sum of an honest group keeps: on each coordinate and on the Euclidean norm."""

    coordinate: float
    norm: float


def update_bound(*, expected_batch: int, patients: int, noise_multiplier: float, local_steps: int) -> float:
    """Largest |coordinate| one hospital sends, in units of the clip; it clamps what is beyond before encryption.

    `noise_multiplier` is the hospital's own (its share, in mode distributed). All hospitals of a task encrypt under one bound: the
    largest of theirs.
    """
    signal = local_steps * _largest_batch(expected_batch, patients)
    return signal + COORDINATE_DEVIATIONS * noise_multiplier * math.sqrt(local_steps)


def group_bound(
    *, expected_batches: Sequence[int], patients: Sequence[int], noise_multiplier: float, local_steps: int, parameters: int
) -> GroupBound:
    """The bound of a group with these members. A hospital that scales its update up to be heard breaks it.

    A clipped gradient has norm at most 1 in units of the clip; the norm of d normal numbers exceeds sqrt(d) + t with probability
    below exp(-t^2/2) (Gaussian concentration of a 1-Lipschitz function, Boucheron, Lugosi and Massart 2013, theorem 5.6).
    """
    signal = local_steps * sum(_largest_batch(batch, count) for batch, count in zip(expected_batches, patients, strict=True))
    deviation = noise_multiplier * math.sqrt(local_steps * len(expected_batches))
    return GroupBound(
        coordinate=signal + COORDINATE_DEVIATIONS * deviation,
        norm=signal + (math.sqrt(parameters) + NORM_DEVIATIONS) * deviation,
    )


def within_bound(group_sum: Vector, bound: GroupBound) -> bool:
    """Whether a decrypted sum may be used. False for NaN and infinity too."""
    if not np.isfinite(group_sum).all():
        return False
    return float(np.abs(group_sum).max()) <= bound.coordinate and float(np.linalg.norm(group_sum)) <= bound.norm


def combine_groups(sums: Sequence[Vector], batches: Sequence[int], how: Combination = "trimmed_mean") -> Vector:
    """The mean clipped gradient in units of the clip, from group sums and the groups' summed expected batches, in group order.

    mean: over all patients. trimmed_mean: coordinate-wise over the group means, dropping a quarter of the groups and at least one at
    each end. median: coordinate-wise over the group means (both Yin et al. 2018, arXiv:1803.01498). One or two groups have no middle:
    there all three are the mean. Raises ValueError without groups, or where a batch is missing.
    """
    if not sums or len(sums) != len(batches) or min(batches) < 1:
        raise ValueError("combining needs at least one group, and for each its sum and its expected batch")
    if how == "mean" or len(sums) < FEWEST_WITH_A_MIDDLE:
        return np.asarray(reduce(np.add, sums) / float(sum(batches)), dtype=np.float64)
    # Adding zero turns -0 into 0, which sorting would leave in whatever order they came.
    means = np.sort(np.stack([group_sum / float(batch) + 0.0 for group_sum, batch in zip(sums, batches, strict=True)]), axis=0)
    trim = max(1, len(sums) // 4) if how == "trimmed_mean" else (len(sums) - 1) // 2
    kept = means[trim : len(sums) - trim]
    return np.asarray(reduce(np.add, kept) / float(len(kept)), dtype=np.float64)


def next_parameters(parameters: Vector, combined: Vector, *, clip: float, learning_rate: float) -> Vector:
    """The model after the round: parameters - learning_rate * clip * combined."""
    return np.asarray(parameters - (learning_rate * clip) * combined, dtype=np.float64)


def _largest_batch(expected: int, patients: int) -> float:
    """The most patients one Poisson sample holds, by Bernstein's inequality exp(-t^2 / (2 (mean + t/3))), or all there are."""
    third = COUNT_NATS / 3.0
    return min(float(patients), expected + third + math.sqrt(third * third + 2.0 * COUNT_NATS * expected))
