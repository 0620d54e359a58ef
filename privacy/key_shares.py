"""The formats of what a holder keeps or gets sealed: secret contribution, dealt share, holder key. None of it may be logged or published.

A contribution is a seed: everything a hospital derives from it (secret key, error, sharing polynomial) comes out the same after a crash.
"""

import struct
from dataclasses import dataclass

import numpy as np

from privacy.parameters import DATA_MODULUS, DEGREE, DIGEST_BYTES, MAX_HOLDERS, SEED_BYTES
from privacy.public_key import KeyMaterialError
from privacy.rings import Residues

_VERSION = 1
_SECRET = struct.Struct(f"<4sB3x{SEED_BYTES}s{SEED_BYTES}s")
# index, threshold, holders, digest of the joint public key (zero in a dealt share, which is older than that key).
_POINT = struct.Struct(f"<4sBBBB{DIGEST_BYTES}s")
_POINT_SIZE = _POINT.size + 8 * DEGREE
_SECRET_MAGIC, _SHARE_MAGIC, _HOLDER_MAGIC = b"CKSK", b"CKSH", b"CKHK"


@dataclass(frozen=True)
class Secret:
    """A hospital's own contribution to the joint key."""

    crs_seed: bytes
    seed: bytes

    def to_bytes(self) -> bytes:
        return _SECRET.pack(_SECRET_MAGIC, _VERSION, self.crs_seed, self.seed)


@dataclass(frozen=True, eq=False)
class Point:
    """Holder `index`'s point of a sharing with `threshold` of `holders`; `value`: DEGREE evaluated residues modulo DATA_MODULUS."""

    index: int
    threshold: int
    holders: int
    value: Residues

    def share_bytes(self) -> bytes:
        """As dealt by one hospital to another."""
        return self._to_bytes(_SHARE_MAGIC, bytes(DIGEST_BYTES))

    def holder_key_bytes(self, public_key_digest: bytes) -> bytes:
        """As the sum of all hospitals' shares, which serves one joint key."""
        return self._to_bytes(_HOLDER_MAGIC, public_key_digest)

    def _to_bytes(self, magic: bytes, digest: bytes) -> bytes:
        header = _POINT.pack(magic, _VERSION, self.index, self.threshold, self.holders, digest)
        return header + self.value.astype("<u8").tobytes()


def check_sharing(*, holders: int, threshold: int) -> None:
    """Raise KeyMaterialError unless 2 <= threshold <= holders <= MAX_HOLDERS: one holder alone must never decrypt."""
    if not 2 <= threshold <= holders <= MAX_HOLDERS:
        raise KeyMaterialError(f"a threshold of {threshold} of {holders} holders: need 2 <= threshold <= holders <= {MAX_HOLDERS}")


def parse_secret(data: bytes) -> Secret:
    """Read a stored contribution; raises KeyMaterialError."""
    if len(data) != _SECRET.size:
        raise KeyMaterialError(f"a secret contribution has {_SECRET.size} bytes, got {len(data)}")
    magic, version, crs_seed, seed = _SECRET.unpack(data)
    if (magic, version) != (_SECRET_MAGIC, _VERSION) or any(data[5:8]):
        raise KeyMaterialError("not a secret contribution of this product: its header names another kind or version")
    return Secret(crs_seed, seed)


def parse_share(data: bytes) -> Point:
    """Read an untrusted dealt share; raises KeyMaterialError."""
    point, digest = _parse_point(data, _SHARE_MAGIC, "secret share")
    if any(digest):
        raise KeyMaterialError("the secret share names a public key, which no dealer knows yet")
    return point


def parse_holder_key(data: bytes) -> tuple[Point, bytes]:
    """Read a stored holder key: the point and the digest of the public key it serves; raises KeyMaterialError."""
    return _parse_point(data, _HOLDER_MAGIC, "holder key")


def _parse_point(data: bytes, magic: bytes, name: str) -> tuple[Point, bytes]:
    if len(data) != _POINT_SIZE:
        raise KeyMaterialError(f"a {name} has {_POINT_SIZE} bytes, got {len(data)}")
    got_magic, version, index, threshold, holders, digest = _POINT.unpack_from(data)
    if (got_magic, version) != (magic, _VERSION):
        raise KeyMaterialError(f"not a {name} of this product: its header names another kind or version")
    check_sharing(holders=holders, threshold=threshold)
    if not 1 <= index <= holders:
        raise KeyMaterialError(f"the {name} is for holder {index}, there are {holders}")
    value = np.frombuffer(data, dtype="<u8", offset=_POINT.size).astype(np.uint64)
    bad = np.flatnonzero(value >= np.uint64(DATA_MODULUS))
    if bad.size:
        raise KeyMaterialError(f"the {name}'s coefficient {bad[0]} is {value[bad[0]]}, not below the modulus {DATA_MODULUS}")
    if not value.any():
        raise KeyMaterialError(f"the {name} is zero, which no honest dealer deals")
    return Point(index, threshold, holders, value), digest
