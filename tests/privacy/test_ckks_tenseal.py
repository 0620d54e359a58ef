"""TenSEAL as the independent oracle: its ciphertexts, its secret key and its decryption against ours."""

import struct
from dataclasses import replace

import numpy as np
import pytest
import tenseal as ts

from privacy import ckks, threshold
from privacy.ciphertext import Ciphertext, parse
from privacy.encoding import Normalisation, encode
from privacy.key_shares import HolderKey
from privacy.parameters import COEFFICIENT_BITS, DATA_MODULUS, DEGREE, GUARDS, SCALE_BITS, SPECIAL_MODULUS, SUM_HEADROOM, VALUES_PER_CHUNK
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
from privacy.shamir import polynomial, value_at
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


def real_slots(coefficients: np.ndarray) -> np.ndarray:
    """The slots, in SEAL's order, of a polynomial: its values at zeta^(3^k), zeta = exp(i pi / N), by their definition."""
    powers = np.array([pow(3, k, 2 * DEGREE) for k in range(DEGREE // 2)])
    slots = np.exp(1j * np.pi * np.outer(powers, np.arange(DEGREE)) / DEGREE) @ coefficients
    return np.ascontiguousarray(slots.real)


def polynomial_with_real_slots() -> np.ndarray:
    """TenSEAL encrypts real slots only: a polynomial that the conjugation X -> 1/X leaves as it is, with guards of zero."""
    half = np.random.default_rng(3).uniform(-2, 2, DEGREE // 2 - GUARDS - 1)
    coefficients = np.zeros(DEGREE)
    coefficients[GUARDS + 1 : DEGREE // 2] = half
    coefficients[DEGREE // 2 + 1 : DEGREE - GUARDS] = -half[::-1]
    coefficients[0] = 2.0
    return coefficients


def test_two_of_three_holders_decrypt_what_tenseal_encrypted_under_its_own_key(context: ts.Context) -> None:
    coefficients = polynomial_with_real_slots()
    half = (real_slots(coefficients) / 2).tolist()
    vector = ts.ckks_vector(context, half) + ts.ckks_vector(context, half)
    sharing = polynomial(secret_key(context), data_ring(), threshold=2, stream=KeyStream(bytes(32), b"sharing"))
    pair_keys = (bytes(32),) * 3
    keys = [HolderKey(i, 2, 3, bytes(32), pair_keys, value_at(sharing, data_ring(), i)).to_bytes() for i in (1, 2, 3)]
    ciphertext = imported(vector, VALUES_PER_CHUNK)
    partials = {j: threshold.partial_decrypt(keys[j - 1], index=j, quorum=[1, 3], ciphertext=ciphertext, members=2) for j in (1, 3)}
    # With a bound of SUM_HEADROOM / members the normalisation is 1: the values are the coefficients themselves.
    fused = threshold.fuse(ciphertext, partials, quorum=[1, 3], count=VALUES_PER_CHUNK, bound=SUM_HEADROOM / 2, members=2)
    assert np.abs(fused - coefficients[:VALUES_PER_CHUNK]).max() < 1e-5
    assert np.abs(real_slots(np.append(fused, np.zeros(GUARDS))) - np.array(vector.decrypt())).max() < 1e-3


def test_tenseal_decrypts_what_we_encoded(context: ts.Context) -> None:
    """What `encrypt` does with a chunk: the polynomial is added to a TenSEAL encryption of zero."""
    coefficients = polynomial_with_real_slots()
    zero = ts.ckks_vector(context, [0.0] * (DEGREE // 2)).serialize()
    fields = read_fields(zero)
    sealed = read_ciphertext(fields[1][2])
    ring = data_ring()
    encoded = encode(coefficients[:VALUES_PER_CHUNK], Normalisation(bound=SUM_HEADROOM, members=1))
    polynomials = sealed.polynomials.copy()
    polynomials[0] = ring.add(polynomials[0], ring.evaluate(ring.lift(encoded)))
    sum_bytes = write_ciphertext(replace(sealed, polynomials=polynomials))
    rewritten = write_fields([(n, w, sum_bytes if n == 2 else v) for n, w, v in fields])
    decrypted = np.array(ts.ckks_vector_from(context, rewritten).decrypt())
    assert np.abs(decrypted - real_slots(coefficients)).max() < 1e-6


def test_tenseal_adds_as_we_do() -> None:
    made = ceremony(holders=3, threshold_size=2)
    context = ts.context_from(ckks.tenseal_context(made.public_key))
    context.global_scale = 2.0**SCALE_BITS
    vectors = [ts.ckks_vector(context, [float(i)] * (DEGREE // 2)) for i in range(3)]
    digest = key_digest(made.public_key)
    ours = []
    for vector in vectors:
        loose = parse(imported(vector, VALUES_PER_CHUNK))
        ours.append(Ciphertext(digest, VALUES_PER_CHUNK, loose.c0, loose.c1).to_bytes())
    total = parse(ckks.add(made.public_key, ours, count=VALUES_PER_CHUNK))
    theirs = parse(imported(vectors[0] + vectors[1] + vectors[2], VALUES_PER_CHUNK))
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
