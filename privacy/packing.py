"""Residues as bytes: fixed-width little-endian bit packing, one encoding for each value, checked against the modulus when read."""

import numpy as np

from privacy.rings import Residues, kernels


def packed_size(count: int, modulus: int) -> int:
    """Bytes of `count` residues; `count` times the modulus' bits must fill whole 64-bit words (a multiple of 64 always does)."""
    words, rest = divmod(count * modulus.bit_length(), 64)
    if rest:
        raise ValueError(f"{count} values of {modulus.bit_length()} bits do not fill whole words")
    return 8 * words


def pack(residues: Residues, modulus: int) -> bytes:
    """Pack residues (any shape, row by row), each below `modulus`."""
    words = np.zeros(packed_size(residues.size, modulus) // 8, dtype=np.uint64)
    kernels().pack(np.ascontiguousarray(residues).reshape(-1), modulus.bit_length(), words)
    return words.astype("<u8", copy=False).tobytes()


def unpack(data: bytes | memoryview, count: int, modulus: int) -> Residues:
    """Read exactly `count` residues; raise ValueError if the length differs or a residue is not below `modulus`."""
    if len(data) != packed_size(count, modulus):
        raise ValueError(f"{count} coefficients take {packed_size(count, modulus)} bytes, got {len(data)}")
    residues = np.empty(count, dtype=np.uint64)
    bad = kernels().unpack(np.frombuffer(data, dtype="<u8"), modulus.bit_length(), np.uint64(modulus), residues)
    if bad >= 0:
        raise ValueError(f"coefficient {bad} is {residues[bad]}, not below the modulus {modulus}")
    return residues
