"""A joint key with all its holders, for tests."""

import hashlib
from dataclasses import dataclass
from itertools import count

from privacy import threshold
from privacy.randomness import Entropy


@dataclass(frozen=True)
class Ceremony:
    """Everything hospitals 1..holders made; `shares[i][j]` went from hospital i + 1 to holder j + 1."""

    crs_seed: bytes
    contributions: list[threshold.KeyContribution]
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
    public_key = threshold.combine_public(crs_seed, [contribution.public_share for contribution in contributions])
    shares = [threshold.deal(contribution.secret, holders=holders, threshold=threshold_size) for contribution in contributions]
    holder_keys = [threshold.combine_shares([dealt[i] for dealt in shares], public_key=public_key) for i in range(holders)]
    return Ceremony(crs_seed, contributions, public_key, shares, holder_keys)


def decrypt(made: Ceremony, ciphertext: bytes, quorum: list[int]) -> dict[int, bytes]:
    """The partial decryptions of a quorum."""
    return {j: threshold.partial_decrypt(made.holder_keys[j - 1], index=j, quorum=quorum, ciphertext=ciphertext) for j in quorum}
