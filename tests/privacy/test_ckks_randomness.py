"""The distributions of keys and noise. Streams are seeded, so a test either always passes or always fails."""

import hashlib
import hmac
import math
from decimal import Decimal

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from privacy.flooding import MOST_FLOODING_BITS
from privacy.gaussian import table_for
from privacy.parameters import DATA_MODULUS, ERROR_SIGMA
from privacy.randomness import KeyStream

FLOODING_SIGMA = Decimal(1 << MOST_FLOODING_BITS)
SEED = bytes(range(32))


def chi_squared(observed: np.ndarray, expected: np.ndarray) -> float:
    """In standard deviations of the chi-squared distribution from its mean."""
    degrees = expected.size - 1
    return float((((observed - expected) ** 2 / expected).sum() - degrees) / math.sqrt(2 * degrees))


def test_a_stream_is_chacha20_keyed_by_hmac_of_seed_and_purpose() -> None:
    message = (2).to_bytes(8, "little") + b"ab" + (0).to_bytes(8, "little")
    key = hmac.new(SEED, message, hashlib.sha256).digest()
    expected = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(64))
    assert KeyStream(SEED, b"ab", b"").words(8).astype("<u8").tobytes() == expected


def test_purposes_give_unrelated_streams() -> None:
    streams = [KeyStream(SEED, *purpose).words(4).tobytes() for purpose in [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"abc", b"")]]
    assert len(set(streams)) == 4


def test_one_stream_never_repeats_itself() -> None:
    stream = KeyStream(SEED, b"words")
    assert len(set(stream.words(50).tolist()) | set(stream.words(50).tolist())) == 100


def test_short_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        KeyStream(bytes(31), b"purpose")


@pytest.mark.parametrize("modulus", [3, 5, 61, DATA_MODULUS])
def test_uniform_residues(modulus: int) -> None:
    values = KeyStream(SEED, b"uniform", str(modulus).encode()).uniform(60_000, modulus)
    assert values.size == 60_000
    assert int(values.max()) < modulus
    cells = min(modulus, 64)
    observed = np.bincount((values.astype(np.float64) * cells / modulus).astype(np.int64), minlength=cells)
    assert abs(chi_squared(observed, np.full(cells, 60_000 / cells))) < 5


def test_ternary_values() -> None:
    values = KeyStream(SEED, b"ternary").ternary(60_000)
    assert abs(chi_squared(np.bincount(values + 1, minlength=3), np.full(3, 20_000))) < 5


@pytest.mark.parametrize("sigma", [Decimal(1), ERROR_SIGMA, Decimal(150), Decimal(1000)])
def test_gaussian_matches_its_definition(sigma: Decimal) -> None:
    """Against exp(-x^2 / (2 sigma^2)) itself, narrow (table only) and wide (table, offset and rejection)."""
    count, s = 400_000, float(sigma)
    values = KeyStream(SEED, b"gaussian", str(sigma).encode()).gaussian(count, table_for(sigma))
    reach = math.ceil(3.5 * s)
    weights = np.array([math.exp(-x * x / (2 * s * s)) for x in range(-10 * reach, 10 * reach + 1)])
    expected = (weights / weights.sum() * count)[9 * reach : 11 * reach + 1]
    observed = np.bincount(values[np.abs(values) <= reach] + reach, minlength=2 * reach + 1)
    keep = expected >= 10
    assert keep.sum() > 5
    assert abs(chi_squared(observed[keep], expected[keep])) < 5


def test_flooding_moments_and_tail() -> None:
    count = 1_000_000
    values = KeyStream(SEED, b"flooding").gaussian(count, table_for(FLOODING_SIGMA)) / float(FLOODING_SIGMA)
    assert abs(values.mean()) * math.sqrt(count) < 5
    assert abs(values.var() - 1) * math.sqrt(count / 2) < 5
    assert abs((values**4).mean() - 3) * math.sqrt(count / 96) < 5
    assert abs((np.abs(values) > 3).mean() - math.erfc(3 / math.sqrt(2))) < 5 * math.sqrt(0.0027 / count)


def test_flooding_fills_the_low_bits() -> None:
    values = KeyStream(SEED, b"low bits").gaussian(64_000, table_for(FLOODING_SIGMA))
    assert abs(chi_squared(np.bincount(values & 63, minlength=64), np.full(64, 1000))) < 5
