"""Random disjoint groups, whose sums alone are ever decrypted."""

from collections.abc import Sequence, Set

from fabric.contract.election import Stream, shuffled

SMALLEST_SUM = 3  # with two members, each could subtract its own update and hold the other's


def with_suspects_apart(members: Sequence[str], suspects: Set[str], group_size: int, seed: str) -> list[list[str]]:
    """The partition of a round: who is quarantined in groups of its own, where both sides are enough for one, and else among all.

    Apart, suspects are measured without harm to anybody, and no honest hospital is put beside several of them, who could subtract
    their own updates from the sum.
    """
    apart = [mspid for mspid in members if mspid in suspects]
    others = [mspid for mspid in members if mspid not in suspects]
    if min(len(apart), len(others)) < group_size:
        return partition(members, group_size, seed)
    return [*partition(others, group_size, seed), *partition(apart, group_size, seed)]


def count_for(members: int, group_size: int) -> int:
    """How many groups so many hospitals form."""
    return max(1, members // group_size)


def partition(members: Sequence[str], group_size: int, seed: str) -> list[list[str]]:
    """floor(n/group_size) groups (one of all where there are fewer), sizes differing by at most one, each sorted."""
    count = count_for(len(members), group_size)
    order = shuffled(sorted(members), Stream(seed, "groups"))
    smaller, larger = divmod(len(order), count)
    groups: list[list[str]] = []
    start = 0
    for number in range(count):
        size = smaller + (1 if number < larger else 0)
        groups.append(sorted(order[start : start + size]))
        start += size
    return groups
