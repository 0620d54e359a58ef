"""Encryption, sums and the refusals of ciphertexts."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
import tenseal as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import ckks
from privacy.ciphertext import parse
from privacy.ckks import CiphertextError
from privacy.parameters import DATA_MODULUS, MAX_MEMBERS, MAX_VALUES, VALUES_PER_CHUNK
from privacy.public_key import KeyMaterialError
from tests.support.threshold_keys import Ceremony, ceremony

HEADER = 56
COUNT = VALUES_PER_CHUNK + 3


@pytest.fixture(scope="module")
def made() -> Ceremony:
    return ceremony(holders=3, threshold_size=2)


@pytest.fixture(scope="module")
def good(made: Ceremony) -> bytes:
    return ckks.encrypt(made.public_key, np.linspace(-1, 1, COUNT), bound=1.0, members=3)


def at(offset: int, replacement: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + replacement + data[offset + len(replacement) :]


def test_size_is_known_beforehand(good: bytes) -> None:
    assert len(good) == ckks.ciphertext_size(COUNT) == HEADER + 2 * 2 * 4096 * 54 // 8


def test_encryption_is_randomised(made: Ceremony) -> None:
    values = np.zeros(3)
    assert ckks.encrypt(made.public_key, values, bound=1.0, members=2) != ckks.encrypt(made.public_key, values, bound=1.0, members=2)


def test_a_good_ciphertext_is_accepted_and_its_bytes_are_canonical(made: Ceremony, good: bytes) -> None:
    ckks.check_ciphertext(made.public_key, good, count=COUNT)
    assert parse(good).to_bytes() == good


@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_the_sum_does_not_depend_on_the_order(four: tuple[bytes, list[bytes]], order: list[int]) -> None:
    public_key, ciphertexts = four
    assert ckks.add(public_key, [ciphertexts[i] for i in order], count=5) == ckks.add(public_key, ciphertexts, count=5)


@pytest.fixture(scope="module")
def four(made: Ceremony) -> tuple[bytes, list[bytes]]:
    return made.public_key, [ckks.encrypt(made.public_key, np.full(5, float(i)), bound=4.0, members=4) for i in range(4)]


def test_the_sum_adds_coefficients_modulo_q(four: tuple[bytes, list[bytes]]) -> None:
    public_key, ciphertexts = four
    total, terms = parse(ckks.add(public_key, ciphertexts, count=5)), [parse(data) for data in ciphertexts]
    for name in ("c0", "c1"):
        columns = zip(*(getattr(term, name).reshape(-1).tolist() for term in terms), strict=True)
        assert getattr(total, name).reshape(-1).tolist() == [sum(column) % DATA_MODULUS for column in columns]


def test_a_sum_of_sums_is_the_sum(four: tuple[bytes, list[bytes]]) -> None:
    public_key, (a, b, c, d) = four
    halves = [ckks.add(public_key, [a, b], count=5), ckks.add(public_key, [c, d], count=5)]
    assert ckks.add(public_key, halves, count=5) == ckks.add(public_key, [d, b, a, c], count=5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"", "not a ciphertext"),
        (lambda data: data[:HEADER], "chunks for"),
        (lambda data: data[:-1], "chunks for"),
        (lambda data: data + b"\0", "chunks for"),
        (lambda data: data[: ckks.ciphertext_size(VALUES_PER_CHUNK)], "2 chunks for 4083 values"),
        (at(0, b"CKPD"), "not a ciphertext"),
        (at(4, b"\1"), "format version is 1"),
        (at(5, bytes([40])), r"scale \(log2\) is 40"),
        (at(6, struct.pack("<H", 8192)), "ring degree is 8192"),
        (at(8, struct.pack("<Q", DATA_MODULUS + 2)), "modulus is"),
        (at(16, bytes(32)), "is for key 0000"),
        (at(48, struct.pack("<Q", COUNT + 1)), "holds 4084 values, the model has 4083"),
        (at(48, struct.pack("<Q", 1)), "holds 1 values"),
        (at(48, struct.pack("<Q", 0)), "1 to 16777216 values, not 0"),
        (at(48, struct.pack("<Q", 2**64 - 1)), "values, not 18446744073709551615"),
        (at(HEADER, b"\xff" * 7), "coefficient 0 is"),
        (lambda data: data[:-7] + b"\xff" * 7, "coefficient 16383 is"),
        (lambda data: data[: HEADER + 2 * 27648] + bytes(2 * 27648), "chunk 0 is transparent"),
        (lambda data: data[:-27648] + bytes(27648), "chunk 1 is transparent"),
    ],
)
def test_malformed_ciphertexts_are_refused(made: Ceremony, good: bytes, change: Callable[[bytes], bytes], says: str) -> None:
    with pytest.raises(CiphertextError, match=says):
        ckks.check_ciphertext(made.public_key, change(good), count=COUNT)
    with pytest.raises(CiphertextError, match=says):
        ckks.add(made.public_key, [good, change(good)], count=COUNT)


@given(data=st.binary(max_size=300))
@settings(deadline=None)
def test_random_bytes_are_refused(made: Ceremony, data: bytes) -> None:
    with pytest.raises(CiphertextError):
        ckks.check_ciphertext(made.public_key, data, count=3)


def test_another_keys_ciphertext_is_refused(made: Ceremony) -> None:
    other = ceremony(holders=3, threshold_size=2, name="other")
    foreign = ckks.encrypt(other.public_key, np.ones(3), bound=1.0, members=3)
    own = ckks.encrypt(made.public_key, np.ones(3), bound=1.0, members=3)
    with pytest.raises(CiphertextError, match="is for key"):
        ckks.add(made.public_key, [own, foreign], count=3)


def test_tenseals_own_bytes_are_refused(made: Ceremony) -> None:
    """Plain vectors, contexts with Galois keys and length-1 vectors that TenSEAL would broadcast never reach TenSEAL."""
    context = ts.context_from(ckks.tenseal_context(made.public_key))
    context.global_scale = 2.0**50
    for data in (ts.ckks_vector(context, [1.0]).serialize(), ts.plain_tensor([1.0, 2.0]).serialize(), context.serialize()):
        with pytest.raises(CiphertextError, match="not a ciphertext of this product"):
            ckks.check_ciphertext(made.public_key, data, count=1)


def test_replays_are_refused(four: tuple[bytes, list[bytes]]) -> None:
    public_key, (a, b, *_) = four
    with pytest.raises(CiphertextError, match="ciphertexts 0 and 2 are the same"):
        ckks.add(public_key, [a, b, bytes(bytearray(a))], count=5)


def test_a_sum_whose_randomness_was_cancelled_is_refused(four: tuple[bytes, list[bytes]]) -> None:
    public_key, (a, *_) = four
    attack = parse(a)
    attack.c1[:] = DATA_MODULUS - attack.c1
    with pytest.raises(CiphertextError, match="the sum is transparent"):
        ckks.add(public_key, [a, attack.to_bytes()], count=5)


def test_the_number_of_ciphertexts_is_limited(four: tuple[bytes, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    public_key, (a, b, c, _) = four
    with pytest.raises(CiphertextError, match="not 0"):
        ckks.add(public_key, [], count=5)
    monkeypatch.setattr(ckks, "MAX_MEMBERS", 2)
    with pytest.raises(CiphertextError, match="1 to 2 ciphertexts can be added, not 3"):
        ckks.add(public_key, [a, b, c], count=5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.0000001, -2.0])
def test_values_out_of_range_are_refused(made: Ceremony, bad: float) -> None:
    with pytest.raises(CiphertextError, match="value 1 is not a number within ±1"):
        ckks.encrypt(made.public_key, np.array([0.0, bad, 1.0]), bound=1.0, members=3)


@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan, np.inf, 1e-320, 1e309])
def test_senseless_bounds_are_refused(made: Ceremony, bound: float) -> None:
    with pytest.raises(CiphertextError, match="bound"):
        ckks.encrypt(made.public_key, np.zeros(3), bound=bound, members=3)


@pytest.mark.parametrize("members", [0, -1, MAX_MEMBERS + 1])
def test_senseless_member_counts_are_refused(made: Ceremony, members: int) -> None:
    with pytest.raises(CiphertextError, match="members must be"):
        ckks.encrypt(made.public_key, np.zeros(3), bound=1.0, members=members)


@pytest.mark.parametrize("shape", [(0,), (2, 2), (MAX_VALUES + 1,)])
def test_other_shapes_are_refused(made: Ceremony, shape: tuple[int, ...]) -> None:
    with pytest.raises(CiphertextError, match=r"vector|values"):
        ckks.encrypt(made.public_key, np.zeros(shape), bound=1.0, members=3)


def test_malformed_public_keys_are_refused(made: Ceremony) -> None:
    for key in (b"", made.public_key[:-1], made.contributions[0].public_share, made.public_key[:-8] + b"\xff" * 8):
        with pytest.raises(KeyMaterialError):
            ckks.encrypt(key, np.zeros(3), bound=1.0, members=3)


def test_the_context_holds_no_secret_and_no_other_keys(made: Ceremony) -> None:
    context = ts.context_from(ckks.tenseal_context(made.public_key))
    assert context.is_public() and context.has_public_key()
    assert not (context.has_secret_key() or context.has_galois_keys() or context.has_relin_keys())
