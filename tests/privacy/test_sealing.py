"""Sealing against an independent HPKE, and everything that must not open."""

import hmac
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.sealing import MAX_PLAINTEXT_BYTES, OVERHEAD_BYTES, SealingError, generate_keypair, open_parts, open_sealed, seal, seal_parts

PRIVATE, PUBLIC = generate_keypair()
CONTEXT = b"task 1, attempt 1, HospitalA to HospitalB"


def hpke_open(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """RFC 9180 base mode, written from sections 4, 4.1, 5.1 and 5.2 for KEM 0x0020, KDF 0x0001, AEAD 0x0002."""

    def extract(suite: bytes, salt: bytes, label: bytes, keying: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + keying, sha256)

    def expand(suite: bytes, key: bytes, label: bytes, text: bytes, length: int) -> bytes:
        return hmac.digest(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + text + b"\1", sha256)[:length]

    kem, suite = b"KEM\0\x20", b"HPKE\0\x20\0\1\0\2"
    encapsulated, ciphertext = sealed[:32], sealed[32:]
    own = X25519PrivateKey.from_private_bytes(private)
    shared = own.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    secret = expand(
        kem,
        extract(kem, b"", b"eae_prk", shared),
        b"shared_secret",
        encapsulated + own.public_key().public_bytes_raw(),
        32,
    )
    schedule = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    key = extract(suite, secret, b"secret", b"")
    return AESGCM(expand(suite, key, b"key", schedule, 32)).decrypt(expand(suite, key, b"base_nonce", schedule, 12), ciphertext, b"")


@given(plaintext=st.binary(max_size=200), context=st.binary(max_size=60))
@settings(deadline=None)
def test_an_independent_implementation_opens_what_we_seal(plaintext: bytes, context: bytes) -> None:
    sealed = seal(PUBLIC, plaintext, context=context)
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert hpke_open(PRIVATE, sealed, context) == plaintext
    assert open_sealed(PRIVATE, sealed, context=context) == plaintext


def test_sealing_twice_gives_different_bytes() -> None:
    assert seal(PUBLIC, b"share", context=CONTEXT) != seal(PUBLIC, b"share", context=CONTEXT)


@given(position=st.integers(0, 5 + OVERHEAD_BYTES - 1), flip=st.integers(1, 255))
@settings(deadline=None)
def test_a_changed_byte_does_not_open(position: int, flip: int) -> None:
    sealed = bytearray(seal(PUBLIC, b"share", context=CONTEXT))
    # The top bit of an X25519 public key is not part of it (RFC 7748), but HPKE authenticates the bytes as sent.
    sealed[position] ^= flip
    with pytest.raises(SealingError, match="does not open"):
        open_sealed(PRIVATE, bytes(sealed), context=CONTEXT)


def test_another_context_or_key_does_not_open() -> None:
    sealed = seal(PUBLIC, b"share", context=CONTEXT)
    with pytest.raises(SealingError, match="does not open"):
        open_sealed(PRIVATE, sealed, context=CONTEXT + b" again")
    with pytest.raises(SealingError, match="does not open"):
        open_sealed(generate_keypair()[0], sealed, context=CONTEXT)


@pytest.mark.parametrize("length", [0, OVERHEAD_BYTES - 1, OVERHEAD_BYTES + MAX_PLAINTEXT_BYTES + 1])
def test_impossible_sizes_are_refused_before_any_work(length: int) -> None:
    with pytest.raises(SealingError, match=f"got {length}"):
        open_sealed(PRIVATE, bytes(length), context=CONTEXT)


def test_too_long_plaintexts_are_refused() -> None:
    with pytest.raises(SealingError, match="at most"):
        seal(PUBLIC, bytes(MAX_PLAINTEXT_BYTES + 1), context=CONTEXT)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_keys_of_other_lengths_are_refused(key: bytes) -> None:
    with pytest.raises(SealingError, match="public sealing key has 32 bytes"):
        seal(key, b"share", context=CONTEXT)
    with pytest.raises(SealingError, match="private sealing key has 32 bytes"):
        open_sealed(key, bytes(OVERHEAD_BYTES), context=CONTEXT)


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little")])
def test_points_of_small_order_are_refused(point: bytes) -> None:
    """Whoever may choose such a key would make the shared secret zero."""
    with pytest.raises(SealingError, match="small order"):
        seal(point, b"share", context=CONTEXT)
    with pytest.raises(SealingError, match="does not open"):
        open_sealed(PRIVATE, point + bytes(20), context=CONTEXT)


def test_a_long_secret_is_sealed_in_parts_that_keep_their_places() -> None:
    private, public = generate_keypair()
    secret = bytes(range(256)) * 5000
    parts = seal_parts(public, secret, context=b"c")
    assert len(parts) == 2
    assert open_parts(private, parts, context=b"c") == secret
    for altered in (parts[::-1], parts[:1], [*parts, parts[0]]):
        with pytest.raises(SealingError):
            open_parts(private, altered, context=b"c")
    with pytest.raises(SealingError):
        open_parts(private, parts, context=b"another")
