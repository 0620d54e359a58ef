"""Patients who withdraw while a task runs, permits that end, and the records of both, in whole consortia."""

import json
import re
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fabric.contract.commitments import withdrawal_commitment
from fabric.ledger_views import TaskView
from gateway.auditor.consent import check_withdrawal, prove_withdrawal
from gateway.errors import InputError, VerificationFailed
from gateway.fhir.split import split
from gateway.fhir.validate import resource
from gateway.hospital.openings import Opening, find_opening
from gateway.hospital.record_log import records
from gateway.hospital.state import Erased, StateStore
from gateway.hospital.summed import Updates
from gateway.hospital.withdrawal_batch import PADDED, WithdrawalBatch, patient_hash
from tests.support.hospitals import IMPATIENT, TogetherConsortium, consortium, task_document

HOSPITAL = "hospital-01"
KEYS = tuple(f"h1-p{row}" for row in range(60))


def _ask_for_consent(together: TogetherConsortium) -> Path:
    """Let a hospital ask for consent; returns its opt-out list."""
    path = together.network.gateway(HOSPITAL)
    path.write_text(f'{path.read_text()}\n[consent]\ndefault = "permit"\nopt_out = "opt-out.txt"\n')
    return path.parent / "opt-out.txt"


async def test_who_withdraws_gives_nothing_from_the_next_round_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []
    train = Updates.vector

    def seen(summed: Updates, patients: Any, parameters: Any, **more: Any) -> Any:
        if patients.keys[0].startswith("h1-"):
            trained.append(patients)
        return train(summed, patients, parameters, **more)

    monkeypatch.setattr(Updates, "vector", seen)
    async with consortium(tmp_path) as together:
        await together.stop(HOSPITAL)
        opt_out = _ask_for_consent(together)
        opt_out.write_text("h1-p0\nh1-p1\nnobody-here\n")
        await together.start(HOSPITAL)
        state = together.gateways[HOSPITAL].config.gateway.state
        task_id = await together.submit(task_document(rounds=4))
        await together.until(task_id, phase="reveal", round_number=1)
        parts = split(KEYS, salt=(state / "split-salt").read_bytes())
        approved = {KEYS[row] for row in parts.train} - {"h1-p0", "h1-p1"}
        withdrawn = sorted(approved)[0]
        opt_out.write_text(f"h1-p0\nh1-p1\n{withdrawn}\n")
        await together.until(task_id, phase="reveal", round_number=2)
        await together.kill(HOSPITAL)
        opt_out.write_text("h1-p0\nh1-p1\n")  # who is out of a task stays out of it
        await together.start(HOSPITAL)
        end = await together.until_over(task_id)
        assert end.phase == "finished", end.reason
        assert {frozenset(each.keys) for each in trained} == {frozenset(approved), frozenset(approved - {withdrawn})}
        assert [withdrawn in each.keys for each in trained] == sorted((withdrawn in each.keys for each in trained), reverse=True)
        assert {each.approved for each in trained} == {len(approved)}
        decision = end.decision(HOSPITAL)
        assert decision is not None
        assert decision.patients == len(approved)
        evaluation = await together.evaluation(HOSPITAL, task_id)
        assert evaluation["patients"] == len(approved)
        _check_records(together.gateways[HOSPITAL].config.gateway.records, task_id, settled=await together.settlements(end))
        kept = (state / "gateway.sqlite").read_bytes() + (state / "gateway.sqlite-wal").read_bytes()
        assert not [key for key in KEYS if f'"{key}"'.encode() in kept]
        await _check_proof(together, tmp_path, end, withdrawn)


async def _check_proof(together: TogetherConsortium, folder: Path, end: TaskView, withdrawn: str) -> None:
    """The withdrawal is provable without the patient's name, and after erasure by nobody; the ledger and the state name nobody."""
    config, task_id = together.gateways[HOSPITAL].config, end.terms.task_id
    state = config.gateway.state
    (recorded,) = end.withdrawals
    assert (recorded.mspid, recorded.round) in {(HOSPITAL, 1), (HOSPITAL, 2)}
    opening = find_opening(state, task_id=task_id, mspid=HOSPITAL, patient=withdrawn)
    assert opening.digest == recorded.digest and len(opening.commitments) == PADDED
    with pytest.raises(InputError, match="no withdrawal of this patient"):
        find_opening(state, task_id=task_id, mspid=HOSPITAL, patient="h1-p0")  # was left out before the approval
    client, proof, now = together.researcher.client, folder / "proof.json", datetime.now(UTC)
    identity = client.identity
    proven = await prove_withdrawal(client, opening, proof, identity, round_number=recorded.round + 1, now=now, processes=1)
    assert (proven.mspid, proven.round, proven.commitment) == (HOSPITAL, recorded.round + 1, opening.commitment)
    assert withdrawn not in proof.read_text() and opening.salt not in proof.read_text()
    genesis = proven.recorded.genesis_hash
    assert check_withdrawal(proof, opening=opening, genesis_hash=genesis).commitment == opening.commitment
    with pytest.raises(VerificationFailed, match="before the withdrawal was recorded"):
        await prove_withdrawal(client, opening, folder / "no.json", identity, round_number=1, now=now, processes=1)
    _check_forgeries(proof, opening, genesis)
    await _check_erasure(together, task_id, withdrawn, opening)


def _check_forgeries(proof: Path, opening: Opening, genesis: bytes) -> None:
    content = json.loads(proof.read_text())
    foreign = replace(opening, patient="h1-p0")
    with pytest.raises(VerificationFailed, match="not this patient's"):
        check_withdrawal(proof, opening=foreign, genesis_hash=genesis)
    for change, reason in (
        ({"round": content["round"] + 1}, "does not open this round"),
        ({"mspid": "hospital-02"}, "another hospital"),
        ({"task_id": "task-2"}, "another task or batch"),
        ({"commitments": [*content["commitments"][1:], foreign.commitment]}, "another task or batch"),
        ({"commitment": foreign.commitment}, "not in the batch"),
        ({"opened": content["recorded"]}, "does not open this round"),
    ):
        forged = proof.with_name("forged.json")
        forged.write_text(json.dumps({**content, **change}))
        with pytest.raises(VerificationFailed, match=reason):
            check_withdrawal(forged, genesis_hash=genesis)


async def _check_erasure(together: TogetherConsortium, task_id: str, withdrawn: str, opening: Opening) -> None:
    """Whoever has the ledger, the hospital's state and all its patients' ids finds the patient before, and nobody after."""
    config = together.gateways[HOSPITAL].config
    height = await together.researcher.client.height()
    ledger = b"".join([block.SerializeToString() async for block in together.researcher.client.blocks(start=0, stop=height - 1)])
    assert opening.digest.encode() in ledger
    assert not [key for key in KEYS if key.encode() in ledger] and opening.salt.encode() not in ledger
    assert _found_by_search(config.gateway.state, task_id) == {withdrawn}
    await together.stop(HOSPITAL)
    state = StateStore(config.gateway.state)
    assert state.erase_patient(withdrawn, over=()) == Erased(1, (task_id,))  # as if the task still ran: nobody comes back into it
    assert state.erase_patient(withdrawn, over=(task_id,)) == Erased(0, ())
    assert _found_by_search(config.gateway.state, task_id) == set()
    hashed = patient_hash(state.cohort_salt(task_id), withdrawn)
    state.close()
    left = b"".join(path.read_bytes() for path in config.gateway.state.rglob("*") if path.is_file())
    for trace in (opening.salt, hashed, withdrawn):
        assert trace.encode() not in left
    with pytest.raises(InputError, match="erased"):
        find_opening(config.gateway.state, task_id=task_id, mspid=HOSPITAL, patient=withdrawn)


def _found_by_search(state: Path, task_id: str) -> set[str]:
    """Patients whom one finds by trying every id of the hospital, with every secret in its state, against what stands on the ledger."""
    database = sqlite3.connect(state / "gateway.sqlite")
    rows = database.execute("SELECT kind, value FROM item WHERE task_id = ?", (task_id,)).fetchall()
    database.close()
    batches = [WithdrawalBatch.parse(value) for kind, value in rows if kind == "withdrawal"]
    secrets = {found.decode() for _, value in rows for found in re.findall(rb"[0-9a-f]{64}", value)}
    secrets |= {bytes(value).hex() for kind, value in rows if kind == "cohort-salt"}
    committed = {commitment for batch in batches for commitment in batch.commitments}
    return {key for key in KEYS for secret in secrets if withdrawal_commitment(task_id, HOSPITAL, secret, key) in committed}


def _check_records(folder: Path, task_id: str, *, settled: list[Any]) -> None:
    """Every deed has its record, each valid FHIR that names no patient."""
    lines = {kind: list(records(folder, kind, task_id)) for kind in ("AuditEvent", "Provenance")}
    for line in [line for kind in lines.values() for line in kind]:
        assert resource(line.encode(), None, "R4") is not None
        assert "h1-p" not in line
    events = [json.loads(line) for line in lines["AuditEvent"]]
    told = [entity["name"] for event in events for entity in event["entity"][1:] if "name" in entity]
    assert told.count("approval with the number of training patients") == 1
    assert told.count("encrypted update") >= 4
    assert told.count("evaluation on held-out patients") == 1
    assert sum(event["action"] == "E" for event in events) == 2  # read before the approval, and again after the restart
    assert len({event["id"] for event in events}) == len(events)
    models = [json.loads(line) for line in lines["Provenance"]]
    wanted = [f"nih:sha-256;{each.candidate.digest}" for each in settled if each.accepted]
    assert [model["target"][0]["identifier"]["value"] for model in models] == wanted
    assert all(len([e for e in model["entity"] if e["what"]["display"].startswith(("views of", "cohort of"))]) == 6 for model in models)


async def test_past_a_permit_s_last_day_nothing_runs(tmp_path: Path) -> None:
    permit = 'permit = "EHDS-7"\npermit_expires = 2090-06-30'
    async with consortium(tmp_path) as together:
        document = task_document(rounds=3, heartbeat_limit=IMPATIENT, permit=permit)
        task_id = await together.submit(document)
        begun = await together.until(task_id, phase="reveal", round_number=1)
        assert (begun.terms.permit, begun.terms.permit_expires) == ("EHDS-7", "2090-06-30")
        together.now = lambda: datetime(2090, 7, 1, tzinfo=UTC)
        end = await together.until_over(task_id)
        assert end.phase == "abandoned" and end.round < 3
        again = await together.until_over(await together.submit(document, task_id="task-2"))
        assert again.phase == "abandoned"
        assert {decision.reason for decision in again.decisions} == {
            "the permit EHDS-7 ended on 2090-06-30: nothing runs under it any more; a task needs a permit that is valid"
        }
