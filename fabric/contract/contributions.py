"""Commit, then reveal: every hospital is bound to its ciphertext before it can see any other's."""

from dataclasses import dataclass
from typing import Any

from fabric.contract.arguments import Digest, Hex32, Round, Size, TaskId
from fabric.contract.caller import Call
from fabric.contract.commitments import commitment
from fabric.contract.errors import ContractError
from fabric.contract.phases import announce_own, in_phase, require_member
from fabric.contract.records import Commit, Reveal
from fabric.contract.spending import debited


@dataclass(frozen=True)
class CommitRound:
    task_id: TaskId
    round: Round
    digest: Digest


@dataclass(frozen=True)
class RevealRound:
    task_id: TaskId
    round: Round
    nonce: Hex32
    ciphertext_digest: Digest
    size: Size


def commit(call: Call, argument: CommitRound) -> dict[str, Any]:
    """A digest equal to another hospital's is no reason to refuse: its owner alone can open it, and refusing would let a
    copy that overtakes the original keep the original out."""
    record = in_phase(call, argument.task_id, argument.round, "commit")
    require_member(call, record["participants"], "a participant")
    place = (argument.task_id, argument.round, call.mspid)
    if not debited(call, argument.task_id, argument.round, "train"):
        raise ContractError(
            "NOT_DEBITED", f"{call.mspid} has not debited its training patients for round {argument.round}; call debit first"
        )
    if call.state.get("commit", *place) is not None:
        raise ContractError("ALREADY_COMMITTED", f"{call.mspid} has committed in round {argument.round}; a commitment stands")
    call.state.put("commit", place, Commit(mspid=call.mspid, digest=argument.digest))
    return announce_own(call, record, "commit")


def reveal(call: Call, argument: RevealRound) -> dict[str, Any]:
    record = in_phase(call, argument.task_id, argument.round, "reveal")
    require_member(call, record["committed"], "among those that committed")
    place = (argument.task_id, argument.round, call.mspid)
    if call.state.get("reveal", *place) is not None:
        raise ContractError("ALREADY_REVEALED", f"{call.mspid} has revealed in round {argument.round} already")
    committed: Commit = call.state.get("commit", *place)
    if committed["digest"] != commitment(argument.task_id, argument.round, call.mspid, argument.nonce, argument.ciphertext_digest):
        raise ContractError(
            "COMMITMENT_MISMATCH", "this is not what was committed to; reveal the nonce and ciphertext digest of the commitment"
        )
    if call.state.get("ciphertext", argument.task_id, argument.ciphertext_digest) is not None:
        raise ContractError(
            "REPLAYED", f"this ciphertext was revealed before in task {argument.task_id}; encrypt a fresh update every round"
        )
    call.state.put("ciphertext", (argument.task_id, argument.ciphertext_digest), {"mspid": call.mspid, "round": argument.round})
    record_of = Reveal(mspid=call.mspid, nonce=argument.nonce, ciphertext_digest=argument.ciphertext_digest, size=argument.size)
    call.state.put("reveal", place, record_of)
    return announce_own(call, record, "reveal")
