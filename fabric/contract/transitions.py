"""`advance`: perform the one transition that is due. Whoever calls, the outcome is the same, so any participant may."""

from collections.abc import Callable
from typing import Any

from fabric.contract import ceremony, clock, false_shares, key_wear, standing
from fabric.contract.caller import Call
from fabric.contract.election import seed_of
from fabric.contract.errors import ContractError
from fabric.contract.groups import with_suspects_apart
from fabric.contract.phases import enter, present
from fabric.contract.records import FailedQuorum, RoundRecord, TaskState, TaskTerms
from fabric.contract.registry import organisation, roster
from fabric.contract.round_roots import write_root
from fabric.contract.settlement import settle
from fabric.contract.slashing import in_good_standing
from fabric.contract.sums import NO_AGGREGATOR, next_aggregator, shared
from fabric.contract.tasks import OVER, TaskArgument, abandon, asked, decision_of, progress_of, round_of, terms_of

Result = dict[str, Any]


def advance(call: Call, argument: TaskArgument) -> Result:
    terms, progress = terms_of(call.state, argument.task_id), progress_of(call.state, argument.task_id)
    if progress["phase"] in OVER:
        raise ContractError("WRONG_PHASE", f"task {argument.task_id} is {progress['phase']}; there is nothing to advance")
    _check_caller(call, terms, progress)
    result = _advance_round(call, terms, progress) if progress["phase"] == "rounds" else _advance_task(call, terms, progress)
    if result is None:
        raise ContractError("NOT_DUE", f"nothing is due in task {argument.task_id}: hospitals are still expected, and time is not up")
    return result


def _check_caller(call: Call, terms: TaskTerms, progress: TaskState) -> None:
    concerned = progress["participants"] or roster(call.state)["hospital"]
    if call.mspid != terms["organisation"] and call.mspid not in concerned:
        raise ContractError("NOT_A_PARTICIPANT", f"{call.mspid} has no part in task {terms['task_id']}; its participants advance it")


def _advance_task(call: Call, terms: TaskTerms, progress: TaskState) -> Result | None:
    late = clock.elapsed(call.state, progress["clock"]) >= terms["heartbeat_limit"]
    if progress["phase"] == "proposed":
        return _advance_proposed(call, terms, progress, late=late)
    if progress["phase"] == "keys_commit":
        return ceremony.advance_commit(call, terms, progress, late=late)
    return ceremony.advance_share(call, terms, progress, late=late)


def _advance_proposed(call: Call, terms: TaskTerms, progress: TaskState, *, late: bool) -> Result | None:
    decisions = {mspid: decision_of(call.state, terms["task_id"], mspid) for mspid in in_good_standing(call.state, asked(progress))}
    approved = [mspid for mspid, decision in decisions.items() if decision is not None and decision["approved"]]
    undecided = [mspid for mspid, decision in decisions.items() if decision is None and not organisation(call.state, mspid)["leave"]]
    if len(approved) >= terms["min_hospitals"]:
        return ceremony.begin(call, terms, progress, approved) if late or not undecided else None
    if undecided:
        return None
    return abandon(call, terms, progress, f"{len(approved)} hospitals approved and the task needs {terms['min_hospitals']}")


def _advance_round(call: Call, terms: TaskTerms, progress: TaskState) -> Result | None:
    record = round_of(call.state, terms["task_id"], progress["round"])
    late = clock.elapsed(call.state, record["clock"]) >= terms["heartbeat_limit"]
    step: Callable[..., Result | None] = _ROUND_STEPS[record["phase"]]
    return step(call, terms, progress, record, late=late)


def _close_commits(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, *, late: bool) -> Result | None:
    committed = present(call, "commit", record, record["participants"])
    missing = [mspid for mspid in record["participants"] if mspid not in committed]
    if missing and (not late or _any_trains(call, terms, record, missing)):
        return None
    record["committed"] = committed
    if len(committed) < _fewest(terms, progress):
        return settle(call, terms, progress, record, failure="too few hospitals committed in time")
    write_root(call.state, record, terms["digest"])
    return enter(call, record, "reveal", committed)


def _any_trains(call: Call, terms: TaskTerms, record: RoundRecord, missing: list[str]) -> bool:
    """Whether one of those that have not committed is at work on its update: it has paid for it, and its heart beats on.

    Training takes as long as the data and the machine make it; only a hospital that is gone is gone after `heartbeat_limit`.
    """
    passed = clock.elapsed(call.state, record["clock"])
    if passed >= terms["training_limit"]:
        return False
    paid = present(call, "debit", record, missing)
    return any(passed - clock.counted(call.state, record["clock"], mspid) < terms["heartbeat_limit"] for mspid in paid)


def _close_reveals(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, *, late: bool) -> Result | None:
    """The reveals, which nobody could choose once committed, draw the groups and the quorum."""
    revealed = present(call, "reveal", record, record["committed"])
    if len(revealed) < len(record["committed"]) and not late:
        return None
    record["revealed"] = revealed
    if len(revealed) < _fewest(terms, progress):
        return settle(call, terms, progress, record, failure="too few hospitals revealed in time")
    record["reveal_seed"] = _reveal_seed(call, record)
    record["groups"] = with_suspects_apart(revealed, set(record["quarantined"]), terms["group_size"], record["reveal_seed"])
    record["quorum"] = standing.elect_quorum(
        _weights(record, revealed), [], progress["threshold"], record["reveal_seed"], record["attempt"]
    )
    record["committee"] = [mspid for mspid in record["committee"] if mspid in revealed]
    return enter(call, record, "sum", revealed)


def _fewest(terms: TaskTerms, progress: TaskState) -> int:
    """The privacy of a sum needs min_hospitals, its decryption the key's threshold."""
    return max(terms["min_hospitals"], progress["threshold"])


def _reveal_seed(call: Call, record: RoundRecord) -> str:
    place = (record["task_id"], record["round"])
    reveals = [call.state.get("reveal", *place, mspid) for mspid in record["revealed"]]
    opened = [[reveal["mspid"], reveal["nonce"], reveal["ciphertext_digest"]] for reveal in reveals]
    return seed_of({"purpose": "reveals", "seed": record["seed"], "reveals": opened})


def _weights(record: RoundRecord, members: list[str]) -> dict[str, int]:
    return {mspid: record["weights"][mspid] for mspid in members}


def _replace_aggregator(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, *, late: bool) -> Result | None:
    if not late:
        return None
    _blame(record, [record["aggregators"][record["turn"]]])
    return next_aggregator(call, record)


def _blame(record: RoundRecord, silent: list[str]) -> None:
    record["silent"] = sorted({*record["silent"], *silent})


def _repair_decryption(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, *, late: bool) -> Result | None:
    """False shares: another quorum. Late with every share there: the aggregator is silent. With none: it hands out nothing. With some:
    the others are silent."""
    failed, culprit = false_shares.objected(call, record)
    if failed:
        return _replace_false(call, terms, progress, record, culprit)
    if not late:
        return None
    sharing = shared(call, record)
    if len(sharing) == len(record["quorum"]):
        return _next_combiner(call, terms, progress, record)
    if not sharing:
        return _replace_aggregator(call, terms, progress, record, late=late)
    return _replace_quorum(call, terms, progress, record, sharing)


def _next_combiner(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord) -> Result:
    """The sums and shares are good: the next aggregator only has to combine them."""
    _blame(record, [record["aggregators"][record["turn"]]])
    if record["turn"] + 1 >= len(record["aggregators"]):
        return settle(call, terms, progress, record, lost=NO_AGGREGATOR)
    record["turn"] += 1
    return enter(call, record, "decrypt", record["revealed"])


def _replace_false(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, culprit: str) -> Result:
    record["failed_quorums"] = [*record["failed_quorums"], FailedQuorum(attempt=record["attempt"], quorum=record["quorum"])]
    if culprit:
        _blame(record, [culprit])
    left_out = culprit or false_shares.next_left_out(record["failed_quorums"])
    if not left_out:
        return settle(call, terms, progress, record, lost="no quorum's decryption shares open the sums")
    able = [mspid for mspid in record["revealed"] if mspid not in record["silent"] and mspid != left_out]
    kept = [mspid for mspid in record["failed_quorums"][0]["quorum"] if mspid in able]
    return _open_again(call, terms, progress, record, able, kept)


def _replace_quorum(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, sharing: list[str]) -> Result:
    _blame(record, [mspid for mspid in record["quorum"] if mspid not in sharing])
    able = [mspid for mspid in record["revealed"] if mspid not in record["silent"] or mspid in sharing]
    return _open_again(call, terms, progress, record, able, sharing)


def _open_again(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, able: list[str], kept: list[str]) -> Result:
    """By a quorum of those who are able, among them those `kept`: with fresh flooding, and counted."""
    if not key_wear.bears(terms, progress, record, len(record["sums"])):
        return settle(call, terms, progress, record, lost=key_wear.WORN)
    if len(able) < progress["threshold"]:
        return settle(call, terms, progress, record, lost="too few key holders are left to decrypt")
    record["attempt"] += 1
    record["replacements"] += 1
    record["quorum"] = standing.elect_quorum(_weights(record, able), kept, progress["threshold"], record["reveal_seed"], record["attempt"])
    record["decryptions"] += len(record["sums"])
    return enter(call, record, "decrypt", record["revealed"])


def _close_score_commits(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, *, late: bool) -> Result | None:
    scorers = present(call, "score_commit", record, record["committee"])
    if len(scorers) < len(record["committee"]) and not late:
        return None
    record["scorers"] = scorers
    if not scorers:
        return settle(call, terms, progress, record)
    return enter(call, record, "score_reveal", record["revealed"])


def _close_score_reveals(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, *, late: bool) -> Result | None:
    revealed = present(call, "score_reveal", record, record["scorers"])
    if len(revealed) < len(record["scorers"]) and not late:
        return None
    return settle(call, terms, progress, record)


_ROUND_STEPS: dict[str, Callable[..., Result | None]] = {
    "commit": _close_commits,
    "reveal": _close_reveals,
    "sum": _replace_aggregator,
    "decrypt": _repair_decryption,
    "score_commit": _close_score_commits,
    "score_reveal": _close_score_reveals,
}
