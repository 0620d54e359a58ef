"""Tables for sampling the centred discrete Gaussian D(sigma), P(x) proportional to exp(-x^2 / (2 sigma^2)), x an integer.

Method, for |x| = bucket * width + offset with a power of two as width:
1. a bucket is drawn with weight exp(-(bucket * width)^2 / (2 sigma^2)), the largest weight inside it, from a cumulative table of 63-bit
   integers;
2. the offset is uniform in [0, width) and the pair is accepted with probability
   exp(-offset * (offset + 2 * width * bucket) / (2 sigma^2)), the ratio of the two weights;
3. a sign bit is drawn, and "minus zero" is rejected.
This is exact rejection sampling (von Neumann 1951; for lattices Ducas, Durmus, Lepoint and Lyubashevsky 2013, section 6). What is
approximate: the table (cut at 10 sigma, each entry within 2^-63), and the acceptance probability (one double-precision exponential against
a uniform value of 64 - log2(width) bits). The statistical distance to D(sigma) is below 2^-40 a sample for the flooding noise and below
2^-54 for key errors, whose width is 1 and which need no exponential. Running time depends on the samples: whoever can time a gateway's own
process from outside is not in the threat model.
"""

import functools
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_DIGITS = Context(prec=40)
_TAIL_SIGMAS = 10
_GUIDE_BITS = 8


@dataclass(frozen=True, eq=False)
class Table:
    """Sampling table: `cumulative` (uint64, scaled to 2^63), `guide` (first bucket to look at, by the top 8 of 63 bits)."""

    cumulative: NDArray[np.uint64]
    guide: NDArray[np.int64]
    width_bits: int
    two_variance: float


@functools.cache
def table_for(sigma: Decimal) -> Table:
    """The table for a standard deviation of at least 1; wide ones get 64 to 128 buckets a sigma."""
    width_bits = max(0, int(sigma).bit_length() - 7)
    width = 1 << width_bits
    buckets = int(_TAIL_SIGMAS * sigma) // width + 1
    two_variance = 2 * sigma * sigma
    weights = [Fraction(_DIGITS.exp(-Decimal((y * width) ** 2) / two_variance)) for y in range(buckets)]
    total, running, cumulative = sum(weights), Fraction(0), []
    for weight in weights:
        running += weight
        cumulative.append(int(running / total * 2**63))
    table = np.array(cumulative, dtype=np.uint64)
    starts = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(63 - _GUIDE_BITS)
    guide = np.searchsorted(table, starts, side="right").astype(np.int64)
    return Table(table, guide, width_bits, float(two_variance))
