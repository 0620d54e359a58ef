"""Patients' withdrawals of consent, as the ledger knows them: that some were noted before a round, and not whose.

What stands here is the digest of a batch of salted commitments (fabric.contract.commitments.withdrawal_batch), padded so that not even
their number shows. Who has a patient's salt can show that the patient is in a batch; without the salt nobody can tell.
"""

from dataclasses import dataclass
from typing import Any

from fabric.contract.arguments import Digest, TaskId
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.phases import require_member
from fabric.contract.records import Withdrawal
from fabric.contract.registry import put_owned
from fabric.contract.tasks import OVER, progress_of


@dataclass(frozen=True)
class RecordWithdrawals:
    task_id: TaskId
    digest: Digest


def record_withdrawals(call: Call, argument: RecordWithdrawals) -> dict[str, Any]:
    progress = progress_of(call.state, argument.task_id)
    if progress["phase"] in OVER:
        raise ContractError("WRONG_PHASE", f"task {argument.task_id} is {progress['phase']}; no round is left for a withdrawal to precede")
    require_member(call, progress["participants"], "a participant")
    place = (argument.task_id, call.mspid, argument.digest)
    if call.state.get("withdrawal", *place) is not None:
        raise ContractError("ALREADY_RECORDED", f"{call.mspid} has recorded this batch of withdrawals; go on without")
    record = Withdrawal(task_id=argument.task_id, mspid=call.mspid, digest=argument.digest, round=progress["round"])
    put_owned(call.state, call.mspid, "withdrawal", place, record)
    call.state.announce("withdrawals_recorded", dict(record))
    return {"task_id": argument.task_id, "round": progress["round"]}
