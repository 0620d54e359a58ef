"""Randomness for differential privacy: uniform and Gaussian numbers drawn from one ChaCha20 key stream.

Ordinary generators (NumPy's PCG64, torch's Mersenne Twister and Philox) are predictable from their output, and whoever predicts
the noise removes it. Opacus' secure mode expects `torchcsprng`, which cannot be installed, so its noise is replaced by this one.
"""

import os
from typing import Self

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import KeyStream

KEY_BYTES = 32

# Summed Gaussians per value, each from uniforms of its own. Mironov (2012, doi:10.1145/2382196.2382264) showed that the gaps between
# floating-point numbers betray what lies under the noise; with 2n Gaussians summed an attacker must search 2^(53(2n-1)) combinations
# (Holohan and Braghin 2021, arXiv:2107.10138, section 5.1). n = 2, as in Opacus' secure mode, asks for 2^159.
SUMMED_GAUSSIANS = 4

_AT_ONCE = 2048
"""Values drawn together: few enough for their uniforms to stay in the processor's cache, which halves the time."""


class NoiseSource:
    """A stream of random numbers from a 32-byte key. Not safe to share between threads; a key must never be used twice."""

    def __init__(self, key: bytes) -> None:
        """Raise ValueError unless `key` has 32 bytes. Give a key only where a test needs the same numbers again."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a noise key has {KEY_BYTES} bytes, not {len(key)}")
        self._stream = KeyStream(key, b"differential privacy")

    @classmethod
    def from_system(cls) -> Self:
        """A source keyed by the operating system's generator: what every gateway uses, a new one for each round."""
        return cls(os.urandom(KEY_BYTES))

    def uniform(self, count: int) -> NDArray[np.float64]:
        """`count` numbers in [0, 1), multiples of 2^-53."""
        return np.asarray((self._stream.words(count) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)

    def gaussian(self, count: int, *, scale: float) -> NDArray[np.float64]:
        """`count` independent normal numbers with mean 0 and standard deviation `scale`, hardened as SUMMED_GAUSSIANS says."""
        found = np.empty(count)
        for start in range(0, count, _AT_ONCE):
            found[start : start + _AT_ONCE] = self._standard(min(_AT_ONCE, count - start))
        return np.asarray(found * (scale / np.sqrt(SUMMED_GAUSSIANS)), dtype=np.float64)

    def _standard(self, count: int) -> NDArray[np.float64]:
        """Sums of SUMMED_GAUSSIANS standard normal numbers, by Box-Muller, of which only the cosine is used: a summand must not share its
        uniforms with another one."""
        radius, angle = (self.uniform(SUMMED_GAUSSIANS * count) for _ in range(2))
        np.log1p(np.negative(radius, out=radius), out=radius)  # log1p(-u): u may be 0, never 1
        radius = np.sqrt(np.multiply(radius, -2.0, out=radius), out=radius)
        normal = np.multiply(radius, np.cos(np.multiply(angle, 2.0 * np.pi, out=angle), out=angle), out=radius)
        return np.asarray(normal.reshape(SUMMED_GAUSSIANS, count).sum(axis=0), dtype=np.float64)
