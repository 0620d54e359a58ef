"""Between model updates and CKKS slots: normalisation before encryption, decoding after decryption.

Updates are normalised so that no sum of `members` vectors, each within `bound`, can wrap around the modulus.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.parameters import DEGREE, MAX_MEMBERS, SCALE_BITS, SINGLE_HEADROOM, SLOTS, SUM_HEADROOM


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
        """Slot units per unit of the caller."""
        return min(SINGLE_HEADROOM, SUM_HEADROOM / self.members) / self.bound

    @property
    def sum_bound(self) -> float:
        """The largest size of an honest sum, in the caller's unit."""
        return self.bound * self.members


def slots_of(coefficients: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Decode centred coefficients (chunks, DEGREE) to complex slots (chunks, SLOTS), in slot units.

    Slot k is m(zeta^(3^k)) / scale with zeta = exp(i pi / N): the canonical embedding (Cheon, Kim, Kim and Song 2017, section 3.3) in
    SEAL's order of slots. The values at all odd powers of zeta are one FFT of the twisted coefficients.
    """
    twist = np.exp(1j * np.pi * np.arange(DEGREE) / DEGREE)
    at_odd_powers = np.fft.ifft(coefficients * twist, axis=1, norm="forward")
    powers = np.array([pow(3, k, 2 * DEGREE) for k in range(SLOTS)])
    slots: NDArray[np.complex128] = at_odd_powers[:, (powers - 1) // 2] / 2.0**SCALE_BITS
    return slots
