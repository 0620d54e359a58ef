"""Weighted draws from a seed that nobody could choose: same seed, same result, on every peer."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from fabric import canonical
from fabric.contract.trust import S


class Stream:
    """Uniform integers from SHA-256 in counter mode. `purpose` separates draws that share a seed."""

    def __init__(self, seed: str, purpose: str) -> None:
        self._prefix = f"{purpose}\x00{seed}\x00".encode()
        self._counter = 0

    def below(self, limit: int) -> int:
        """Uniform in [0, limit), limit at most 2^256. Rejection, not remainder: no value is favoured."""
        largest = (1 << 256) // limit * limit
        while True:
            block = hashlib.sha256(self._prefix + self._counter.to_bytes(8, "big")).digest()
            self._counter += 1
            value = int.from_bytes(block, "big")
            if value < largest:
                return value % limit


def seed_of(content: Mapping[str, Any]) -> str:
    """Hex SHA-256 of canonical JSON: how every seed is derived."""
    return hashlib.sha256(canonical.dumps(content)).hexdigest()


def stake_weight(trust_ppm: int, bond_micro: int) -> int:
    """(T + S/10)·bond: a newcomer counts a tenth of full trust, a hospital without bond nothing."""
    return (trust_ppm + S // 10) * bond_micro


def capped(weights: Mapping[str, int]) -> dict[str, int]:
    """Cut the largest weights so that nobody holds more than twice the equal share of what remains.

    Cutting at twice the mean of the uncut weights would not do: one huge weight lifts that mean. With the k largest cut
    to c, c = 2·(k·c + rest)/n, so c = 2·rest/(n - 2k); the smallest k whose next weight is not above c is the answer.
    """
    ordered = sorted(weights.values(), reverse=True)
    count = len(ordered)
    for cut in range((count + 1) // 2):
        cap = 2 * sum(ordered[cut:]) // (count - 2 * cut)
        if ordered[cut] <= cap:
            return {mspid: min(value, cap) for mspid, value in weights.items()}
    return dict(weights)


def draw(weights: Mapping[str, int], count: int, stream: Stream) -> list[str]:
    """`count` distinct names in the order drawn, each draw in proportion to the weights left; equal chances once those are 0."""
    left = dict(sorted(weights.items()))
    drawn: list[str] = []
    while left and len(drawn) < count:
        name = _one(left, stream)
        drawn.append(name)
        del left[name]
    return drawn


def _one(weights: Mapping[str, int], stream: Stream) -> str:
    total = sum(weights.values())
    shares = weights if total else dict.fromkeys(weights, 1)
    point = stream.below(total or len(weights))
    for name, share in shares.items():
        if point < share:
            return name
        point -= share
    raise AssertionError("a point below the total lies in some share")


def shuffled(names: Sequence[str], stream: Stream) -> list[str]:
    """A uniform permutation (Fisher and Yates)."""
    result = list(names)
    for last in range(len(result) - 1, 0, -1):
        other = stream.below(last + 1)
        result[last], result[other] = result[other], result[last]
    return result
