"""The task's key: hospitals commit to their public key shares, exchange shares off the ledger, and confirm one joint key.

The commitments come first, so that nobody can choose a share that cancels the others'. The joint key's digest, which
nobody could foresee, seeds the first round's election.

Who was dealt a false share accuses the dealer with evidence that all others check (privacy/dealing.py): each then accuses the dealer as
well, or the accuser where the evidence does not hold. Whom a quorum accuses is dropped by name; a dealer of false shares is slashed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fabric.contract import clock, key_wear, normalisation, slashing, standing
from fabric.contract.arguments import Attempt, Digest, Hex32, Mspid, TaskId
from fabric.contract.caller import Call
from fabric.contract.election import seed_of
from fabric.contract.errors import ContractError
from fabric.contract.opening import open_round
from fabric.contract.records import KeyAccusation, KeyConfirmation, KeyShare, Slash, TaskState, TaskTerms
from fabric.contract.tasks import abandon, progress_of, save

MOST_HUBS = 3  # a hub only relays; trying more of them would only delay the drop of a hospital that does not answer


@dataclass(frozen=True)
class CommitKeyShare:
    task_id: TaskId
    attempt: Attempt
    digest: Digest
    sealing_key: Hex32


@dataclass(frozen=True)
class ConfirmKey:
    task_id: TaskId
    attempt: Attempt
    key_digest: Digest


@dataclass(frozen=True)
class AccuseDealer:
    """`accused` dealt a false share, or accused somebody falsely. `evidence`: digest of what the first accuser showed."""

    task_id: TaskId
    attempt: Attempt
    accused: Mspid
    evidence: Digest


def commit_key_share(call: Call, argument: CommitKeyShare) -> dict[str, Any]:
    _participant(call, argument.task_id, argument.attempt, "keys_commit")
    place = (argument.task_id, argument.attempt, call.mspid)
    if call.state.get("key_share", *place) is not None:
        raise ContractError(
            "ALREADY_COMMITTED", f"{call.mspid} has committed a key share for attempt {argument.attempt}; it cannot be changed"
        )
    record = KeyShare(mspid=call.mspid, digest=argument.digest, sealing_key=argument.sealing_key)
    call.state.put("key_share", place, record)
    _announce(call, argument.task_id, "keys_commit", argument.attempt)
    return {"attempt": argument.attempt}


def confirm_key(call: Call, argument: ConfirmKey) -> dict[str, Any]:
    _participant(call, argument.task_id, argument.attempt, "keys_share")
    place = (argument.task_id, argument.attempt, call.mspid)
    if call.state.get("key_confirmation", *place) is not None:
        raise ContractError("ALREADY_COMMITTED", f"{call.mspid} has confirmed a key for attempt {argument.attempt}; it cannot be changed")
    call.state.put("key_confirmation", place, KeyConfirmation(mspid=call.mspid, key_digest=argument.key_digest))
    _announce(call, argument.task_id, "keys_share", argument.attempt)
    return {"attempt": argument.attempt}


def accuse_dealer(call: Call, argument: AccuseDealer) -> dict[str, Any]:
    _participant(call, argument.task_id, argument.attempt, "keys_share")
    if argument.accused == call.mspid or argument.accused not in progress_of(call.state, argument.task_id)["participants"]:
        raise ContractError("BAD_ARGUMENT", f"{argument.accused} deals no shares to {call.mspid}; accuse another holder of the key")
    place = (argument.task_id, argument.attempt, call.mspid)
    if call.state.get("key_accusation", *place) is not None:
        raise ContractError("ALREADY_POSTED", f"{call.mspid} has accused in attempt {argument.attempt} already; it cannot be changed")
    call.state.put("key_accusation", place, KeyAccusation(mspid=call.mspid, accused=argument.accused, evidence=argument.evidence))
    _announce(call, argument.task_id, "keys_share", argument.attempt)
    return {"attempt": argument.attempt}


def _participant(call: Call, task_id: str, attempt: int, phase: str) -> None:
    progress = progress_of(call.state, task_id)
    if progress["phase"] != phase:
        raise ContractError("WRONG_PHASE", f"task {task_id} is in phase {progress['phase']}, not {phase}; look at the task view")
    if attempt != progress["attempt"]:
        raise ContractError("WRONG_ATTEMPT", f"the key ceremony of task {task_id} is at attempt {progress['attempt']}; start again with it")
    if call.mspid not in progress["participants"]:
        raise ContractError("NOT_A_PARTICIPANT", f"{call.mspid} holds no share of this task's key; only hospitals that approved in time do")


def _announce(call: Call, task_id: str, phase: str, attempt: int) -> None:
    call.state.announce("progress", {"task_id": task_id, "round": 0, "phase": phase, "attempt": attempt, "mspid": call.mspid})


def begin(call: Call, terms: TaskTerms, progress: TaskState, participants: list[str], *, slashed: Sequence[Slash] = ()) -> dict[str, Any]:
    """Open an attempt with these hospitals; abandon the task where none of them can be the hub, or their key would wear out."""
    worn = key_wear.worn_out(terms, len(participants), first_round=normalisation.first_round(terms))
    if worn:
        return abandon(call, terms, progress, worn, slashed=slashed)
    seed = seed_of({"purpose": "ceremony", "task_id": terms["task_id"], "digest": terms["digest"], "attempt": progress["attempt"]})
    hubs = standing.elect_aggregators(call.state, standing.weights(call.state, participants), seed, most=MOST_HUBS)
    if not hubs:
        return abandon(call, terms, progress, "no approved hospital's gateway accepts connections", slashed=slashed)
    progress.update({"participants": participants, "threshold": clock.quorum(len(participants)), "aggregators": hubs, "turn": 0})
    return _enter(call, progress, "keys_commit", slashed=slashed)


def _enter(call: Call, progress: TaskState, phase: str, *, slashed: Sequence[Slash] = ()) -> dict[str, Any]:
    progress.update({"phase": phase, "clock": clock.start(call.state, progress["participants"])})
    save(call.state, progress)
    place = {"task_id": progress["task_id"], "round": 0, "phase": phase}
    call.state.announce("phase", {**place, "attempt": progress["attempt"], "turn": progress["turn"], "slashed": list(slashed)})
    return place


def advance_commit(call: Call, terms: TaskTerms, progress: TaskState, *, late: bool) -> dict[str, Any] | None:
    """All committed: exchange shares. Late: try again with those that did. None: not due."""
    committed = _present(call, "key_share", progress)
    if len(committed) == len(progress["participants"]):
        return _enter(call, progress, "keys_share")
    return _retry(call, terms, progress, committed) if late else None


def advance_share(call: Call, terms: TaskTerms, progress: TaskState, *, late: bool) -> dict[str, Any] | None:
    """A quorum accuses one: drop it. All confirmed one key: open round 1. Late: drop the dead, else try the next hub, else drop the silent.
    None: not due."""
    accusations = _accusations(call, progress)
    culprit = _convicted(progress, accusations)
    if culprit:
        return _drop_convicted(call, terms, progress, accusations, culprit)
    place = (progress["task_id"], progress["attempt"])
    confirmed = _present(call, "key_confirmation", progress)
    digests = {call.state.get("key_confirmation", *place, mspid)["key_digest"] for mspid in confirmed}
    if len(digests) > 1:
        return abandon(call, terms, progress, "the hospitals confirmed different keys")
    if len(confirmed) == len(progress["participants"]):
        return _first_round(call, terms, progress, digests.pop())
    return _late_share(call, terms, progress, confirmed) if late else None


def _late_share(call: Call, terms: TaskTerms, progress: TaskState, confirmed: list[str]) -> dict[str, Any]:
    """One hospital that sends no shares keeps all others from confirming, so a missing confirmation alone proves nothing."""
    alive = [
        mspid
        for mspid in progress["participants"]
        if mspid in confirmed or clock.heartbeats(call.state, mspid) > progress["clock"].get(mspid, 0)
    ]
    if len(alive) < len(progress["participants"]):
        return _retry(call, terms, progress, alive)
    if progress["turn"] + 1 < len(progress["aggregators"]):
        progress["turn"] += 1
        return _enter(call, progress, "keys_share")
    if not confirmed:
        return abandon(call, terms, progress, "no hospital could make the joint key with any of the hubs")
    return _retry(call, terms, progress, confirmed)


def _accusations(call: Call, progress: TaskState) -> list[KeyAccusation]:
    place = (progress["task_id"], progress["attempt"])
    return [call.state.get("key_accusation", *place, mspid) for mspid in _present(call, "key_accusation", progress)]


def _convicted(progress: TaskState, accusations: list[KeyAccusation]) -> str:
    """Whom a quorum of the holders accuses, each on the evidence it has; nobody: empty."""
    counts = Counter(accusation["accused"] for accusation in accusations)
    return next((accused for accused, votes in sorted(counts.items()) if votes >= clock.quorum(len(progress["participants"]))), "")


def _drop_convicted(call: Call, terms: TaskTerms, progress: TaskState, accusations: list[KeyAccusation], culprit: str) -> dict[str, Any]:
    """Start again without the culprit. It dealt a false share, unless the evidence it is judged by is its own."""
    evidence = next(accusation["evidence"] for accusation in accusations if accusation["accused"] == culprit)
    own = any(accusation["mspid"] == culprit and accusation["evidence"] == evidence for accusation in accusations)
    record = None if own else slashing.slash(call.state, culprit, slashing.WRONG_SHARE, evidence)
    kept = [mspid for mspid in progress["participants"] if mspid != culprit]
    what = "accused another of it falsely" if own else "dealt a false share of the key"
    return _retry(call, terms, progress, kept, what=what, slashed=[] if record is None else [record])


def _retry(
    call: Call,
    terms: TaskTerms,
    progress: TaskState,
    kept: list[str],
    *,
    what: str = "did not answer in the key ceremony",
    slashed: Sequence[Slash] = (),
) -> dict[str, Any]:
    dropped = [mspid for mspid in progress["participants"] if mspid not in kept]
    progress["dropped"] = sorted({*progress["dropped"], *dropped})
    if len(kept) < terms["min_hospitals"]:
        reason = f"{', '.join(dropped)} {what}, and too few hospitals remain"
        return abandon(call, terms, progress, reason, slashed=slashed)
    progress["attempt"] += 1
    return begin(call, terms, progress, kept, slashed=slashed)


def _present(call: Call, kind: str, progress: TaskState) -> list[str]:
    place = (progress["task_id"], progress["attempt"])
    return [mspid for mspid in progress["participants"] if call.state.get(kind, *place, mspid) is not None]


def _first_round(call: Call, terms: TaskTerms, progress: TaskState, key_digest: str) -> dict[str, Any]:
    progress.update({"key_digest": key_digest, "phase": "rounds", "clock": {}})
    seed = seed_of({"purpose": "first round", "task_id": terms["task_id"], "key_digest": key_digest})
    opened = open_round(call.state, terms, progress, normalisation.first_round(terms), seed)
    if opened is None:
        return abandon(call, terms, progress, "too few hospitals are left to open a round")
    save(call.state, progress)
    place = {"task_id": terms["task_id"], "round": opened["round"], "phase": "commit"}
    call.state.announce("phase", {**place, "attempt": 1, "turn": 0})
    return place
