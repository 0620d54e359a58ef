"""The format of a partial decryption and who may take part in one.

Header (little-endian, 80 bytes): magic "CKPD", version u8, zero u8, holder index u16, number of values u64, the quorum as a bit mask
(256 bits, bit i for holder i), SHA-256 of the ciphertext. Then one polynomial a chunk: DEGREE evaluated coefficients packed in 54 bits
(6.8 bytes a value).
"""

import struct
from collections.abc import Sequence

from privacy.ciphertext import check_count
from privacy.packing import pack, packed_size, unpack
from privacy.parameters import DATA_MODULUS, DEGREE, DIGEST_BYTES, MAX_HOLDERS, chunks_for
from privacy.rings import Residues

_MASK_BYTES = (MAX_HOLDERS + 1) // 8
_HEADER = struct.Struct(f"<4sBBHQ{_MASK_BYTES}s{DIGEST_BYTES}s")
_MAGIC, _VERSION = b"CKPD", 2


class DecryptionError(ValueError):
    """A quorum, a partial decryption or the fused result is refused; the message names what is wrong."""


def quorum_mask(quorum: Sequence[int]) -> bytes:
    """The quorum as a bit mask; raises DecryptionError for a holder named twice or out of range, and for fewer than two holders."""
    if len(set(quorum)) != len(quorum) or len(quorum) < 2 or not all(1 <= index <= MAX_HOLDERS for index in quorum):
        raise DecryptionError(f"a quorum is two or more distinct holders from 1 to {MAX_HOLDERS}, not {list(quorum)}")
    return sum(1 << index for index in quorum).to_bytes(_MASK_BYTES, "little")


def partial_size(count: int) -> int:
    """Bytes of a partial decryption of `count` values: what to allow before a transfer starts."""
    check_count(count)
    return _HEADER.size + packed_size(chunks_for(count) * DEGREE, DATA_MODULUS)


def write_partial(polynomials: Residues, *, index: int, quorum: Sequence[int], ciphertext_digest: bytes, count: int) -> bytes:
    """Serialise residues (chunks, DEGREE)."""
    header = _HEADER.pack(_MAGIC, _VERSION, 0, index, count, quorum_mask(quorum), ciphertext_digest)
    return header + pack(polynomials, DATA_MODULUS)


def parse_partial(data: bytes | memoryview, *, index: int, quorum: Sequence[int], ciphertext_digest: bytes, count: int) -> Residues:
    """Read an untrusted partial decryption that must be this holder's, for this quorum and ciphertext: residues (chunks, DEGREE).

    Checks in this order: size, kind, holder, quorum, ciphertext, count, coefficients. Raises DecryptionError.
    """
    if len(data) != partial_size(count):
        raise DecryptionError(f"holder {index}'s partial decryption of {count} values has {partial_size(count)} bytes, got {len(data)}")
    magic, version, zero, got_index, got_count, mask, digest = _HEADER.unpack_from(data)
    if (magic, version, zero) != (_MAGIC, _VERSION, 0):
        raise DecryptionError(f"what holder {index} sent is not a partial decryption of this product")
    if got_index != index:
        raise DecryptionError(f"holder {index} sent the partial decryption of holder {got_index}")
    if mask != quorum_mask(quorum):
        raise DecryptionError(f"holder {index}'s partial decryption was made for another quorum than {sorted(quorum)}")
    if digest != ciphertext_digest:
        raise DecryptionError(f"holder {index}'s partial decryption is of another ciphertext: {digest.hex()[:16]}…")
    if got_count != count:
        raise DecryptionError(f"holder {index}'s partial decryption names {got_count} values, the ciphertext has {count}")
    try:
        return unpack(memoryview(data)[_HEADER.size :], chunks_for(count) * DEGREE, DATA_MODULUS).reshape(-1, DEGREE)
    except ValueError as error:
        raise DecryptionError(f"holder {index}'s partial decryption is malformed: {error}") from error
