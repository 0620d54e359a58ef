"""The noise is ChaCha20's, has the distribution it claims, and never comes twice."""

import hashlib
import hmac
import math
import struct

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy import stats

from privacy.noise import SUMMED_GAUSSIANS, NoiseSource

KEY = bytes(range(32))


def test_uniform_numbers_are_the_chacha20_key_stream():
    purpose = b"differential privacy"
    key = hmac.digest(KEY, struct.pack("<Q", len(purpose)) + purpose, hashlib.sha256)
    words = struct.unpack("<4Q", Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(32)))
    assert NoiseSource(KEY).uniform(4).tolist() == [word // 2**11 / 2**53 for word in words]


def test_uniform_distribution():
    numbers = NoiseSource(KEY).uniform(100_000)
    assert numbers.min() >= 0 and numbers.max() < 1
    assert stats.kstest(numbers, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_gaussian_distribution(scale):
    numbers = NoiseSource(KEY).gaussian(200_000, scale=scale)
    assert stats.kstest(numbers / scale, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(numbers)) < 0.05  # tails, which the Kolmogorov-Smirnov test hardly sees
    assert np.abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.01


def test_every_value_sums_four_gaussians_from_uniforms_of_their_own():
    numbers = NoiseSource(KEY).uniform(2 * SUMMED_GAUSSIANS * 3).tolist()
    radii, angles = numbers[:12], numbers[12:]
    normals = [math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v) for u, v in zip(radii, angles, strict=True)]
    expected = [5.0 * sum(normals[i::3]) / 2 for i in range(3)]
    assert SUMMED_GAUSSIANS == 4 and NoiseSource(KEY).gaussian(3, scale=5.0) == pytest.approx(expected)


def test_the_smallest_uniform_number_gives_finite_noise():
    class Zero(NoiseSource):
        def uniform(self, count):
            return np.zeros(count)

    assert np.isfinite(Zero(KEY).gaussian(3, scale=1.0)).all()


def test_the_largest_uniform_number_gives_finite_noise():
    class Largest(NoiseSource):
        def uniform(self, count):
            return np.full(count, 1 - 2.0**-53)

    assert np.isfinite(Largest(KEY).gaussian(3, scale=1.0)).all()


def test_same_key_same_numbers_and_the_stream_moves_on():
    one, two = NoiseSource(KEY), NoiseSource(KEY)
    first = one.gaussian(8, scale=2.0)
    assert np.array_equal(first, two.gaussian(8, scale=2.0))
    assert not np.array_equal(first, one.gaussian(8, scale=2.0))


def test_system_sources_differ():
    assert not np.array_equal(NoiseSource.from_system().uniform(4), NoiseSource.from_system().uniform(4))


@pytest.mark.parametrize("length", [0, 16, 33])
def test_a_key_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match="32 bytes"):
        NoiseSource(bytes(length))


def test_no_numbers_asked_none_given():
    assert NoiseSource(KEY).gaussian(0, scale=1.0).shape == (0,)
