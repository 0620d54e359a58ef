"""Time on the ledger: heartbeats, not clocks. A phase is late when a quorum of hospitals have counted enough of them."""

from collections.abc import Iterable, Mapping

from fabric.contract.state import State

_MAJORITY_SLOWDOWN = 4


def quorum(members: int) -> int:
    """ceil(2n/3): how many hospitals must agree, here and to decrypt."""
    return -(-2 * members // 3)


def heartbeats(state: State, mspid: str) -> int:
    record = state.get("heartbeat", mspid)
    return 0 if record is None else int(record["count"])


def start(state: State, members: Iterable[str]) -> dict[str, int]:
    """The counts at the start of a phase."""
    return {mspid: heartbeats(state, mspid) for mspid in members}


def elapsed(state: State, clock: Mapping[str, int]) -> int:
    """Heartbeats since the start that a quorum has counted: fewer than a quorum cannot hurry the others by beating fast.

    A bare majority, which could endorse any transaction anyway, counts too, but four times slower: where more than a third
    of the hospitals are gone, a task must still come to its end.
    """
    if not clock:
        return 0
    return agreed([counted(state, clock, mspid) for mspid in clock])


def counted(state: State, clock: Mapping[str, int], mspid: str) -> int:
    """Heartbeats of one of the clock's hospitals since its start."""
    return heartbeats(state, mspid) - clock[mspid]


def agreed(counts: Iterable[int]) -> int:
    """The t-th largest count, t = ceil(2n/3), or a quarter of what a majority reached, if that is more. `counts`: not empty."""
    ordered = sorted(counts, reverse=True)
    majority = len(ordered) // 2
    return max(ordered[quorum(len(ordered)) - 1], ordered[majority] // _MAJORITY_SLOWDOWN)
