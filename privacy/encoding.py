"""Between model updates and the coefficients of a plaintext polynomial: normalisation before encryption, decoding after decryption.

A value is one coefficient, not a slot: sums need no slots, a chunk holds twice as many values (the density of two real values in each
complex slot), and the noise of a decryption reaches a value as it is, not added up over N / 2 coefficients. Each encoding is the other's
image under the canonical embedding (Cheon, Kim, Kim and Song 2017, section 3.3): the ciphertexts are CKKS ciphertexts like any other.

Updates are normalised so that no sum of `members` vectors, each within `bound`, can wrap around the modulus.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.parameters import DEGREE, MAX_MEMBERS, SCALE_BITS, SUM_HEADROOM, VALUES_PER_CHUNK, chunks_for


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """`bound`: the largest size of one hospital's value; `members`: the most ciphertexts that are ever added. ValueError if senseless."""

    bound: float
    members: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"the bound must be a positive finite number, not {self.bound}")
        if not 1 <= self.members <= MAX_MEMBERS:
            raise ValueError(f"members must be 1 to {MAX_MEMBERS}, not {self.members}")
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise ValueError(f"the bound {self.bound} is too small or too large for floating point")

    @property
    def factor(self) -> float:
        """Coefficient units per unit of the caller."""
        return SUM_HEADROOM / self.members / self.bound

    @property
    def sum_bound(self) -> float:
        """The largest size of an honest sum, in the caller's unit."""
        return self.bound * self.members


def encode(values: NDArray[np.float64], normalisation: Normalisation) -> NDArray[np.int64]:
    """Coefficients (chunks, DEGREE) of a vector within the bound, rounded at the scale; guards and padding are zero."""
    padded = np.zeros(chunks_for(values.size) * VALUES_PER_CHUNK)
    padded[: values.size] = values
    coefficients = np.zeros((chunks_for(values.size), DEGREE), dtype=np.int64)
    coefficients[:, :VALUES_PER_CHUNK] = np.rint(padded * (normalisation.factor * 2.0**SCALE_BITS)).reshape(-1, VALUES_PER_CHUNK)
    return coefficients


def decode(coefficients: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values of centred coefficients (chunks, DEGREE), in coefficient units: (chunks * VALUES_PER_CHUNK,), and the guards."""
    scaled = coefficients / 2.0**SCALE_BITS
    return scaled[:, :VALUES_PER_CHUNK].reshape(-1), scaled[:, VALUES_PER_CHUNK:]
