"""Patients who withdraw while a task runs, permits that end, and the records of both, in whole consortia."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.fhir.split import split
from gateway.fhir.validate import resource
from gateway.hospital.record_log import records
from gateway.hospital.summed import Updates
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
        assert evaluation["patients"]["train"] == len(approved)
        assert "2 of 60 patients were left out for lack of consent" in evaluation["warnings"]
        _check_records(together.gateways[HOSPITAL].config.gateway.records, task_id, settled=await together.settlements(end))
        kept = (state / "gateway.sqlite").read_bytes() + (state / "gateway.sqlite-wal").read_bytes()
        assert not [key for key in KEYS if f'"{key}"'.encode() in kept]


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
        assert (end.phase, end.round) == ("abandoned", 1)
        again = await together.until_over(await together.submit(document, task_id="task-2"))
        assert again.phase == "abandoned"
        assert {decision.reason for decision in again.decisions} == {
            "the permit EHDS-7 ended on 2090-06-30: nothing runs under it any more; a task needs a permit that is valid"
        }
