"""The formats of what a holder keeps or gets sealed: secret contribution, dealt share, holder key. None of it may be logged or published.

A contribution is a seed: everything a hospital derives from it (secret key, error, sharing polynomial) comes out the same after a crash.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.parameters import DATA_MODULUS, DEGREE, DIGEST_BYTES, MAX_HOLDERS, SEED_BYTES
from privacy.public_key import KeyMaterialError
from privacy.randomness import KeyStream
from privacy.rings import Residues

# How often the proof that shares lie on one polynomial is repeated: a false one passes with probability 2^-162 (privacy.dealing).
REPETITIONS = 3

_VERSION = 2
_SECRET = struct.Struct(f"<4sB3x{SEED_BYTES}s{SEED_BYTES}s")
# dealer, index, threshold, holders, seed for the pair of holders, masks; then the point.
_SHARE = struct.Struct(f"<4sBBBBB3x{SEED_BYTES}s{REPETITIONS}Q")
# index, threshold, holders, digest of the joint public key; then a key for each pair with another holder (zeros for itself), and the point.
_HOLDER = struct.Struct(f"<4sBBBB{DIGEST_BYTES}s")
_POINT_BYTES = 8 * DEGREE
SHARE_SIZE = _SHARE.size + _POINT_BYTES
_SECRET_MAGIC, _SHARE_MAGIC, _HOLDER_MAGIC = b"CKSK", b"CKSH", b"CKHK"


@dataclass(frozen=True)
class Secret:
    """A hospital's own contribution to the joint key."""

    crs_seed: bytes
    seed: bytes

    def key(self) -> NDArray[np.int64]:
        """The hospital's secret polynomial: DEGREE uniform values of -1, 0, 1."""
        return KeyStream(self.seed, b"secret key").ternary(DEGREE)

    def to_bytes(self) -> bytes:
        return _SECRET.pack(_SECRET_MAGIC, _VERSION, self.crs_seed, self.seed)


@dataclass(frozen=True, eq=False)
class Share:
    """What `dealer` deals to holder `index` of a sharing with `threshold` of `holders`: f(index), DEGREE evaluated residues.

    `masks`: REPETITIONS residues, the values at `index` of the polynomials that hide f in the dealer's proof. `pair_seed`: half of what
    the two holders' common key is made of.
    """

    dealer: int
    index: int
    threshold: int
    holders: int
    pair_seed: bytes
    masks: tuple[int, ...]
    value: Residues

    def to_bytes(self) -> bytes:
        place = (self.dealer, self.index, self.threshold, self.holders)
        return _SHARE.pack(_SHARE_MAGIC, _VERSION, *place, self.pair_seed, *self.masks) + self.value.astype("<u8").tobytes()


@dataclass(frozen=True, eq=False)
class HolderKey:
    """Holder `index`'s point of the joint secret's sharing, and a key for each pair with another holder, in holders' order."""

    index: int
    threshold: int
    holders: int
    public_key_digest: bytes
    pair_keys: tuple[bytes, ...]
    value: Residues

    def to_bytes(self) -> bytes:
        header = _HOLDER.pack(_HOLDER_MAGIC, _VERSION, self.index, self.threshold, self.holders, self.public_key_digest)
        return b"".join((header, *self.pair_keys, self.value.astype("<u8").tobytes()))


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


def parse_share(data: bytes) -> Share:
    """Read an untrusted dealt share; raises KeyMaterialError."""
    if len(data) != SHARE_SIZE:
        raise KeyMaterialError(f"a secret share has {SHARE_SIZE} bytes, got {len(data)}")
    magic, version, dealer, index, threshold, holders, pair_seed, *masks = _SHARE.unpack_from(data)
    _check_kind(magic, version, _SHARE_MAGIC, "secret share")
    _check_place(index, threshold=threshold, holders=holders, name="secret share")
    if not 1 <= dealer <= holders:
        raise KeyMaterialError(f"the secret share is dealt by holder {dealer}, there are {holders}")
    if max(masks) >= DATA_MODULUS:
        raise KeyMaterialError(f"a mask of the secret share is not below the modulus {DATA_MODULUS}")
    return Share(dealer, index, threshold, holders, pair_seed, tuple(masks), _parse_point(data[_SHARE.size :], "secret share"))


def parse_holder_key(data: bytes) -> HolderKey:
    """Read a stored holder key; raises KeyMaterialError."""
    if len(data) < _HOLDER.size:
        raise KeyMaterialError(f"a holder key has more than {_HOLDER.size} bytes, got {len(data)}")
    magic, version, index, threshold, holders, digest = _HOLDER.unpack_from(data)
    _check_kind(magic, version, _HOLDER_MAGIC, "holder key")
    _check_place(index, threshold=threshold, holders=holders, name="holder key")
    start = _HOLDER.size + SEED_BYTES * holders
    if len(data) != start + _POINT_BYTES:
        raise KeyMaterialError(f"a holder key of {holders} holders has {start + _POINT_BYTES} bytes, got {len(data)}")
    pair_keys = tuple(data[at : at + SEED_BYTES] for at in range(_HOLDER.size, start, SEED_BYTES))
    return HolderKey(index, threshold, holders, digest, pair_keys, _parse_point(data[start:], "holder key"))


def _check_kind(magic: bytes, version: int, expected: bytes, name: str) -> None:
    if (magic, version) != (expected, _VERSION):
        raise KeyMaterialError(f"not a {name} of this product: its header names another kind or version")


def _check_place(index: int, *, threshold: int, holders: int, name: str) -> None:
    check_sharing(holders=holders, threshold=threshold)
    if not 1 <= index <= holders:
        raise KeyMaterialError(f"the {name} is for holder {index}, there are {holders}")


def _parse_point(data: bytes, name: str) -> Residues:
    value = np.frombuffer(data, dtype="<u8").astype(np.uint64)
    bad = np.flatnonzero(value >= np.uint64(DATA_MODULUS))
    if bad.size:
        raise KeyMaterialError(f"the {name}'s coefficient {bad[0]} is {value[bad[0]]}, not below the modulus {DATA_MODULUS}")
    if not value.any():
        raise KeyMaterialError(f"the {name} is zero, which no honest dealer deals")
    return value
