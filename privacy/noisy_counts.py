"""Counts with Gaussian noise. Pure but for the noise source; sensitivity and accounting are the caller's."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from privacy.noise import NoiseSource

GRID = 2.0**-10


def noisy_counts(counts: ArrayLike, *, scale: float, noise: NoiseSource) -> NDArray[np.float64]:
    """Whole numbers (1-D) with noise of standard deviation `scale` on each. Run by the hospital, after the debit.

    The noise is rounded to a grid before it is added to a whole number, which is exact: what comes out says nothing of the count but
    through the noise's own distribution, so the gaps between floating-point numbers (Mironov 2012) betray nothing here.
    """
    whole = np.asarray(counts, dtype=np.int64)
    return np.asarray(whole + np.rint(noise.gaussian(len(whole), scale=scale) / GRID) * GRID, dtype=np.float64)


def nearest_counts(noisy: ArrayLike) -> tuple[float, ...]:
    """The nearest counts that can be: none negative, the same number in all (Duchi et al. 2008, figure 1); all 0 if that is negative."""
    values = np.asarray(noisy, dtype=np.float64)
    total = float(values.sum())
    if total <= 0:
        return (0.0,) * len(values)
    falling = np.sort(values)[::-1]
    excess = np.cumsum(falling) - total
    last = int(np.flatnonzero(falling * np.arange(1, len(values) + 1) > excess)[-1])
    return tuple(np.maximum(values - excess[last] / (last + 1), 0.0).tolist())
