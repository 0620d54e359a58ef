"""Debits for what a hospital tells of a task outside its rounds: its data's quality with the approval, the finished model's evaluation.

Both are about held-out patients, who give nothing else: partition `test`. The debit is a transaction of its own and comes first; what it
is for is made afterwards, so a crash in between leaves the debit and nothing that was told.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fabric.contract.arguments import FewEntries, Name, ReleaseKind, TaskId
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.phases import require_member
from fabric.contract.records import Debit
from fabric.contract.registry import new_filter, put_owned, require_hospital
from fabric.contract.spending import SpendEvent, as_records, charge, costs, spent
from fabric.contract.tasks import asked, decision_of, progress_of, terms_of

PARTITION = "test"


@dataclass(frozen=True)
class DebitRelease:
    task_id: TaskId
    release: ReleaseKind
    dataset: Name
    spends: Annotated[tuple[SpendEvent, ...], FewEntries]


def debit_release(call: Call, argument: DebitRelease) -> dict[str, Any]:
    if any(spend.partition != PARTITION for spend in argument.spends):
        raise ContractError("BAD_ARGUMENT", f"only held-out patients pay for the {argument.release}; debit partition {PARTITION} alone")
    opened = _for_quality(call, argument) if argument.release == "quality" else _for_evaluation(call, argument)
    place = (argument.task_id, call.mspid, argument.release)
    if call.state.get("release", *place) is not None:
        raise ContractError("ALREADY_DEBITED", f"{call.mspid} has debited the {argument.release} of task {argument.task_id}; go on without")
    for partition, cost in sorted(costs(argument.spends).items()):
        charge(call, argument.dataset, partition, cost)
        of_task = spent(opened, cost, f"task {argument.task_id} ({partition} patients)")
        put_owned(call.state, call.mspid, "task_filter", (argument.task_id, call.mspid, partition), of_task)
    spends = as_records(argument.spends)
    put_owned(call.state, call.mspid, "release", place, Debit(mspid=call.mspid, dataset=argument.dataset, spends=spends))
    event = {"task_id": argument.task_id, "mspid": call.mspid, "release": argument.release, "spends": spends}
    call.state.announce("release_debited", event)
    return {"task_id": argument.task_id, "release": argument.release}


def _for_quality(call: Call, argument: DebitRelease) -> dict[str, Any]:
    """Before the approval in which the quality stands: the task's filter of held-out patients is opened by it."""
    require_hospital(call)
    terms, progress = terms_of(call.state, argument.task_id), progress_of(call.state, argument.task_id)
    if progress["phase"] != "proposed" or call.mspid not in asked(progress):
        raise ContractError(
            "WRONG_PHASE", f"task {argument.task_id} asks {call.mspid} for no approval now; the quality goes with an approval"
        )
    if decision_of(call.state, argument.task_id, call.mspid) is not None:
        raise ContractError("ALREADY_DECIDED", f"{call.mspid} has decided on task {argument.task_id}; a decision stands")
    if call.state.get("dataset", call.mspid, argument.dataset) is None:
        raise ContractError("NOT_FOUND", f"{call.mspid} has no data set {argument.dataset}; register it before approving")
    return {**new_filter(terms["score_epsilon_micro"], terms["delta_inverse"]), "debited": 0}


def _for_evaluation(call: Call, argument: DebitRelease) -> dict[str, Any]:
    """Once the task has a model that is finished, within the ε that the hospital approved."""
    progress = progress_of(call.state, argument.task_id)
    require_member(call, progress["participants"], "a participant")
    if progress["phase"] != "finished":
        raise ContractError(
            "WRONG_PHASE", f"task {argument.task_id} is {progress['phase']}; a model is evaluated when its task has finished"
        )
    decision = decision_of(call.state, argument.task_id, call.mspid)
    opened: dict[str, Any] | None = call.state.get("task_filter", argument.task_id, call.mspid, PARTITION)
    if decision is None or decision["dataset"] != argument.dataset:
        raise ContractError("BAD_ARGUMENT", f"{call.mspid} approved task {argument.task_id} with another data set; debit that one")
    if opened is None:
        raise ContractError(
            "NOT_FOUND", f"task {argument.task_id} was approved by the rules of 1.0, which knew no evaluations; release none"
        )
    return opened
