"""Opening a round: who takes part, who aggregates, who validates."""

from fabric.contract import clock, standing
from fabric.contract.election import Stream, draw
from fabric.contract.records import NextRound, RoundRecord, TaskState, TaskTerms
from fabric.contract.registry import organisation
from fabric.contract.slashing import ejected
from fabric.contract.state import State
from fabric.contract.tasks import save_round

LARGEST_COMMITTEE = 5


def open_round(state: State, terms: TaskTerms, progress: TaskState, number: int, seed: str) -> NextRound | None:
    """Write the round's record and update `progress` (the caller saves it); None where too few hospitals are left."""
    present, absent = _sorted_out(state, progress, number)
    if len(present) < max(terms["min_hospitals"], progress["threshold"]):
        return None
    weights = standing.weights(state, present)
    aggregators = standing.elect_aggregators(state, weights, seed, most=len(present))
    if not aggregators:
        return None
    suspects = standing.quarantined(state, present)
    judges = {mspid: weight for mspid, weight in weights.items() if mspid not in suspects} or weights
    committee = sorted(draw(judges, min(len(judges), LARGEST_COMMITTEE), Stream(seed, "committee")))
    progress["round"] = number
    progress["absent"] = {mspid: since for mspid, since in progress["absent"].items() if mspid not in present}
    counts = clock.start(state, present)
    save_round(state, _record(terms, number, seed, present, absent, suspects, weights, aggregators, committee, counts))
    return NextRound(round=number, seed=seed, participants=present, aggregators=aggregators, committee=committee)


def _sorted_out(state: State, progress: TaskState, number: int) -> tuple[list[str], list[str]]:
    """Key holders that take part, and those that should but were silent. Neither: who is on leave, was ejected, or approved no further."""
    present: list[str] = []
    absent: list[str] = []
    for mspid in progress["participants"]:
        decision = state.get("decision", progress["task_id"], mspid)
        if organisation(state, mspid)["leave"] or decision["last_round"] < number or ejected(state, mspid):
            continue
        (absent if _still_absent(state, progress, mspid) else present).append(mspid)
    return present, absent


def _still_absent(state: State, progress: TaskState, mspid: str) -> bool:
    since = progress["absent"].get(mspid)
    if since is None:
        return False
    returned = state.get("rejoin", progress["task_id"], mspid)
    return returned is None or returned["round"] < since


def _record(
    terms: TaskTerms,
    number: int,
    seed: str,
    present: list[str],
    absent: list[str],
    suspects: list[str],
    weights: dict[str, int],
    aggregators: list[str],
    committee: list[str],
    counts: dict[str, int],
) -> RoundRecord:
    return RoundRecord(
        task_id=terms["task_id"],
        round=number,
        phase="commit",
        attempt=1,
        turn=0,
        participants=present,
        absent=absent,
        quarantined=suspects,
        failed_quorums=[],
        committed=[],
        revealed=[],
        scorers=[],
        aggregators=aggregators,
        committee=committee,
        quorum=[],
        groups=[],
        seed=seed,
        reveal_seed="",
        weights=weights,
        clock=counts,
        sums=[],
        pinned={},
        candidate=None,
        objections=[],
        silent=[],
        replacements=0,
        decryptions=0,
    )
