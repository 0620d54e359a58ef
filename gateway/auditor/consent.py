"""Proof that a patient's withdrawal of consent stood on the ledger before a round was opened, which does not name the patient.

It is two pieces of evidence (`fabric.evidence`) under one checkpoint: of the call that recorded a batch of withdrawals, and of the call
that opened the round; beside them the batch's commitments, and which of them is meant. Whoever has the patient's opening (salt and id, from
the hospital) sees that this commitment is the patient's. Whoever has not learns that somebody's withdrawal preceded the round.
"""

import base64
import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric_protos.common import common_pb2

from fabric import canonical
from fabric.contract.commitments import withdrawal_batch
from fabric.crypto import SigningIdentity
from fabric.evidence import EvidenceError, Proven, verify_evidence
from fabric.examination import ExaminedBlock
from gateway.auditor.calls import CONTRACT, ContractCall, contract_calls
from gateway.auditor.checkpoints import end_of, read_file, write_file
from gateway.auditor.export import BlockSource
from gateway.auditor.proof import Gathering, evidence, read_roots
from gateway.auditor.verify import Auditor, Progress, audit_blocks, no_progress
from gateway.errors import InputError, VerificationFailed
from gateway.hospital.openings import Opening

FORMAT = "consortium-consent-proof-1"


@dataclass(frozen=True)
class ConsentProven:
    """What a proof shows: `commitment`, recorded by hospital `mspid`, stood on the ledger before `round` of the task was opened."""

    task_id: str
    mspid: str
    round: int
    commitment: str
    recorded: Proven
    opened: Proven


async def prove_withdrawal(
    client: BlockSource,
    opening: Opening,
    path: Path,
    identity: SigningIdentity,
    *,
    round_number: int,
    now: datetime.datetime,
    processes: int | None = None,
    progress: Progress = no_progress,
) -> ConsentProven:
    """Verify the ledger and write the proof, without the patient's id and salt.

    Raises VerificationFailed if the ledger does not verify or the withdrawal did not precede the round, InputError where the ledger holds
    no such withdrawal or round, and the client's errors.
    """
    recorded, opened = _Wanted(lambda call: _records(call, opening)), _Wanted(lambda call: _opens(call, opening.task_id, round_number))
    gatherings = (
        Gathering(recorded, None, f"record of this withdrawal from task {opening.task_id} by {opening.mspid}"),
        Gathering(opened, None, f"round {round_number} of task {opening.task_id}"),
    )

    def accept(auditor: Auditor, block: common_pb2.Block, examined: ExaminedBlock) -> None:
        verified = auditor.accept(block, examined)
        for call in contract_calls(verified):
            recorded.look(call)
            opened.look(call)
        for gathering in gatherings:
            gathering.take(block, verified)

    report = await audit_blocks(client, accept, [], processes, progress)
    if not report.verified:
        raise VerificationFailed(f"nothing can be proved, for {report.finding}")
    end = end_of(report, identity, now=now)
    parts = [evidence(gathering, report, identity, end=end, now=now)[0] for gathering in gatherings]
    content = {
        "format": FORMAT,
        "task_id": opening.task_id,
        "mspid": opening.mspid,
        "round": round_number,
        "commitment": opening.commitment,
        "commitments": list(opening.commitments),
        "recorded": base64.b64encode(parts[0]).decode(),
        "opened": base64.b64encode(parts[1]).decode(),
    }
    proven = _checked(content, lambda data: verify_evidence(data, genesis_hash=bytes.fromhex(report.genesis_hash)))
    write_file(path, json.dumps(content, indent=1).encode())
    return proven


def check_withdrawal(
    path: Path, *, opening: Opening | None = None, genesis_hash: bytes | None = None, roots: Path | None = None
) -> ConsentProven:
    """Check a proof without any ledger and, with the patient's opening, that it is this patient's.

    Raises VerificationFailed, InputError or ConfigError with one sentence.
    """
    known = read_roots(roots) if roots else None
    try:
        content = json.loads(read_file(path, made_by="consent"))
        if content["format"] != FORMAT:
            raise ValueError("another format")
        proven = _checked(content, lambda data: verify_evidence(data, genesis_hash=genesis_hash, roots=known))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not what `consortium audit consent` writes") from error
    mine = opening is None or (opening.task_id, opening.mspid, opening.commitment) == (proven.task_id, proven.mspid, proven.commitment)
    if not mine:
        raise VerificationFailed(f"{path} proves a withdrawal that is not this patient's: the opening belongs to another commitment")
    return proven


class _Wanted:
    """Remembers the ids of the calls that are looked for."""

    def __init__(self, matches: Callable[[ContractCall], bool]) -> None:
        self._matches = matches
        self._ids: set[str] = set()

    def look(self, call: ContractCall) -> None:
        if call.valid and self._matches(call):
            self._ids.add(call.tx_id)

    def __call__(self, tx_id: str) -> bool:
        return tx_id in self._ids


def _records(call: ContractCall, opening: Opening) -> bool:
    place = (call.function, call.mspid, call.argument.get("task_id"), call.argument.get("digest"))
    return place == ("record_withdrawals", opening.mspid, opening.task_id, opening.digest)


def _opens(call: ContractCall, task_id: str, round_number: int) -> bool:
    return _opened_round(call.event, call.payload) == (task_id, round_number)


def _opened_round(event: str, payload: Any) -> tuple[str, int] | None:
    """The task and the round that a call opened, by its event; None if it opened none."""
    if event == "phase" and payload["phase"] == "commit":
        return payload["task_id"], payload["round"]
    if event == "settled" and payload["next"] is not None:
        return payload["task_id"], payload["next"]["round"]
    return None


def _checked(content: dict[str, Any], verify: Callable[[bytes], Proven]) -> ConsentProven:
    """What the content proves; raise VerificationFailed where it does not."""
    try:
        recorded, opened = (verify(base64.b64decode(content[name], validate=True)) for name in ("recorded", "opened"))
    except EvidenceError as error:
        raise VerificationFailed(f"it proves nothing: {error.reason}") from error
    task_id, mspid, number = str(content["task_id"]), str(content["mspid"]), int(content["round"])
    said = canonical.loads(recorded.transaction.args[1])
    event = opened.transaction.event
    wrong = {
        "its two parts are of different ledgers": recorded.genesis_hash != opened.genesis_hash,
        "its calls did not take effect": {recorded.code, opened.code} != {"VALID"},
        "its calls are not the consortium contract's": {recorded.transaction.chaincode, opened.transaction.chaincode} != {CONTRACT},
        "the first call does not record withdrawals": recorded.transaction.function != "record_withdrawals",
        "another hospital recorded them": recorded.creator.mspid != mspid,
        "they were recorded for another task or batch": (said["task_id"], said["digest"])
        != (task_id, withdrawal_batch(content["commitments"])),
        "the commitment is not in the batch": content["commitment"] not in content["commitments"],
        "the second call does not open this round": event is None
        or _opened_round(event.name, canonical.loads(event.payload)) != (task_id, number),
        "the round was opened before the withdrawal was recorded": (recorded.block, recorded.position) >= (opened.block, opened.position),
    }
    for reason, holds in wrong.items():
        if holds:
            raise VerificationFailed(f"it proves nothing: {reason}")
    return ConsentProven(task_id, mspid, number, str(content["commitment"]), recorded, opened)
