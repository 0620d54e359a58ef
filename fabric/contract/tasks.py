"""Submitting, aborting and closing a task, with its escrow."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from fabric.contract import accounts, clock, key_wear
from fabric.contract.arguments import (
    Amount,
    Clip,
    Count,
    Day,
    DeltaInverse,
    Digest,
    Epsilon,
    Members,
    Mode,
    Permit,
    Rounds,
    Statement,
    TaskId,
    Title,
)
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.orders import OrderTerms, take_up
from fabric.contract.records import Decision, RoundRecord, Slash, TaskState, TaskTerms, Undecided
from fabric.contract.registry import put_owned, roster
from fabric.contract.slashing import in_good_standing
from fabric.contract.state import State

OVER = ("finished", "abandoned", "aborted")


@dataclass(frozen=True)
class SubmitTask:
    task_id: TaskId
    digest: Digest
    title: Title
    purpose: Statement
    permit: Permit
    rounds: Rounds
    min_hospitals: Members
    group_size: Members
    reward_micro: Amount
    epsilon_micro: Epsilon
    delta_inverse: DeltaInverse
    score_epsilon_micro: Epsilon
    score_clip_micro: Clip
    heartbeat_limit: Count
    parameters: Count
    normalisation: bool = False
    permit_expires: Day = ""
    training_limit: Count = 1
    mode: Mode = "unstated"
    order: OrderTerms | None = None


@dataclass(frozen=True)
class TaskArgument:
    task_id: TaskId


@dataclass(frozen=True)
class AbortTask:
    task_id: TaskId
    reason: Statement


def terms_of(state: State, task_id: str) -> TaskTerms:
    found: TaskTerms | None = state.get("task", task_id)
    if found is None:
        raise ContractError("NOT_FOUND", f"there is no task {task_id}; the tasks view lists those there are")
    return found


def progress_of(state: State, task_id: str) -> TaskState:
    """The task's moving record, as a copy that the caller may change and save."""
    found: TaskState | None = state.get("progress", task_id)
    if found is None:
        raise ContractError("NOT_FOUND", f"there is no task {task_id}; the tasks view lists those there are")
    return found.copy()


def save(state: State, progress: TaskState) -> None:
    state.put("progress", (progress["task_id"],), progress)


def round_of(state: State, task_id: str, number: int) -> RoundRecord:
    """A round's record, as a copy."""
    found: RoundRecord | None = state.get("round", task_id, number)
    if found is None:
        raise ContractError("NOT_FOUND", f"round {number} of task {task_id} is not open; the task view names the round that is")
    return found.copy()


def save_round(state: State, record: RoundRecord) -> None:
    state.put("round", (record["task_id"], record["round"]), record)


def asked(progress: TaskState) -> list[str]:
    """Who decides on a task while it is proposed: the hospitals registered when it was submitted, whose heartbeats then count."""
    return sorted(progress["clock"])


def decision_of(state: State, task_id: str, mspid: str) -> Decision | None:
    """A hospital's answer; None while there is none."""
    found = state.get("decision", task_id, mspid)
    return found if found is not None and "approved" in found else None


def submit_task(call: Call, argument: SubmitTask) -> dict[str, Any]:
    if call.state.get("task", argument.task_id) is not None:
        raise ContractError("TASK_EXISTS", f"there is a task {argument.task_id} already; choose another id")
    hospitals = in_good_standing(call.state, _invited(call, argument))
    if len(hospitals) < argument.min_hospitals:
        raise ContractError(
            "TOO_FEW_HOSPITALS",
            f"{len(hospitals)} hospitals may take part and the task needs {argument.min_hospitals}; lower min_hospitals",
        )
    terms = {name: value for name, value in asdict(argument).items() if name != "order"}
    record = cast(TaskTerms, {**terms, "organisation": call.mspid, "researcher": call.fingerprint})
    worn = key_wear.worn_out(record, argument.min_hospitals, first_round=0 if argument.normalisation else 1)
    if worn:
        raise ContractError("KEY_WOULD_WEAR_OUT", worn)
    accounts.pay(call.state, call.mspid, -argument.reward_micro)
    call.state.put("task", (argument.task_id,), record)
    for mspid in hospitals:
        put_owned(call.state, mspid, "decision", (argument.task_id, mspid), Undecided(mspid=mspid))
    save(
        call.state,
        TaskState(
            task_id=argument.task_id,
            phase="proposed",
            reason="",
            participants=[],
            threshold=0,
            attempt=1,
            turn=0,
            aggregators=[],
            clock=clock.start(call.state, hospitals),
            round=0,
            key_digest="",
            decryptions=0,
            absent={},
            dropped=[],
            escrow_micro=argument.reward_micro,
        ),
    )
    call.state.announce("task_submitted", {"task_id": argument.task_id, "digest": argument.digest, "organisation": call.mspid})
    return {"task_id": argument.task_id}


def _invited(call: Call, argument: SubmitTask) -> list[str]:
    """Who may join: every hospital, or those whose offers the task takes up."""
    if argument.order is None:
        return roster(call.state)["hospital"]
    return take_up(
        call,
        argument.task_id,
        argument.order,
        purpose=argument.purpose,
        permit=argument.permit,
        reward_micro=argument.reward_micro,
    )


def abort_task(call: Call, argument: AbortTask) -> dict[str, Any]:
    terms, progress = terms_of(call.state, argument.task_id), progress_of(call.state, argument.task_id)
    if call.mspid != terms["organisation"]:
        raise ContractError("DENIED", f"only {terms['organisation']}, which submitted the task, may abort it")
    if progress["phase"] in OVER:
        raise ContractError("WRONG_PHASE", f"task {argument.task_id} is {progress['phase']}; nothing is left to abort")
    if progress["phase"] == "rounds":
        record = round_of(call.state, argument.task_id, progress["round"])
        record["phase"] = "aborted"
        save_round(call.state, record)
        progress["decryptions"] += record["decryptions"]
    refund = close(call.state, terms, progress, "aborted", argument.reason)
    call.state.announce("task_aborted", {"task_id": argument.task_id, "reason": argument.reason, "refund_micro": refund})
    return {"task_id": argument.task_id, "refund_micro": refund}


def close(state: State, terms: TaskTerms, progress: TaskState, phase: str, reason: str) -> int:
    """End a task: what is left in escrow goes back. Returns the refund."""
    refund = progress["escrow_micro"]
    accounts.pay(state, terms["organisation"], refund)
    progress.update({"phase": phase, "reason": reason, "escrow_micro": 0})
    save(state, progress)
    return refund


def abandon(call: Call, terms: TaskTerms, progress: TaskState, reason: str, *, slashed: Sequence[Slash] = ()) -> dict[str, Any]:
    """End a task that has no round open, for lack of hospitals or of a key. `slashed`: whom this transaction has slashed."""
    refund = close(call.state, terms, progress, "abandoned", reason)
    call.state.announce("task_abandoned", {"task_id": terms["task_id"], "reason": reason, "refund_micro": refund, "slashed": list(slashed)})
    return {"task_id": terms["task_id"], "round": progress["round"], "phase": "abandoned"}
