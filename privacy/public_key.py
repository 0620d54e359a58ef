"""The formats of a hospital's public share and of the joint public key, made without a dealer.

Each hospital publishes b_i = -(a s_i + e_i) over both primes, `a` being expanded from a seed that all know (the common reference string);
the joint key is (sum of b_i, a), a SEAL public key of s = sum of s_i. Mouchet, Troncoso-Pastoriza, Bossuat and Hubaux, "Multiparty
homomorphic encryption from ring-learning-with-errors", PETS 2021, protocol 1.

Both formats: magic, version u8, zero u8, ring degree u16, both moduli u64, the common reference string's seed (32 bytes), 32 bytes more,
then `b` as unpacked little-endian words, DEGREE evaluated coefficients a prime. In the joint key the 32 bytes are the digest of all
dealers' proofs: who was shown another proof than the others gets, and confirms, another key. In a public share they are zero.
"""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np

from privacy.parameters import DATA_MODULUS, DEGREE, DIGEST_BYTES, SEED_BYTES, SPECIAL_MODULUS
from privacy.randomness import KeyStream
from privacy.rings import Residues

_HEADER = struct.Struct(f"<4sBBHQQ{SEED_BYTES}s{DIGEST_BYTES}s")
_VERSION = 2
_SHARE, _KEY = b"CKPS", b"CKPK"
_MODULI = (DATA_MODULUS, SPECIAL_MODULUS)
PUBLIC_SIZE = _HEADER.size + 8 * len(_MODULI) * DEGREE


class KeyMaterialError(ValueError):
    """A key, a share of one or a seed is refused; the message names what is wrong."""


@dataclass(frozen=True, eq=False)
class PublicKey:
    """`b`: evaluated residues (2, DEGREE), one row a prime; `crs_seed` gives `a`."""

    crs_seed: bytes
    b: Residues

    def expand_a(self) -> Residues:
        return common_polynomial(self.crs_seed)


def common_polynomial(crs_seed: bytes) -> Residues:
    """The public uniform polynomial `a`, evaluated: (2, DEGREE), one row a prime."""
    check_seed(crs_seed)
    return np.stack([KeyStream(crs_seed, b"common reference string", str(q).encode()).uniform(DEGREE, q) for q in _MODULI])


def check_seed(crs_seed: bytes) -> None:
    """Raise KeyMaterialError unless the seed has SEED_BYTES bytes."""
    if len(crs_seed) != SEED_BYTES:
        raise KeyMaterialError(f"the common reference string's seed has {SEED_BYTES} bytes, not {len(crs_seed)}")


def key_digest(public_key: bytes) -> bytes:
    """SHA-256 of the joint public key (32 bytes): what hospitals confirm on the ledger and every ciphertext names."""
    return hashlib.sha256(public_key).digest()


def write_public_share(crs_seed: bytes, b: Residues) -> bytes:
    """Serialise a hospital's public share."""
    return _write(_SHARE, crs_seed, bytes(DIGEST_BYTES), b)


def write_public_key(crs_seed: bytes, b: Residues, *, dealings: bytes) -> bytes:
    """Serialise the joint public key; `dealings`: the digest of the dealers' proofs."""
    return _write(_KEY, crs_seed, dealings, b)


def parse_public_share(data: bytes) -> PublicKey:
    """Read an untrusted public share; raises KeyMaterialError."""
    share, dealings = _parse(data, _SHARE, "public share")
    if any(dealings):
        raise KeyMaterialError("the public share names proofs, which no dealer knows yet")
    return share


def parse_public_key(data: bytes) -> PublicKey:
    """Read an untrusted joint public key; raises KeyMaterialError."""
    return _parse(data, _KEY, "public key")[0]


def _write(magic: bytes, crs_seed: bytes, dealings: bytes, b: Residues) -> bytes:
    return _HEADER.pack(magic, _VERSION, 0, DEGREE, *_MODULI, crs_seed, dealings) + b.astype("<u8").tobytes()


def _parse(data: bytes, magic: bytes, name: str) -> tuple[PublicKey, bytes]:
    if len(data) != PUBLIC_SIZE:
        raise KeyMaterialError(f"a {name} has {PUBLIC_SIZE} bytes, got {len(data)}")
    *head, crs_seed, dealings = _HEADER.unpack_from(data)
    if head != [magic, _VERSION, 0, DEGREE, *_MODULI]:
        raise KeyMaterialError(f"not a {name} of this product: its header names another kind, version or parameters")
    b = np.frombuffer(data, dtype="<u8", offset=_HEADER.size).reshape(len(_MODULI), DEGREE).astype(np.uint64)
    for row, modulus in zip(b, _MODULI, strict=True):
        bad = np.flatnonzero(row >= modulus)
        if bad.size:
            raise KeyMaterialError(f"the {name}'s coefficient {bad[0]} modulo {modulus} is {row[bad[0]]}, not below it")
        if not row.any():
            raise KeyMaterialError(f"the {name} is zero modulo {modulus}: it hides nothing")
    return PublicKey(crs_seed, b), dealings
