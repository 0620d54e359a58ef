"""What a validator tells about an update: how much it lowers the loss on the validator's own held-out patients, with noise.

Run by each member of the validation committee. One utility is one release of the Gaussian mechanism with sensitivity `clip` (adding
or removing one patient changes the clipped sum by at most that), so K utilities in a round are a spend of K steps.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from privacy.models import ModelSpec, Vector, predict
from privacy.noise import NoiseSource

SMALLEST_PROBABILITY = 1e-12  # keeps the logarithm finite; differences are clipped far below its 27.6 nats


def patient_losses(spec: ModelSpec, vector: Vector, features: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Log loss in nats of each patient, shape (patients,). Private: it never leaves the gateway."""
    return log_losses(predict(spec, vector, features), labels)


def log_losses(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Of predicted probabilities, in nats."""
    targets = np.asarray(labels, dtype=np.float64)
    likely = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY)
    return -(targets * np.log(likely) + (1.0 - targets) * np.log1p(-likely))


def private_utility(
    losses_before: ArrayLike, losses_after: ArrayLike, *, expected: float, clip: float, noise_multiplier: float, noise: NoiseSource
) -> float:
    """Loss saved per patient (nats, each patient's clipped to plus or minus `clip`), released with Gaussian noise.

    The sum is divided by the number of patients to be `expected`, which must be public: the true one would tell whether a patient is
    there. The noise's standard deviation is noise_multiplier * clip / expected; positive means the update helps. The result is cut to
    plus or minus `clip`, which costs no privacy. Raises ValueError for losses that do not match or are not finite.
    """
    saved = np.asarray(losses_before, dtype=np.float64) - np.asarray(losses_after, dtype=np.float64)
    if saved.ndim != 1 or not np.isfinite(saved).all():
        raise ValueError("scoring needs one finite loss before and after for each patient")
    if not (math.isfinite(expected) and expected > 0):
        raise ValueError(f"scoring divides by a positive number of patients, not {expected}")
    if not (math.isfinite(clip) and clip > 0 and math.isfinite(noise_multiplier) and noise_multiplier > 0):
        raise ValueError(f"scoring needs a positive clip and noise multiplier, not {clip} and {noise_multiplier}")
    total = float(np.clip(saved, -clip, clip).sum()) + float(noise.gaussian(1, scale=noise_multiplier * clip)[0])
    return min(clip, max(-clip, total / expected))
