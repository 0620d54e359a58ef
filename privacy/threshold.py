"""A CKKS key that no hospital holds: made together without a dealer, used by any `threshold` of the holders.

Key generation and flooded decryption follow Mouchet, Troncoso-Pastoriza, Bossuat and Hubaux, "Multiparty homomorphic encryption from
ring-learning-with-errors" (PETS 2021); the threshold access structure follows Mouchet, Bertrand and Hubaux, "An efficient threshold
access-structure for RLWE-based multiparty homomorphic encryption" (Journal of Cryptology 2023), as in Lattigo. Who runs what:

1. Every hospital: `generate`, publishes the public share (commit before reveal, or the last to speak chooses the joint key).
2. Every hospital: `combine_public` over all shares, and `deal`, one sealed share for each holder.
3. Every holder: `combine_shares` over what it was dealt.
4. Every holder of an elected quorum: `partial_decrypt` of a sum it recomputed itself; anybody: `fuse`.

Assumed: holders are honest but curious. A holder that deals inconsistent shares or sends a false partial decryption makes `fuse` fail,
but does not show who it was. Fewer than `threshold` holders learn nothing about sums they do not decrypt. Every decryption releases the
CKKS noise of the sum under flooding 2^18 times wider (Li and Micciancio, Eurocrypt 2021), so decryptions of one key are to be counted and
keys changed with every task. No outside review has been made.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.ciphertext import parse
from privacy.encoding import Normalisation, decode
from privacy.gaussian import table_for
from privacy.key_shares import Point, Secret, check_sharing, parse_holder_key, parse_secret, parse_share
from privacy.parameters import DEGREE, ERROR_SIGMA, FLOODING_SIGMA, SCALE_BITS, SEED_BYTES, VALUES_PER_CHUNK
from privacy.partial import DecryptionError, parse_partial, partial_size, quorum_mask, write_partial
from privacy.public_key import (
    KeyMaterialError,
    check_seed,
    common_polynomial,
    key_digest,
    parse_public_share,
    write_public_key,
    write_public_share,
)
from privacy.randomness import Entropy, KeyStream, system_entropy
from privacy.rings import Residues, data_ring, key_rings
from privacy.shamir import lagrange_at_zero, split

__all__ = [
    "BoundError",
    "DecryptionError",
    "KeyContribution",
    "KeyMaterialError",
    "check_partial",
    "check_public_share",
    "combine_public",
    "combine_shares",
    "deal",
    "fuse",
    "generate",
    "partial_decrypt",
    "partial_size",
]

# Noise stays within this many standard deviations in every coefficient of every task there will ever be.
_NOISE_SIGMAS = 12
# Chunks worked on at a time: keeps temporaries in the processor's cache.
_BLOCK = 32


class BoundError(DecryptionError):
    """The sum decrypts, but somebody sent values beyond the bound all hospitals agreed on."""


@dataclass(frozen=True)
class KeyContribution:
    """`secret` stays in the hospital's own store; `public_share` is published."""

    secret: bytes
    public_share: bytes


def generate(crs_seed: bytes, *, entropy: Entropy = system_entropy) -> KeyContribution:
    """A hospital's contribution to a new joint key. Call it anew for every attempt: a secret is dealt once. Raises KeyMaterialError."""
    check_seed(crs_seed)
    secret = Secret(crs_seed, entropy(SEED_BYTES))
    return KeyContribution(secret.to_bytes(), write_public_share(crs_seed, _public_polynomials(secret)))


def check_public_share(crs_seed: bytes, public_share: bytes) -> None:
    """Raise KeyMaterialError unless it is a well-formed public share made for this seed. Whoever receives one runs it first."""
    _public_share(crs_seed, public_share)


def combine_public(crs_seed: bytes, public_shares: Sequence[bytes]) -> bytes:
    """The joint public key: the same bytes whatever the order of the shares. Every hospital runs it and confirms `key_digest`.

    Raises KeyMaterialError for fewer than two shares, the same share twice, a malformed one, and shares that cancel out.
    """
    check_seed(crs_seed)
    if len(public_shares) < 2:
        raise KeyMaterialError(f"a joint key needs the public shares of two hospitals or more, got {len(public_shares)}")
    if len(set(public_shares)) != len(public_shares):
        raise KeyMaterialError("the same public share was sent twice: a hospital copied another's")
    shares = [_public_share(crs_seed, share) for share in public_shares]
    total = shares[0]
    for ring, row, *others in zip(key_rings(), total, *shares[1:], strict=True):
        for other in others:
            ring.add_into(row, other)
    if not total.any(axis=1).all():
        raise KeyMaterialError("the public shares cancel out: a hospital answered to the others' shares")
    return write_public_key(crs_seed, total)


def deal(secret: bytes, *, holders: int, threshold: int) -> list[bytes]:
    """One share for each holder 1..`holders`, to be sealed to it. The same call gives the same shares, so that a crash changes nothing.

    Raises KeyMaterialError. Who is holder 1, 2, ... must not change for a secret: other holders need a new one.
    """
    check_sharing(holders=holders, threshold=threshold)
    own = parse_secret(secret)
    stream = KeyStream(own.seed, b"sharing", own.crs_seed, bytes([holders, threshold]))
    polynomial = data_ring().evaluate(data_ring().lift(_secret_key(own)))
    values = split(polynomial, data_ring(), holders=holders, threshold=threshold, stream=stream)
    return [Point(index, threshold, holders, value).share_bytes() for index, value in enumerate(values, start=1)]


def combine_shares(shares: Sequence[bytes], *, public_key: bytes) -> bytes:
    """This holder's key for `public_key`: the sum of the shares that all hospitals, itself included, dealt to it.

    Raises KeyMaterialError for malformed shares, shares of different sharings or holders, the same share twice, and when the number of
    shares is not the number of holders.
    """
    points = [parse_share(share) for share in shares]
    kinds = {(point.index, point.threshold, point.holders) for point in points}
    if len(kinds) != 1:
        raise KeyMaterialError(
            f"shares of one sharing and holder are combined, not of several (index, threshold, holders): {sorted(kinds)}"
        )
    ((index, threshold, holders),) = kinds
    if len(points) != holders:
        raise KeyMaterialError(f"holder {index} needs a share from each of {holders} hospitals, got {len(points)}")
    if len(set(shares)) != len(shares):
        raise KeyMaterialError(f"holder {index} got the same share twice")
    total = np.zeros(DEGREE, dtype=np.uint64)
    for point in points:
        data_ring().add_into(total, point.value)
    return Point(index, threshold, holders, total).holder_key_bytes(key_digest(public_key))


def partial_decrypt(holder_key: bytes, *, index: int, quorum: Sequence[int], ciphertext: bytes) -> bytes:
    """This holder's part of the decryption of a sum: lambda * S * c1 + flooding noise of standard deviation 2^28.

    The flooding is drawn for this ciphertext and quorum from a key stream that only the holder key gives: whoever asks again gets the same
    bytes, not a second sample to average with the first. Raises KeyMaterialError (key), CiphertextError (malformed, or another key's),
    DecryptionError (a quorum that is not exactly `threshold` holders of the key, this one among them).
    """
    point, public_key_digest = parse_holder_key(holder_key)
    _check_role(point, index, quorum)
    ring, parsed = data_ring(), parse(ciphertext, key_digest=public_key_digest)
    digest = hashlib.sha256(ciphertext).digest()
    weight = ring.scale(point.value, lagrange_at_zero(index, quorum, ring.modulus))
    stream = KeyStream(hashlib.sha256(holder_key).digest(), b"flooding", digest, quorum_mask(quorum))
    result = ring.multiply(parsed.c1, weight)
    for start in range(0, len(result), _BLOCK):
        block = result[start : start + _BLOCK]
        noise = stream.gaussian(block.size, table_for(FLOODING_SIGMA)).reshape(block.shape)
        ring.add_into(block, ring.evaluate(ring.lift(noise)))
    return write_partial(result, index=index, quorum=quorum, ciphertext_digest=digest, count=parsed.count)


def check_partial(partial: bytes, *, index: int, quorum: Sequence[int], ciphertext_digest: bytes, count: int) -> None:
    """Raise DecryptionError unless it is holder `index`'s well-formed partial decryption for this quorum and ciphertext (SHA-256).

    Whether the polynomial inside is right shows only in `fuse`.
    """
    parse_partial(partial, index=index, quorum=quorum, ciphertext_digest=ciphertext_digest, count=count)


def fuse(
    ciphertext: bytes, partials: Mapping[int, bytes], *, quorum: Sequence[int], count: int, bound: float, members: int
) -> NDArray[np.float64]:
    """The sum: c0 plus all partial decryptions, decoded to `count` float64 values in the unit of `bound`.

    `partials` by holder, one for each of the quorum. `bound` and `members` as at encryption. The error is about
    2.4e-7 * sqrt(quorum size) coefficient units, 2.1e-7 of bound * members (standard deviation, three holders). Raises CiphertextError,
    DecryptionError (a partial missing or malformed; or the result is noise: too few holders, a false partial, an altered sum),
    BoundError, and ValueError for a senseless `bound` or `members`. Anybody may run it; the result depends on the bytes alone.
    """
    normalisation = Normalisation(bound=bound, members=members)
    quorum_mask(quorum)
    if set(partials) != set(quorum):
        raise DecryptionError(f"partial decryptions of holders {sorted(quorum)} are needed, got those of {sorted(partials)}")
    parsed, digest = parse(ciphertext, count=count), hashlib.sha256(ciphertext).digest()
    for index in sorted(quorum):
        term = parse_partial(partials[index], index=index, quorum=quorum, ciphertext_digest=digest, count=count)
        data_ring().add_into(parsed.c0, term)
    noise = _NOISE_SIGMAS * float(FLOODING_SIGMA) * math.sqrt(len(quorum)) / 2.0**SCALE_BITS
    values = _decode(parsed.c0, count, noise) / normalisation.factor
    limit = normalisation.sum_bound + noise / normalisation.factor
    beyond = np.flatnonzero(np.abs(values) > limit)
    if beyond.size:
        worst = values[beyond[0]]
        raise BoundError(f"value {beyond[0]} of the sum is {worst:.6g}, beyond the {limit:.6g} that {members} hospitals can reach")
    return values


def _public_share(crs_seed: bytes, public_share: bytes) -> Residues:
    share = parse_public_share(public_share)
    if share.crs_seed != crs_seed:
        raise KeyMaterialError("the public share was made for another common reference string")
    return share.b


def _secret_key(secret: Secret) -> NDArray[np.int64]:
    return KeyStream(secret.seed, b"secret key").ternary(DEGREE)


def _public_polynomials(secret: Secret) -> Residues:
    """b = -(a s + e) for each prime."""
    key = _secret_key(secret)
    error = KeyStream(secret.seed, b"key error", secret.crs_seed).gaussian(DEGREE, table_for(ERROR_SIGMA))
    rows = []
    for ring, a in zip(key_rings(), common_polynomial(secret.crs_seed), strict=True):
        product = ring.multiply(ring.evaluate(ring.lift(key)), a)
        rows.append(ring.negate(ring.add(product, ring.evaluate(ring.lift(error)))))
    return np.stack(rows)


def _check_role(point: Point, index: int, quorum: Sequence[int]) -> None:
    quorum_mask(quorum)
    if point.index != index:
        raise DecryptionError(f"this is the key of holder {point.index}, not of holder {index}")
    if index not in quorum:
        raise DecryptionError(f"holder {index} is not in the quorum {sorted(quorum)}")
    if len(quorum) != point.threshold or max(quorum) > point.holders:
        raise DecryptionError(f"a quorum of this key is {point.threshold} of holders 1 to {point.holders}, not {sorted(quorum)}")


def _decode(evaluated: Residues, count: int, noise: float) -> NDArray[np.float64]:
    """The first `count` values. Guards and padding are zero in honest sums, which tells them from noise."""
    ring, decoded = data_ring(), np.empty(evaluated.shape[0] * VALUES_PER_CHUNK)
    for start in range(0, len(evaluated), _BLOCK):
        values, guards = decode(ring.centre(ring.interpolate(evaluated[start : start + _BLOCK])))
        if np.abs(guards).max() > noise:
            raise DecryptionError("the partial decryptions do not fit the sum: too few holders, a false partial or a false ciphertext")
        decoded[start * VALUES_PER_CHUNK : start * VALUES_PER_CHUNK + values.size] = values
    if np.abs(decoded[count:]).max(initial=0.0) > noise:
        raise DecryptionError("the sum holds values beyond the model's end: a hospital sent a false ciphertext")
    return decoded[:count]
