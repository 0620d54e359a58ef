"""A CKKS key that no hospital holds: made together without a dealer, used by any `threshold` of the holders.

Key generation and flooded decryption follow Mouchet, Troncoso-Pastoriza, Bossuat and Hubaux, "Multiparty homomorphic encryption from
ring-learning-with-errors" (PETS 2021); the threshold access structure follows Mouchet, Bertrand and Hubaux, "An efficient threshold
access-structure for RLWE-based multiparty homomorphic encryption" (Journal of Cryptology 2023), as in Lattigo. Who runs what:

1. Every hospital: `generate`, publishes the public share (commit before reveal, or the last to speak chooses the joint key).
2. Every hospital: `dealing.deal`, one sealed share for each holder, and, once all have committed to theirs, `dealing.prove`.
3. Every holder: `dealing.check_share` of what it was dealt, `combine_public` over all public shares, `combine_shares`.
4. Every holder of an elected quorum: `partial_decrypt` of a sum it recomputed itself; anybody: `Fusion` or `fuse`.

Fewer than `threshold` holders learn nothing but opened sums, under flooding that privacy.flooding measures; whatever holders publish for
one quorum adds up to nothing but the sum (see `partial_decrypt`). A dealer of false shares is found by who gets them. A holder that sends a
false partial decryption makes fusing fail, but does not show who it was. No outside review has been made.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.ciphertext import parse
from privacy.encoding import Normalisation, decode
from privacy.flooding import flooding_sigma, noise_bound
from privacy.gaussian import table_for
from privacy.key_shares import HolderKey, Secret, Share, parse_holder_key, parse_share
from privacy.parameters import DATA_MODULUS, DEGREE, DIGEST_BYTES, ERROR_SIGMA, SEED_BYTES, VALUES_PER_CHUNK
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
from privacy.shamir import lagrange_at_zero

__all__ = [
    "BoundError",
    "DecryptionError",
    "Fusion",
    "KeyContribution",
    "KeyMaterialError",
    "check_partial",
    "check_public_share",
    "combine_public",
    "combine_shares",
    "fuse",
    "generate",
    "partial_decrypt",
    "partial_size",
]

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


def combine_public(crs_seed: bytes, public_shares: Sequence[bytes], *, proofs: Sequence[bytes]) -> bytes:
    """The joint public key of `public_shares` and of `proofs` (`dealing.prove`), both in holders' order. Run by every hospital.

    All confirm its `key_digest`: whoever was shown another proof than the others confirms another key. Raises KeyMaterialError for fewer
    than two shares, the same share twice, a malformed one, and shares that cancel out.
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
    dealings = hashlib.sha256(b"".join(hashlib.sha256(proof).digest() for proof in proofs)).digest()
    return write_public_key(crs_seed, total, dealings=dealings)


def combine_shares(received: Sequence[bytes], *, dealt: Sequence[bytes], public_key: bytes) -> bytes:
    """This holder's key for `public_key`: the sum of the shares that all hospitals, itself included, dealt to it.

    `received`: one share of each dealer, checked; `dealt`: its own to each holder; both in holders' order. Raises KeyMaterialError for
    malformed shares and for such of other sharings, dealers or holders.
    """
    shares = [parse_share(share) for share in received]
    kinds = {(share.index, share.threshold, share.holders) for share in shares}
    if len(kinds) != 1:
        raise KeyMaterialError(
            f"shares of one sharing and holder are combined, not of several (index, threshold, holders): {sorted(kinds)}"
        )
    ((index, threshold, holders),) = kinds
    if [share.dealer for share in shares] != list(range(1, holders + 1)):
        raise KeyMaterialError(f"holder {index} needs one share of each of {holders} hospitals, in their order, got {len(shares)}")
    total = np.zeros(DEGREE, dtype=np.uint64)
    for share in shares:
        data_ring().add_into(total, share.value)
    return HolderKey(index, threshold, holders, key_digest(public_key), _pair_keys(index, shares, dealt), total).to_bytes()


def partial_decrypt(holder_key: bytes, *, index: int, quorum: Sequence[int], ciphertext: bytes, members: int) -> bytes:
    """This holder's part of the decryption of a sum of at most `members` ciphertexts: lambda * S * c1 + flooding + a share of zero.

    The flooding (privacy.flooding) is drawn for this ciphertext and quorum from a key stream that only the holder key gives: whoever asks
    again gets the same bytes, not a second sample to average with the first. The shares of zero of a quorum, from keys that each pair of
    holders has in common, cancel in their sum and make everything else about the parts uniform. Without them, two quorums' parts of one
    ciphertext, whose Lagrange coefficients are small fractions of each other, would give the flooding away. Raises KeyMaterialError (key),
    CiphertextError (malformed, or another key's), DecryptionError (a quorum that is not exactly `threshold` holders of the key, this one
    among them).
    """
    key = parse_holder_key(holder_key)
    _check_role(key, index, quorum)
    ring, parsed = data_ring(), parse(ciphertext, key_digest=key.public_key_digest)
    digest, mask = hashlib.sha256(ciphertext).digest(), quorum_mask(quorum)
    weight = ring.scale(key.value, lagrange_at_zero(index, quorum, ring.modulus))
    flooding = KeyStream(hashlib.sha256(holder_key).digest(), b"flooding", digest, mask)
    table = table_for(flooding_sigma(quorum=len(quorum), members=members))
    zeros = _zero_shares(key, quorum, digest, mask)
    result = ring.multiply(parsed.c1, weight)
    for start in range(0, len(result), _BLOCK):
        block = result[start : start + _BLOCK]
        noise = flooding.gaussian(block.size, table).reshape(block.shape)
        ring.add_into(block, ring.evaluate(ring.lift(noise)))
        for stream, positive in zeros:
            stream.add_uniform(block, DATA_MODULUS, negated=not positive)
    return write_partial(result, index=index, quorum=quorum, ciphertext_digest=digest, count=parsed.count)


def check_partial(partial: bytes, *, index: int, quorum: Sequence[int], ciphertext_digest: bytes, count: int) -> None:
    """Raise DecryptionError unless it is holder `index`'s well-formed partial decryption for this quorum and ciphertext (SHA-256).

    Whether the polynomial inside is right shows only in `fuse`.
    """
    parse_partial(partial, index=index, quorum=quorum, ciphertext_digest=ciphertext_digest, count=count)


class Fusion:
    """A sum being opened from the parts of its decryption, which are taken one at a time: memory holds the sum and one part."""

    def __init__(self, ciphertext: bytes, *, quorum: Sequence[int], count: int) -> None:
        """`count`: float64 values of the sum. Raises CiphertextError, and DecryptionError for a senseless quorum."""
        quorum_mask(quorum)
        self._quorum, self._count, self._missing = sorted(quorum), count, set(quorum)
        self._digest = hashlib.sha256(ciphertext).digest()
        self._total = parse(ciphertext, count=count).c0

    def add(self, index: int, partial: bytes | memoryview) -> None:
        """Add holder `index`'s part, checked; raises DecryptionError, also for a holder whose part is not expected or was added before."""
        if index not in self._missing:
            raise DecryptionError(
                f"holder {index}'s part is not missing: partial decryptions of holders {self._quorum} are needed, once each"
            )
        term = parse_partial(partial, index=index, quorum=self._quorum, ciphertext_digest=self._digest, count=self._count)
        data_ring().add_into(self._total, term)
        self._missing.remove(index)

    def values(self, *, bound: float, members: int) -> NDArray[np.float64]:
        """The sum, in the unit of `bound`; `bound` and `members` as at encryption.

        No value is further off than `flooding.noise_bound`. Raises DecryptionError (a part is missing; or the result is noise: too few
        holders, a false part, an altered sum), BoundError, and ValueError for a senseless `bound` or `members`.
        """
        normalisation = Normalisation(bound=bound, members=members)
        if self._missing:
            raise DecryptionError(f"partial decryptions of holders {self._quorum} are needed, those of {sorted(self._missing)} are missing")
        noise = noise_bound(quorum=len(self._quorum), members=members)
        values = _decode(self._total, self._count, noise) / normalisation.factor
        limit = normalisation.sum_bound + noise / normalisation.factor
        beyond = np.flatnonzero(np.abs(values) > limit)
        if beyond.size:
            worst = values[beyond[0]]
            raise BoundError(f"value {beyond[0]} of the sum is {worst:.6g}, beyond the {limit:.6g} that {members} hospitals can reach")
        return values


def fuse(
    ciphertext: bytes, partials: Mapping[int, bytes], *, quorum: Sequence[int], count: int, bound: float, members: int
) -> NDArray[np.float64]:
    """The sum of a ciphertext and its parts by holder, one for each of the quorum: `Fusion` for parts that are all there.

    Anybody may run it; the result depends on the bytes alone.
    """
    fusion = Fusion(ciphertext, quorum=quorum, count=count)
    for index, partial in partials.items():
        fusion.add(index, partial)
    return fusion.values(bound=bound, members=members)


def _public_share(crs_seed: bytes, public_share: bytes) -> Residues:
    share = parse_public_share(public_share)
    if share.crs_seed != crs_seed:
        raise KeyMaterialError("the public share was made for another common reference string")
    return share.b


def _public_polynomials(secret: Secret) -> Residues:
    """b = -(a s + e) for each prime."""
    key = secret.key()
    error = KeyStream(secret.seed, b"key error", secret.crs_seed).gaussian(DEGREE, table_for(ERROR_SIGMA))
    rows = []
    for ring, a in zip(key_rings(), common_polynomial(secret.crs_seed), strict=True):
        product = ring.multiply(ring.evaluate(ring.lift(key)), a)
        rows.append(ring.negate(ring.add(product, ring.evaluate(ring.lift(error)))))
    return np.stack(rows)


def _pair_keys(index: int, received: Sequence[Share], dealt: Sequence[bytes]) -> tuple[bytes, ...]:
    """What `index` and each other holder have in common, of the seeds that both dealt to each other; zeros for itself."""
    keys: list[bytes] = []
    for theirs, data in zip(received, dealt, strict=True):
        mine = parse_share(data)
        if (mine.dealer, mine.index) != (index, theirs.dealer):
            raise KeyMaterialError(f"share {len(keys) + 1} that holder {index} dealt is not its own to holder {theirs.dealer}")
        seeds = (mine.pair_seed, theirs.pair_seed) if index < theirs.dealer else (theirs.pair_seed, mine.pair_seed)
        keys.append(bytes(DIGEST_BYTES) if index == theirs.dealer else hashlib.sha256(b"".join(seeds)).digest())
    return tuple(keys)


def _zero_shares(key: HolderKey, quorum: Sequence[int], digest: bytes, mask: bytes) -> list[tuple[KeyStream, bool]]:
    """For each other member of the quorum the stream both have, and whether this holder adds it or takes it away."""
    others = [index for index in sorted(quorum) if index != key.index]
    return [(KeyStream(key.pair_keys[other - 1], b"share of zero", digest, mask), key.index < other) for other in others]


def _check_role(key: HolderKey, index: int, quorum: Sequence[int]) -> None:
    quorum_mask(quorum)
    if key.index != index:
        raise DecryptionError(f"this is the key of holder {key.index}, not of holder {index}")
    if index not in quorum:
        raise DecryptionError(f"holder {index} is not in the quorum {sorted(quorum)}")
    if len(quorum) != key.threshold or max(quorum) > key.holders:
        raise DecryptionError(f"a quorum of this key is {key.threshold} of holders 1 to {key.holders}, not {sorted(quorum)}")


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
