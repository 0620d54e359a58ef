"""How much noise hides the error of an opened sum, how exact sums stay under it, and how many sums one key may open.

Who sees a CKKS decryption sees the scheme's error too, which depends on the secret key (Li and Micciancio, Eurocrypt 2021). Here an opened
sum is m + e + F: e the error of the added ciphertexts, F the flooding of every quorum member that does not collude, at least one Gaussian
of standard deviation sigma in each coefficient. One opening tells at most the Kullback-Leibler divergence |e|^2 / (2 sigma^2) between F and
e + F about the secret, all openings under a key at most the sum (Li, Micciancio, Schultz and Sorrell, "Securing approximate homomorphic
encryption using differential privacy", Crypto 2022: the Gaussian mechanism, and the bits of statistical security that follow).
`decryption_limit` keeps that sum below 2^-STATISTICAL_BITS. It follows, whatever the adversary can compute, that

- it tells the openings from such whose error depends on no secret with advantage at most sqrt(2^-16 / 2) = 2^-8.5 (Pinsker);
- an attack that must find something (the key, an update) gains 0.1 bit at most: with the Rényi divergence a * rho of order a, success p
turns into at most (p * exp((a - 1) * rho))^((a - 1) / a); a = sqrt(ln(1/p) / rho) for p = 2^-128 and rho = 2^-16.

The contract computes the same integers (fabric/contract/key_wear.py): what it counts is what this module allows.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from privacy.parameters import DEGREE, SCALE_BITS, SECURITY_BITS, SUM_HEADROOM, chunks_for

STATISTICAL_BITS: Final = 16

# Noise stays within this many standard deviations in every coefficient of every task there will ever be.
NOISE_SIGMAS: Final = 12
# No value of an opened sum is further from the true one than this share of the bound on one hospital's value.
TOLERANCE_INVERSE: Final = 10_000
# Wider noise would leave the sampler too few bits to accept or reject with (privacy.gaussian).
MOST_FLOODING_BITS: Final = 30


class KeyWornError(ValueError):
    """A key would have to open more sums than its flooding hides; the message says how many it may."""


@dataclass(frozen=True, kw_only=True)
class KeyParameters:
    """Everything a task's key is made and used with, and what that guarantees."""

    degree: int
    security_bits: int
    """Against key recovery, by table 1 of the HomomorphicEncryption.org standard (2018), ternary secrets."""
    flooding_bits: int
    """log2 of the flooding's standard deviation, in units of a plaintext coefficient."""
    decryptions: int
    """How many sums the key may open."""
    error_bound: float
    """No value of any opened sum is further from the exact one, in the unit of `clip`."""


def choose(*, hospitals: int, threshold: int, members: int, parameters: int, sums: int, clip: float) -> KeyParameters:
    """The parameters of a key with `threshold` of `hospitals` holders that opens `sums` sums of at most `members` vectors.

    `parameters`: values of a vector; `clip`: the largest size of one hospital's value. Raises KeyWornError where one key cannot open so
    many. The ring is the product's only one (privacy.parameters); flooding is as wide as TOLERANCE_INVERSE allows.
    """
    limit = decryption_limit(parameters=parameters, holders=hospitals, threshold=threshold, members=members)
    if sums > limit:
        raise KeyWornError(
            f"one key of {hospitals} hospitals may open {limit} sums of {parameters} values, and {sums} are planned; "
            "plan fewer rounds or larger groups, train fewer parameters, or divide the task in two, each with a key of its own"
        )
    return KeyParameters(
        degree=DEGREE,
        security_bits=SECURITY_BITS,
        flooding_bits=flooding_bits(quorum=threshold, members=members),
        decryptions=limit,
        error_bound=noise_bound(quorum=threshold, members=members) / _coefficient_of(clip, members),
    )


def flooding_bits(*, quorum: int, members: int) -> int:
    """log2 of the widest flooding under which sums of `members` vectors, opened by `quorum` holders, stay within the tolerance.

    NOISE_SIGMAS * 2^bits * sqrt(quorum) is to be at most 1 / TOLERANCE_INVERSE of one hospital's largest value, SUM_HEADROOM / members in
    coefficient units. Squared, so that only integers are compared.
    """
    largest_value = int(SUM_HEADROOM) << SCALE_BITS
    for bits in range(MOST_FLOODING_BITS, 0, -1):
        if (NOISE_SIGMAS * TOLERANCE_INVERSE * members << bits) ** 2 * quorum <= largest_value**2:
            return bits
    return 0


def flooding_sigma(*, quorum: int, members: int) -> Decimal:
    """Standard deviation of the flooding that each of `quorum` holders adds."""
    return Decimal(1 << flooding_bits(quorum=quorum, members=members))


def noise_bound(*, quorum: int, members: int) -> float:
    """Largest error of an opened coefficient, in coefficient units."""
    return NOISE_SIGMAS * 2.0 ** (flooding_bits(quorum=quorum, members=members) - SCALE_BITS) * math.sqrt(quorum)


def decryption_limit(*, parameters: int, holders: int, threshold: int, members: int) -> int:
    """How many sums of `parameters` values a key may open: the most with a total divergence of at most 2^-STATISTICAL_BITS.

    The error of a fresh ciphertext is what SEAL's division by the special prime rounds off, t0 + t1 * s with t0 and t1 uniform in [-1/2,
    1/2] and s the sum of `holders` ternary secrets: a variance of (DEGREE * holders * 2/3 + 1) / 12 a coefficient, rounded up here. What
    the encryption itself adds is divided by that prime, 2^55, and vanishes.
    """
    variance_18ths = members * (DEGREE * holders + 2)
    sigma_squared = 1 << 2 * flooding_bits(quorum=threshold, members=members)
    return 2 * 18 * sigma_squared // (chunks_for(parameters) * DEGREE * variance_18ths << STATISTICAL_BITS)


def _coefficient_of(clip: float, members: int) -> float:
    return SUM_HEADROOM / members / clip
