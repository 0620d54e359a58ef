"""Coming back after a silence."""

from typing import Any

from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.records import TaskState
from fabric.contract.tasks import TaskArgument, progress_of, round_of


def rejoin(call: Call, argument: TaskArgument) -> dict[str, Any]:
    """Take part again from the next round. Only for what was already missed: nobody can excuse itself in advance."""
    progress = progress_of(call.state, argument.task_id)
    if progress["phase"] != "rounds":
        raise ContractError("WRONG_PHASE", f"task {argument.task_id} is in phase {progress['phase']}; there is no round to rejoin")
    if not _missed(call, progress):
        raise ContractError("NOT_ABSENT", f"{call.mspid} is not marked absent in task {argument.task_id}; go on with the round")
    call.state.put("rejoin", (argument.task_id, call.mspid), {"mspid": call.mspid, "round": progress["round"]})
    place = {"task_id": argument.task_id, "round": progress["round"], "mspid": call.mspid}
    call.state.announce("progress", {**place, "phase": "rounds", "attempt": 1, "action": "rejoin"})
    return {"task_id": argument.task_id}


def _missed(call: Call, progress: TaskState) -> bool:
    if call.mspid in progress["absent"]:
        return True
    record = round_of(call.state, progress["task_id"], progress["round"])
    if call.mspid not in record["participants"] or record["phase"] == "commit":
        return False
    return call.mspid not in (record["committed"] if record["phase"] == "reveal" else record["revealed"])
