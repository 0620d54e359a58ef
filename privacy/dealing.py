"""Dealing a secret so that every holder can tell whether its share is good, and prove it where it is not.

Feldman's and Pedersen's checks need a group of the shares' own prime order in which discrete logarithms are hard; no group of a 54-bit
order is one. Commitments a1 * f + a2 * r in the ring would be linear and exact, but with f and r uniform they bind to nothing: for every f
there is an r. RLWE samples a * f + e bind, but their errors are multiplied by powers of holders' indices modulo q. What fits is a
commitment to each share by its hash and a random linear test chosen afterwards, as in verifiable sharings from hash functions (Atapoor,
Baghery, Cozzo and Pedersen, "VSS from distributed ZK proofs and applications", Asiacrypt 2023):

1. `deal`: the dealer shares f (DEGREE polynomials over Z_q, one a coefficient of its secret), and REPETITIONS uniform polynomials r of the
same degree. Holder j's share is f(j) and r(j). The ledger gets the digest of the dealer's part: its public share and the hash of every
share.
2. The challenge is a hash of everything the ledger holds of the attempt once all have committed. It gives each dealer uniform weights d.
3. `prove`: the dealer publishes z = r + sum over k of d_k * f_k, REPETITIONS polynomials over Z_q of `threshold` coefficients.
4. `check_share`: holder j compares its share with its hash, and z(j) with r(j) + sum of d_k * f_k(j).

Shares of honest holders that lie on no polynomial of that degree pass with probability at most q^-REPETITIONS = 2^-162: each row of z would
have to meet a uniform combination fixed before d was known. z shows nothing of f, as r is uniform and used once. What this does not show:
that f(0) is the secret of the public share. See docs/threshold-ckks.md.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privacy.key_shares import REPETITIONS, Secret, Share, check_sharing, parse_secret, parse_share
from privacy.parameters import DATA_MODULUS, DEGREE, DIGEST_BYTES, SEED_BYTES
from privacy.public_key import PUBLIC_SIZE, KeyMaterialError
from privacy.randomness import KeyStream
from privacy.rings import Residues, data_ring
from privacy.shamir import polynomial, value_at

_RESIDUE_BYTES = 8


class FalseShareError(KeyMaterialError):
    """The share is not what its dealer committed to, or lies beside the others: whoever dealt it, if it signed it, has cheated."""


@dataclass(frozen=True)
class Dealing:
    """One dealer's sharing: a share for each holder, to be sealed to it, and the part that is published."""

    shares: list[bytes]
    part: bytes


@dataclass(frozen=True)
class Part:
    """What a dealer commits to on the ledger and shows to all: its public share, and the SHA-256 of each holder's share."""

    public_share: bytes
    share_digests: tuple[bytes, ...]


def deal(secret: bytes, *, public_share: bytes, dealer: int, holders: int, threshold: int) -> Dealing:
    """One share for each holder 1..`holders`. Run by every hospital. The same call gives the same bytes, so that a crash changes nothing.

    Raises KeyMaterialError. Who is holder 1, 2, ... must not change for a secret: other holders need a new one.
    """
    own = parse_secret(secret)
    coefficients, masks = _polynomials(own, dealer=dealer, holders=holders, threshold=threshold)
    shares = [
        Share(
            dealer,
            index,
            threshold,
            holders,
            # None with itself.
            bytes(SEED_BYTES) if index == dealer else hmac.digest(own.seed, b"pair" + own.crs_seed + bytes([index]), "sha256"),
            tuple(_value_at(row, index) for row in masks),
            value_at(coefficients, data_ring(), index),
        ).to_bytes()
        for index in range(1, holders + 1)
    ]
    return Dealing(shares, b"".join((public_share, *(hashlib.sha256(share).digest() for share in shares))))


def parse_part(data: bytes, *, holders: int) -> Part:
    """Read an untrusted part of a dealer; what is inside is checked by `check_public_share` and `check_share`. Raises KeyMaterialError."""
    if len(data) != part_size(holders):
        raise KeyMaterialError(f"a dealer's part for {holders} holders has {part_size(holders)} bytes, got {len(data)}")
    digests = tuple(data[at : at + DIGEST_BYTES] for at in range(PUBLIC_SIZE, len(data), DIGEST_BYTES))
    return Part(data[:PUBLIC_SIZE], digests)


def part_size(holders: int) -> int:
    """Bytes of a dealer's part."""
    return PUBLIC_SIZE + DIGEST_BYTES * holders


def challenge(crs_seed: bytes, part_digests: Sequence[bytes]) -> bytes:
    """What all dealers committed to (SHA-256 of each part, in holders' order), as one seed: nobody knows it before all have committed."""
    return hashlib.sha256(b"".join((b"consortium dealing", crs_seed, *part_digests))).digest()


def prove(secret: bytes, *, challenge: bytes, dealer: int, holders: int, threshold: int) -> bytes:
    """The dealer's proof z: REPETITIONS rows of `threshold` little-endian words. Run by every hospital. Raises KeyMaterialError."""
    coefficients, masks = _polynomials(parse_secret(secret), dealer=dealer, holders=holders, threshold=threshold)
    rows = [
        [(mask + _inner(weights, coefficient)) % DATA_MODULUS for mask, coefficient in zip(row, coefficients, strict=True)]
        for row, weights in zip(masks, _weights(challenge, dealer), strict=True)
    ]
    return np.array(rows, dtype="<u8").tobytes()


def check_share(share: bytes, *, part: Part, proof: bytes, challenge: bytes, dealer: int, index: int, threshold: int) -> None:
    """Raise FalseShareError unless the share that `dealer` dealt to `index` is the one it committed to and lies on its polynomial."""
    holders = len(part.share_digests)
    if hashlib.sha256(share).digest() != part.share_digests[index - 1]:
        raise FalseShareError(f"the share that holder {dealer} dealt to holder {index} is not the one it committed to")
    try:
        parsed = parse_share(share)
        rows = _parse_proof(proof, threshold=threshold)
    except KeyMaterialError as error:
        raise FalseShareError(f"holder {dealer} dealt what no share or proof is: {error}") from error
    if (parsed.dealer, parsed.index, parsed.threshold, parsed.holders) != (dealer, index, threshold, holders):
        raise FalseShareError(f"holder {dealer} dealt to holder {index} a share that names another dealer, holder or threshold")
    for row, mask, weights in zip(rows, parsed.masks, _weights(challenge, dealer), strict=True):
        if _value_at(row, index) != (mask + _inner(weights, parsed.value)) % DATA_MODULUS:
            raise FalseShareError(f"the share that holder {dealer} dealt to holder {index} does not lie on the polynomial it proved")


def _polynomials(own: Secret, *, dealer: int, holders: int, threshold: int) -> tuple[Residues, list[list[int]]]:
    """f as coefficients (threshold, DEGREE), and the REPETITIONS masks r of `threshold` coefficients each."""
    check_sharing(holders=holders, threshold=threshold)
    if not 1 <= dealer <= holders:
        raise KeyMaterialError(f"holder {dealer} deals, there are {holders}")
    stream = KeyStream(own.seed, b"sharing", own.crs_seed, bytes([dealer, holders, threshold]))
    key = data_ring().evaluate(data_ring().lift(own.key()))
    coefficients = polynomial(key, data_ring(), threshold=threshold, stream=stream)
    return coefficients, [stream.uniform(threshold, DATA_MODULUS).tolist() for _ in range(REPETITIONS)]


def _weights(challenge: bytes, dealer: int) -> Residues:
    stream = KeyStream(challenge, b"dealing", bytes([dealer]))
    return stream.uniform(REPETITIONS * DEGREE, DATA_MODULUS).reshape(REPETITIONS, DEGREE)


def _inner(weights: Residues, vector: Residues) -> int:
    products: list[int] = data_ring().multiply(vector, weights).tolist()
    return sum(products) % DATA_MODULUS


def _value_at(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % DATA_MODULUS
    return value


def _parse_proof(proof: bytes, *, threshold: int) -> list[list[int]]:
    if len(proof) != proof_size(threshold):
        raise KeyMaterialError(f"a proof for threshold {threshold} has {proof_size(threshold)} bytes, got {len(proof)}")
    rows: list[list[int]] = np.frombuffer(proof, dtype="<u8").reshape(REPETITIONS, threshold).tolist()
    if max(map(max, rows)) >= DATA_MODULUS:
        raise KeyMaterialError("a residue of the proof is not below the modulus")
    return rows


def proof_size(threshold: int) -> int:
    """Bytes of a dealer's proof."""
    return REPETITIONS * threshold * _RESIDUE_BYTES
