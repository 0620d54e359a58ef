"""A hospital's signed answer to a task, and the privacy budget it sets aside for it."""

from dataclasses import asdict, dataclass
from typing import Any

from fabric.contract.arguments import Count, DeltaInverse, Digest, Epsilon, Name, Quality, Rounds, Statement, TaskId
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.orders import check_dataset
from fabric.contract.records import Decision, TaskFilter, TaskTerms
from fabric.contract.registry import new_filter, put_owned, require_hospital
from fabric.contract.slashing import ejected
from fabric.contract.statement import statement
from fabric.contract.tasks import asked, decision_of, progress_of, terms_of


@dataclass(frozen=True)
class ApproveTask:
    task_id: TaskId
    digest: Digest
    dataset: Name
    epsilon_micro: Epsilon
    score_epsilon_micro: Epsilon
    delta_inverse: DeltaInverse
    batch: Count
    patients: Count
    quality_ppm: Quality
    last_round: Rounds
    views_digest: Digest | None = None
    cohort_digest: Digest | None = None


@dataclass(frozen=True)
class RejectTask:
    task_id: TaskId
    digest: Digest
    reason: Statement


def approve_task(call: Call, argument: ApproveTask) -> dict[str, Any]:
    terms = _open_for_decision(call, argument.task_id, argument.digest)
    _check_caps(terms, argument)
    if call.state.get("dataset", call.mspid, argument.dataset) is None:
        raise ContractError("NOT_FOUND", f"{call.mspid} has no data set {argument.dataset}; register it before approving")
    check_dataset(call.state, argument.task_id, call.mspid, argument.dataset)
    content = asdict(argument)
    del content["task_id"]
    decision = {**content, "mspid": call.mspid, "approved": True, "reason": ""}
    put_owned(call.state, call.mspid, "decision", (argument.task_id, call.mspid), decision)
    caps = {"train": argument.epsilon_micro, "validation": argument.score_epsilon_micro, "test": argument.score_epsilon_micro}
    for partition, epsilon in caps.items():
        # Held-out patients may have paid for the quality that this approval tells.
        before: TaskFilter | None = call.state.get("task_filter", argument.task_id, call.mspid, partition)
        opened = {**new_filter(epsilon, argument.delta_inverse), "debited": 0}
        if before is not None:
            opened["spent_micro"] = before["spent_micro"]
        put_owned(call.state, call.mspid, "task_filter", (argument.task_id, call.mspid, partition), opened)
    said = statement(mspid=call.mspid, mode=terms["mode"], epsilon_micro=caps, delta_inverse=argument.delta_inverse)
    put_owned(call.state, call.mspid, "statement", (argument.task_id, call.mspid), said)
    event = {"task_id": argument.task_id, "mspid": call.mspid, "digest": argument.digest, "statement": said}
    call.state.announce("task_approved", event)
    return {"task_id": argument.task_id}


def reject_task(call: Call, argument: RejectTask) -> dict[str, Any]:
    _open_for_decision(call, argument.task_id, argument.digest)
    record = Decision(
        mspid=call.mspid,
        approved=False,
        reason=argument.reason,
        digest=argument.digest,
        dataset="",
        epsilon_micro=0,
        score_epsilon_micro=0,
        delta_inverse=0,
        batch=0,
        patients=0,
        quality_ppm=0,
        last_round=0,
        views_digest=None,
        cohort_digest=None,
    )
    put_owned(call.state, call.mspid, "decision", (argument.task_id, call.mspid), record)
    call.state.announce("task_rejected", {"task_id": argument.task_id, "mspid": call.mspid, "reason": argument.reason})
    return {"task_id": argument.task_id}


def _open_for_decision(call: Call, task_id: str, digest: str) -> TaskTerms:
    require_hospital(call)
    if ejected(call.state, call.mspid):
        raise ContractError("EJECTED", f"{call.mspid} lost its bond to a proof and takes part in no further task; the others decide")
    terms, progress = terms_of(call.state, task_id), progress_of(call.state, task_id)
    if progress["phase"] != "proposed":
        raise ContractError("WRONG_PHASE", f"task {task_id} is in phase {progress['phase']}; hospitals decide before the keys are made")
    if digest != terms["digest"]:
        raise ContractError("DIGEST_MISMATCH", f"the digest is not that of task {task_id}; fetch the task document again and review it")
    if call.mspid not in asked(progress):
        raise ContractError(
            "NOT_ASKED", f"{call.mspid} registered after task {task_id} was submitted and has no say in it; decide on the tasks to come"
        )
    if decision_of(call.state, task_id, call.mspid) is not None:
        raise ContractError("ALREADY_DECIDED", f"{call.mspid} has decided on task {task_id}; a decision stands")
    return terms


def _check_caps(terms: TaskTerms, argument: ApproveTask) -> None:
    """An approval may be stricter than the task, never laxer."""
    if argument.epsilon_micro > terms["epsilon_micro"] or argument.score_epsilon_micro > terms["score_epsilon_micro"]:
        raise ContractError("CAP_TOO_HIGH", "the approval allows a larger ε than the task asks for; approve at most the task's own")
    if argument.delta_inverse < terms["delta_inverse"]:
        raise ContractError("CAP_TOO_HIGH", "the approval allows a larger δ than the task asks for; send the task's delta_inverse or more")
    if argument.last_round > terms["rounds"]:
        raise ContractError(
            "BAD_ARGUMENT", f"last_round is {argument.last_round} and the task has {terms['rounds']} rounds; send at most that"
        )
    if argument.batch > argument.patients:
        raise ContractError("BAD_ARGUMENT", "batch is larger than patients; send the expected number of patients per step")
