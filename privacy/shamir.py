"""Shamir's secret sharing of ring elements, coefficient by coefficient, over a prime field (Shamir 1979).

Holder x (1, 2, ...) gets f(x), with f(0) the secret and random higher coefficients; any `threshold` values give f(0) back by Lagrange's
formula, fewer say nothing about it.
"""

from collections.abc import Sequence

import numpy as np

from privacy.randomness import KeyStream
from privacy.rings import Residues, Ring


def polynomial(secret: Residues, ring: Ring, *, threshold: int, stream: KeyStream) -> Residues:
    """Coefficients (threshold, DEGREE) of a sharing of `secret` (evaluated, DEGREE entries): the secret first, then uniform ones."""
    return np.stack([secret, *(stream.uniform(ring.degree, ring.modulus) for _ in range(threshold - 1))])


def lagrange_at_zero(index: int, quorum: Sequence[int], modulus: int) -> int:
    """The factor of holder `index` in f(0) = sum of factor_j * f(j) over the quorum."""
    numerator = denominator = 1
    for other in quorum:
        if other != index:
            numerator = numerator * other % modulus
            denominator = denominator * (other - index) % modulus
    return numerator * pow(denominator, -1, modulus) % modulus


def value_at(coefficients: Residues, ring: Ring, x: int) -> Residues:
    """f(x), by Horner's rule: DEGREE entries."""
    value = np.zeros(ring.degree, dtype=np.uint64)
    for coefficient in reversed(coefficients):
        value = ring.add(ring.scale(value, x), coefficient)
    return value
