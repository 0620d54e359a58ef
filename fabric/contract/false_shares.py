"""Decryption shares that do not open the sums: a quorum of the hospitals says so, and the sums are opened again by another quorum.

A share shows by itself only that it is malformed; whom a quorum of the hospitals names for that is blamed. Otherwise each member of the
quorum that failed is left out in turn, for a holder that is not of it: where one share was false, the quorum that then opens the sums lacks
its holder. That is evidence and no proof, for another member may have sent a false share first and a good one after; so nobody is fined for
it, and the ledger keeps every quorum that failed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fabric.contract import clock
from fabric.contract.arguments import Attempt, Mspid, Round, TaskId
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.phases import announce_own, in_phase, require_member
from fabric.contract.records import FailedQuorum, RoundRecord, ShareObjection
from fabric.contract.sums import shared


@dataclass(frozen=True)
class ObjectShares:
    """`accused`: whose share is malformed; None where the shares, each well-formed, do not open the sums."""

    task_id: TaskId
    round: Round
    attempt: Attempt
    accused: Mspid | None = None


def object_shares(call: Call, argument: ObjectShares) -> dict[str, Any]:
    record = in_phase(call, argument.task_id, argument.round, "decrypt")
    require_member(call, record["revealed"], "among those who revealed")
    if argument.attempt != record["attempt"]:
        raise ContractError("WRONG_ATTEMPT", f"decryption is at attempt {record['attempt']}; look at its shares")
    if len(shared(call, record)) < len(record["quorum"]):
        raise ContractError("SHARES_MISSING", "not all shares are posted; wait for them")
    if argument.accused is not None and argument.accused not in record["quorum"]:
        raise ContractError("BAD_ARGUMENT", f"{argument.accused} is not in the decryption quorum and gave no share")
    place = (argument.task_id, argument.round, argument.attempt, call.mspid)
    if call.state.get("share_objection", *place) is not None:
        raise ContractError("ALREADY_OBJECTED", f"{call.mspid} has objected to the shares of attempt {argument.attempt} already")
    call.state.put("share_objection", place, ShareObjection(mspid=call.mspid, accused=argument.accused or ""))
    return announce_own(call, record, "share objection")


def objected(call: Call, record: RoundRecord) -> tuple[bool, str]:
    """Whether a quorum of the hospitals finds that the shares do not open the sums, and whom a quorum names for it, or nobody."""
    place, enough = (record["task_id"], record["round"], record["attempt"]), clock.quorum(len(record["revealed"]))
    found = [call.state.get("share_objection", *place, mspid) for mspid in record["revealed"]]
    named = Counter(objection["accused"] for objection in found if objection is not None)
    culprit = next((mspid for mspid, votes in sorted(named.items()) if mspid and votes >= enough), "")
    return named.total() >= enough, culprit


def next_left_out(failed: Sequence[FailedQuorum]) -> str:
    """The member of the first quorum that the next one does without; nobody once each has been left out."""
    first, turn = failed[0]["quorum"], len(failed) - 1
    return first[turn] if turn < len(first) else ""
