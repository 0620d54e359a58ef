"""A joint key with all its holders, for tests."""

import hashlib
from dataclasses import dataclass
from itertools import count

from privacy import dealing, threshold
from privacy.randomness import Entropy


@dataclass(frozen=True)
class Ceremony:
    """Everything hospitals 1..holders made; `shares[i][j]` went from hospital i + 1 to holder j + 1."""

    crs_seed: bytes
    contributions: list[threshold.KeyContribution]
    dealings: list[dealing.Dealing]
    challenge: bytes
    proofs: list[bytes]
    public_key: bytes
    shares: list[list[bytes]]
    holder_keys: list[bytes]


def seeded_entropy(name: str) -> Entropy:
    """Reproducible bytes in place of the system's."""
    numbers = count()
    return lambda size: hashlib.shake_256(f"{name} {next(numbers)}".encode()).digest(size)


def ceremony(*, holders: int, threshold_size: int, name: str = "test") -> Ceremony:
    """Run the key generation of all hospitals, reproducibly for each `name`."""
    entropy = seeded_entropy(name)
    crs_seed = entropy(32)
    contributions = [threshold.generate(crs_seed, entropy=entropy) for _ in range(holders)]
    everybody = range(1, holders + 1)
    dealings = [
        dealing.deal(made.secret, public_share=made.public_share, dealer=i, holders=holders, threshold=threshold_size)
        for i, made in zip(everybody, contributions, strict=True)
    ]
    challenge = dealing.challenge(crs_seed, [hashlib.sha256(dealt.part).digest() for dealt in dealings])
    proofs = [
        dealing.prove(made.secret, challenge=challenge, dealer=i, holders=holders, threshold=threshold_size)
        for i, made in zip(everybody, contributions, strict=True)
    ]
    public_key = threshold.combine_public(crs_seed, [made.public_share for made in contributions], proofs=proofs)
    shares = [dealt.shares for dealt in dealings]
    holder_keys = [threshold.combine_shares([dealt[i] for dealt in shares], dealt=shares[i], public_key=public_key) for i in range(holders)]
    return Ceremony(crs_seed, contributions, dealings, challenge, proofs, public_key, shares, holder_keys)


def decrypt(made: Ceremony, ciphertext: bytes, quorum: list[int], *, members: int) -> dict[int, bytes]:
    """The partial decryptions of a quorum."""
    return {
        j: threshold.partial_decrypt(made.holder_keys[j - 1], index=j, quorum=quorum, ciphertext=ciphertext, members=members)
        for j in quorum
    }
