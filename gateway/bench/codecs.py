"""Three ways of adding up the hospitals' updates: in the clear, encrypted with NVFLARE's parameters, and encrypted as the product does."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from gateway.hospital.frames import pack, unpack
from privacy import ckks, dealing, threshold
from privacy.parameters import SEED_BYTES

Vector = NDArray[np.float64]
BOUND = 1.0
"""Largest |value| of an update, as after clipping; errors are in its unit."""

_PLAIN_TYPE = "<f4"
# What nvflare.app_opt.he.homomorphic_encrypt builds by default: one secret key that all clients share.
_NVFLARE_DEGREE, _NVFLARE_MODULI_BITS, _NVFLARE_SCALE_BITS = 8192, (60, 40, 40), 40
_NVFLARE_SLOTS = _NVFLARE_DEGREE // 2


class Codec(Protocol):
    """One variant as one process holds it."""

    def encode(self, vector: Vector) -> bytes:
        """A hospital's update, (parameters,), as it is uploaded."""

    def add(self, blobs: Iterable[bytes]) -> bytes:
        """The uploads' sum; they are taken one at a time."""

    def decode(self, total: bytes, shares: Mapping[int, bytes]) -> Vector:
        """The sum, (parameters,), from its bytes and, where a quorum opens it, the holders' shares."""


@dataclass(frozen=True)
class Plain:
    """Plaintext FedAvg: single precision, as NVFLARE and Flower send it."""

    def encode(self, vector: Vector) -> bytes:
        return vector.astype(_PLAIN_TYPE).tobytes()

    def add(self, blobs: Iterable[bytes]) -> bytes:
        vectors = (np.frombuffer(blob, dtype=_PLAIN_TYPE) for blob in blobs)
        total = next(vectors).copy()
        for vector in vectors:
            total += vector
        return total.tobytes()

    def decode(self, total: bytes, shares: Mapping[int, bytes]) -> Vector:
        return np.frombuffer(total, dtype=_PLAIN_TYPE).astype(np.float64)


class NvflareParameters:
    """TenSEAL vectors under NVFLARE's default parameters; every hospital has the secret key."""

    def __init__(self, context: bytes) -> None:
        self._context = ts.context_from(context)

    @staticmethod
    def new_context() -> bytes:
        """One context with its secret key, for all hospitals."""
        context = ts.context(ts.SCHEME_TYPE.CKKS, _NVFLARE_DEGREE, -1, list(_NVFLARE_MODULI_BITS))
        context.global_scale = 2.0**_NVFLARE_SCALE_BITS
        data: bytes = context.serialize(save_public_key=True, save_secret_key=True, save_galois_keys=False, save_relin_keys=True)
        return data

    def encode(self, vector: Vector) -> bytes:
        # Ciphertext by ciphertext, as TenSEAL divides a long vector itself, but without a warning on standard output each time.
        chunks = np.split(vector, range(_NVFLARE_SLOTS, vector.size, _NVFLARE_SLOTS))
        return pack([ts.ckks_vector(self._context, chunk).serialize() for chunk in chunks])

    def add(self, blobs: Iterable[bytes]) -> bytes:
        uploads = (self._read(blob) for blob in blobs)
        total = next(uploads)
        for upload in uploads:
            for chunk, other in zip(total, upload, strict=True):
                chunk += other
        return pack([chunk.serialize() for chunk in total])

    def decode(self, total: bytes, shares: Mapping[int, bytes]) -> Vector:
        return np.concatenate([chunk.decrypt() for chunk in self._read(total)])

    def _read(self, blob: bytes) -> list[ts.CKKSVector]:
        return [ts.ckks_vector_from(self._context, part) for part in unpack(blob)]


@dataclass(frozen=True)
class Ours:
    """The product's ciphertexts and threshold key; `index` is the hospital's place among the holders, 0 for the aggregator."""

    public_key: bytes
    holder_key: bytes
    index: int
    quorum: Sequence[int]
    parameters: int
    hospitals: int

    def encode(self, vector: Vector) -> bytes:
        return ckks.encrypt(self.public_key, vector, bound=BOUND, members=self.hospitals)

    def add(self, blobs: Iterable[bytes]) -> bytes:
        return ckks.add(self.public_key, blobs, count=self.parameters)

    def share(self, total: bytes) -> bytes:
        """What this holder gives for the sum to be opened."""
        return threshold.partial_decrypt(self.holder_key, index=self.index, quorum=self.quorum, ciphertext=total, members=self.hospitals)

    def decode(self, total: bytes, shares: Mapping[int, bytes]) -> Vector:
        return threshold.fuse(total, shares, quorum=self.quorum, count=self.parameters, bound=BOUND, members=self.hospitals)


def our_codecs(*, hospitals: int, parameters: int) -> list[Ours]:
    """The aggregator's codec and then each hospital's, with a key that they made together."""
    quorum_size = -(-2 * hospitals // 3)
    crs_seed = os.urandom(SEED_BYTES)
    contributions = [threshold.generate(crs_seed) for _ in range(hospitals)]
    dealt = [
        dealing.deal(each.secret, public_share=each.public_share, dealer=dealer, holders=hospitals, threshold=quorum_size).shares
        for dealer, each in enumerate(contributions, start=1)
    ]
    # Everybody is this process, which has nothing to prove to itself.
    public_key = threshold.combine_public(crs_seed, [each.public_share for each in contributions], proofs=[])
    keys = [
        threshold.combine_shares([shares[holder] for shares in dealt], dealt=dealt[holder], public_key=public_key)
        for holder in range(hospitals)
    ]
    quorum = range(1, quorum_size + 1)
    return [Ours(public_key, key, index, quorum, parameters, hospitals) for index, key in enumerate([b"", *keys])]
