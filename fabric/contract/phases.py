"""What every call in a round checks first, and how a round moves from one phase to the next."""

from typing import Any

from fabric.contract import clock
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.records import RoundRecord
from fabric.contract.tasks import round_of, save_round


def in_phase(call: Call, task_id: str, number: int, phase: str) -> RoundRecord:
    """The round's record, or WRONG_PHASE. A round is in such a phase only while its task is running."""
    record = round_of(call.state, task_id, number)
    if record["phase"] != phase:
        raise ContractError(
            "WRONG_PHASE", f"round {number} of task {task_id} is in phase {record['phase']}, not {phase}; look at the round view"
        )
    return record


def require_member(call: Call, members: list[str], duty: str) -> None:
    if call.mspid not in members:
        raise ContractError("NOT_A_PARTICIPANT", f"{call.mspid} is not {duty} in this round; the round view names who is")


def require_turn(call: Call, record: RoundRecord) -> None:
    acting = record["aggregators"][record["turn"]]
    if call.mspid != acting:
        raise ContractError("NOT_YOUR_TURN", f"it is {acting}'s turn to aggregate, not {call.mspid}'s; wait for the event phase")


def enter(call: Call, record: RoundRecord, phase: str, timekeepers: list[str]) -> dict[str, Any]:
    """Start a phase and its clock, which the hospitals still in the round keep."""
    record.update({"phase": phase, "clock": clock.start(call.state, timekeepers)})
    save_round(call.state, record)
    place = {"task_id": record["task_id"], "round": record["round"], "phase": phase}
    call.state.announce("phase", {**place, "attempt": record["attempt"], "turn": record["turn"]})
    return place


def announce_own(call: Call, record: RoundRecord, action: str) -> dict[str, Any]:
    """The event of a call that wrote only keys of its own hospital; others count them to see when `advance` is due."""
    place = {"task_id": record["task_id"], "round": record["round"], "phase": record["phase"]}
    call.state.announce("progress", {**place, "attempt": record["attempt"], "mspid": call.mspid, "action": action})
    return place


def present(call: Call, kind: str, record: RoundRecord, members: list[str]) -> list[str]:
    """Those of `members` that have written their key of this kind in this round."""
    return [mspid for mspid in members if call.state.get(kind, record["task_id"], record["round"], mspid) is not None]
