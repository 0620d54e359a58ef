"""The canonical form of an encrypted vector, the only form that leaves a hospital.

Header (little-endian, 56 bytes): magic "CKCT", format version u8, log2 of the scale u8, ring degree u16, data modulus u64, SHA-256 of the
public key (32 bytes), number of values u64. Then c0 of every chunk, then c1 of every chunk: DEGREE evaluated coefficients each, packed in
54 bits (13.6 bytes a value in all). Every byte is determined by what it means, so equal ciphertexts are equal bytes.
"""

import struct
from dataclasses import dataclass

import numpy as np

from privacy.packing import pack, packed_size, unpack
from privacy.parameters import DATA_MODULUS, DEGREE, DIGEST_BYTES, MAX_VALUES, SCALE_BITS, chunks_for
from privacy.rings import Residues

_HEADER = struct.Struct(f"<4sBBHQ{DIGEST_BYTES}sQ")
_MAGIC, _VERSION = b"CKCT", 2


class CiphertextError(ValueError):
    """A ciphertext, or what was to be encrypted, is refused; the message names what is wrong."""


@dataclass(frozen=True, eq=False)
class Ciphertext:
    """An encrypted vector of `count` values: `c0` and `c1` of shape (chunks, DEGREE), evaluated residues modulo DATA_MODULUS."""

    key_digest: bytes
    count: int
    c0: Residues
    c1: Residues

    def to_bytes(self) -> bytes:
        header = _HEADER.pack(_MAGIC, _VERSION, SCALE_BITS, DEGREE, DATA_MODULUS, self.key_digest, self.count)
        return b"".join((header, pack(self.c0, DATA_MODULUS), pack(self.c1, DATA_MODULUS)))


def ciphertext_size(count: int) -> int:
    """Bytes of a ciphertext of `count` values: what to allow before a transfer starts."""
    check_count(count)
    return _HEADER.size + 2 * packed_size(chunks_for(count) * DEGREE, DATA_MODULUS)


def check_count(count: int) -> None:
    """Raise CiphertextError unless 1 <= count <= MAX_VALUES."""
    if not 1 <= count <= MAX_VALUES:
        raise CiphertextError(f"a ciphertext holds 1 to {MAX_VALUES} values, not {count}")


def parse(data: bytes, *, count: int | None = None, key_digest: bytes | None = None) -> Ciphertext:
    """Read an untrusted ciphertext, checking in this order: header, count, key, size, coefficients, transparency.

    Without `count` or `key_digest` the header's own are taken. Raises CiphertextError.
    """
    header_count, header_key = _parse_header(data)
    if count is not None and header_count != count:
        raise CiphertextError(f"the ciphertext holds {header_count} values, the model has {count}")
    if key_digest is not None and header_key != key_digest:
        raise CiphertextError(f"the ciphertext is for key {header_key.hex()[:16]}…, this task's key is {key_digest.hex()[:16]}…")
    if len(data) != ciphertext_size(header_count):
        raise CiphertextError(
            f"{chunks_for(header_count)} chunks for {header_count} values take {ciphertext_size(header_count)} bytes, got {len(data)}"
        )
    polynomials = _parse_polynomials(memoryview(data)[_HEADER.size :], chunks_for(header_count))
    transparent = np.flatnonzero(~polynomials[1].any(axis=1))
    if transparent.size:
        raise CiphertextError(f"chunk {transparent[0]} is transparent: its c1 is zero, so that anybody can read it")
    return Ciphertext(header_key, header_count, polynomials[0], polynomials[1])


def _parse_header(data: bytes) -> tuple[int, bytes]:
    if len(data) < _HEADER.size or data[:4] != _MAGIC:
        raise CiphertextError("not a ciphertext of this product: plain values, TenSEAL's own bytes and contexts with keys are not taken")
    _, version, scale_bits, degree, modulus, key_digest, count = _HEADER.unpack_from(data)
    expected = {"format version": (version, _VERSION), "ring degree": (degree, DEGREE), "scale (log2)": (scale_bits, SCALE_BITS)}
    for name, (got, wanted) in (expected | {"modulus": (modulus, DATA_MODULUS)}).items():
        if got != wanted:
            raise CiphertextError(f"the ciphertext's {name} is {got}, this product's is {wanted}")
    check_count(count)
    return count, key_digest


def _parse_polynomials(body: memoryview, chunks: int) -> Residues:
    try:
        return unpack(body, 2 * chunks * DEGREE, DATA_MODULUS).reshape(2, chunks, DEGREE)
    except ValueError as error:
        raise CiphertextError(f"the ciphertext is malformed: {error}") from error
