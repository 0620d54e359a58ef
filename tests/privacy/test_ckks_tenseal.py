"""TenSEAL as the independent oracle: its ciphertexts, its secret key and its decryption against ours."""

import struct

import numpy as np
import pytest
import tenseal as ts

from privacy import ckks, threshold
from privacy.ciphertext import Ciphertext, parse
from privacy.key_shares import Point
from privacy.parameters import COEFFICIENT_BITS, DATA_MODULUS, DEGREE, SCALE_BITS, SLOTS, SPECIAL_MODULUS, SUM_HEADROOM
from privacy.public_key import key_digest
from privacy.randomness import KeyStream
from privacy.rings import data_ring
from privacy.seal_format import (
    SealFormatError,
    moduli,
    read_ciphertext,
    read_fields,
    read_object,
    write_ciphertext,
    write_fields,
    write_object,
)
from privacy.shamir import split
from tests.support.threshold_keys import ceremony


@pytest.fixture(scope="module")
def context() -> ts.Context:
    """A TenSEAL context of our parameters with its own secret key."""
    made = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, -1, list(COEFFICIENT_BITS), n_threads=1)
    made.global_scale = 2.0**SCALE_BITS
    return made


def secret_key(context: ts.Context) -> np.ndarray:
    """TenSEAL's secret key, evaluated modulo the data prime: a SEAL plaintext (parms_id, count, scale, coefficients prime by prime)."""
    private = {number: value for number, _, value in read_fields(context.serialize(save_secret_key=True))}[3]
    payload = read_object(read_fields(private)[0][2])
    words = read_object(payload[48:])
    return np.frombuffer(words, dtype="<u8", offset=8)[:DEGREE].astype(np.uint64)


def imported(vector: ts.CKKSVector, count: int) -> bytes:
    """An unmodified TenSEAL ciphertext in the product's container; the key digest names no key."""
    polynomials = read_ciphertext(read_fields(vector.serialize())[1][2]).polynomials
    return Ciphertext(bytes(32), count, polynomials[0], polynomials[1]).to_bytes()


def test_tenseal_uses_the_primes_we_name(context: ts.Context) -> None:
    parameters = read_fields(context.serialize())[0][2]
    assert moduli(parameters) == (DATA_MODULUS, SPECIAL_MODULUS)


def test_two_of_three_holders_decrypt_what_tenseal_encrypted_under_its_own_key(context: ts.Context) -> None:
    values = np.linspace(-7, 7, SLOTS)
    vector = ts.ckks_vector(context, (values / 2).tolist()) + ts.ckks_vector(context, (values / 2).tolist())
    shares = split(secret_key(context), data_ring(), holders=3, threshold=2, stream=KeyStream(bytes(32), b"sharing"))
    keys = [Point(i, 2, 3, share).holder_key_bytes(bytes(32)) for i, share in enumerate(shares, start=1)]
    ciphertext = imported(vector, SLOTS)
    partials = {j: threshold.partial_decrypt(keys[j - 1], index=j, quorum=[1, 3], ciphertext=ciphertext) for j in (1, 3)}
    # With a bound of SUM_HEADROOM / members the normalisation is 1: the values are TenSEAL's slots themselves.
    fused = threshold.fuse(ciphertext, partials, quorum=[1, 3], count=SLOTS, bound=SUM_HEADROOM / 2, members=2)
    assert np.abs(fused - np.array(vector.decrypt())).max() < 2e-4
    assert np.abs(fused - values).max() < 2e-4


def test_tenseal_adds_as_we_do() -> None:
    made = ceremony(holders=3, threshold_size=2)
    context = ts.context_from(ckks.tenseal_context(made.public_key))
    context.global_scale = 2.0**SCALE_BITS
    vectors = [ts.ckks_vector(context, [float(i)] * SLOTS) for i in range(3)]
    digest = key_digest(made.public_key)
    ours = []
    for vector in vectors:
        loose = parse(imported(vector, SLOTS))
        ours.append(Ciphertext(digest, SLOTS, loose.c0, loose.c1).to_bytes())
    total = parse(ckks.add(made.public_key, ours, count=SLOTS))
    theirs = parse(imported(vectors[0] + vectors[1] + vectors[2], SLOTS))
    assert (total.c0 == theirs.c0).all() and (total.c1 == theirs.c1).all()


def test_our_ciphertext_read_back_by_tenseal(context: ts.Context) -> None:
    """TenSEAL decrypts, with its own secret key, what went through our container and our serialisation."""
    vector = ts.ckks_vector(context, [0.25, -3.0, 1.5])
    fields = read_fields(vector.serialize())
    rewritten = write_fields([(n, w, write_ciphertext(read_ciphertext(v)) if n == 2 else v) for n, w, v in fields])
    assert np.allclose(ts.ckks_vector_from(context, rewritten).decrypt(), [0.25, -3.0, 1.5], atol=1e-6)


def test_fields_survive_a_round_trip(context: ts.Context) -> None:
    data = context.serialize(save_secret_key=True)
    assert write_fields(read_fields(data)) == data


def test_objects_survive_a_round_trip() -> None:
    assert read_object(write_object(b"payload")) == b"payload"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(16),
        write_object(b"payload")[:-1],
        write_object(b"payload") + b"\0",
        struct.pack("<HBBBBHQ", 0xA15E, 16, 3, 7, 0, 0, 16),
        struct.pack("<HBBBBHQ", 0xA15E, 16, 4, 3, 1, 0, 16),
    ],
)
def test_unknown_objects_are_named(data: bytes) -> None:
    with pytest.raises(SealFormatError):
        read_object(data)


@pytest.mark.parametrize("data", [b"\x80", b"\x0b", b"\x08"])
def test_unknown_fields_are_named(data: bytes) -> None:
    with pytest.raises(SealFormatError):
        read_fields(data)
