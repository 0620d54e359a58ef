"""Random disjoint groups, whose sums alone are ever decrypted."""

from collections.abc import Sequence

from fabric.contract.election import Stream, shuffled

SMALLEST_SUM = 3  # with two members, each could subtract its own update and hold the other's


def partition(members: Sequence[str], group_size: int, seed: str) -> list[list[str]]:
    """floor(n/group_size) groups (one of all where there are fewer), sizes differing by at most one, each sorted."""
    count = max(1, len(members) // group_size)
    order = shuffled(sorted(members), Stream(seed, "groups"))
    smaller, larger = divmod(len(order), count)
    groups: list[list[str]] = []
    start = 0
    for number in range(count):
        size = smaller + (1 if number < larger else 0)
        groups.append(sorted(order[start : start + size]))
        start += size
    return groups
