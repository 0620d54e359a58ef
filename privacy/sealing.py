"""Sealing short secrets to one recipient: HPKE, RFC 9180, base mode, with X25519, HKDF-SHA256 and AES-256-GCM.

Used for the dealt key shares, which travel through other hospitals' gateways. Base mode does not prove who sealed: the sender signs the
message that carries the sealed bytes, and `context` binds them to task, attempt, sender and recipient.
"""

from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

KEY_BYTES = 32
# Encapsulated key and authentication tag.
OVERHEAD_BYTES = 32 + 16
MAX_PLAINTEXT_BYTES = 1024 * 1024

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class SealingError(ValueError):
    """A key or a sealed message is refused; the message names what is wrong."""


def generate_keypair() -> tuple[bytes, bytes]:
    """A new (private, public) pair, KEY_BYTES each. Every task and attempt gets its own."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def public_of(private: bytes) -> bytes:
    """The public key of a private one; raises SealingError for a key of another size."""
    _check_key(private, "private")
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def seal(recipient_public: bytes, plaintext: bytes, *, context: bytes) -> bytes:
    """Encrypt for the holder of the private key; raises SealingError for a bad key or a plaintext over MAX_PLAINTEXT_BYTES."""
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise SealingError(f"at most {MAX_PLAINTEXT_BYTES} bytes are sealed at a time, got {len(plaintext)}")
    _check_key(recipient_public, "public")
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(recipient_public), info=context)
    except ValueError as error:
        raise SealingError("the recipient's public key is not usable: it is a point of small order") from error


def open_sealed(recipient_private: bytes, sealed: bytes, *, context: bytes) -> bytes:
    """Decrypt; raises SealingError when the size is impossible, or the key, the context or any byte differs from what was sealed."""
    if not OVERHEAD_BYTES <= len(sealed) <= MAX_PLAINTEXT_BYTES + OVERHEAD_BYTES:
        raise SealingError(f"a sealed message has {OVERHEAD_BYTES} to {MAX_PLAINTEXT_BYTES + OVERHEAD_BYTES} bytes, got {len(sealed)}")
    _check_key(recipient_private, "private")
    try:
        return _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(recipient_private), info=context)
    except (InvalidTag, ValueError) as error:
        raise SealingError("the sealed message does not open: it was altered, or sealed to another key or for another purpose") from error


def seal_parts(recipient_public: bytes, plaintext: bytes, *, context: bytes) -> list[bytes]:
    """Encrypt a plaintext of any length in parts of at most MAX_PLAINTEXT_BYTES, each bound to its place among all; raises SealingError."""
    starts = range(0, len(plaintext), MAX_PLAINTEXT_BYTES)
    parts = [plaintext[start : start + MAX_PLAINTEXT_BYTES] for start in starts]
    return [seal(recipient_public, part, context=_place(context, number, len(parts))) for number, part in enumerate(parts)]


def open_parts(recipient_private: bytes, parts: Sequence[bytes], *, context: bytes) -> bytes:
    """What `seal_parts` encrypted; raises SealingError where a part is altered, missing, or at another's place."""
    opened = [open_sealed(recipient_private, part, context=_place(context, number, len(parts))) for number, part in enumerate(parts)]
    return b"".join(opened)


def _place(context: bytes, number: int, count: int) -> bytes:
    return context + f" part {number} of {count}".encode()


def _check_key(key: bytes, kind: str) -> None:
    if len(key) != KEY_BYTES:
        raise SealingError(f"a {kind} sealing key has {KEY_BYTES} bytes, not {len(key)}")
