"""The log of records: each whole, each once, there before what it is about; and what it says."""

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli.records import export_records
from gateway.errors import InputError
from gateway.fhir.records import Cohort, Record, Use, disclosure_event, model_provenance, read_event
from gateway.fhir.validate import resource
from gateway.hospital.record_log import RecordLog, records
from tests.gateway.test_task_data import config

AT = datetime(2026, 6, 15, 12, tzinfo=UTC)
USE = Use("task-1", "find sepsis early", "EHDS-7", "2027-01-31", "LabMSP")
WITHOUT_PERMIT = Use("task-2", "find sepsis early", "", "", "LabMSP")


def _model(record_id: str, use: Use = USE) -> Record:
    return model_provenance(
        record_id,
        at=AT,
        use=use,
        model_digest="ab" * 32,
        round_number=3,
        rounds=20,
        contributors=["A", "B", "C"],
        aggregator="B",
        cohorts=[Cohort("A", "11" * 32, "22" * 32), Cohort("B", None, None)],
    )


def _told(record_id: str, use: Use = USE, **changes: Any) -> Record:
    arguments = {"what": "update", "recipient": "B", "details": {"round": "3", "sha-256": "cd" * 32}} | changes
    return disclosure_event(record_id, at=AT, hospital="A", use=use, **arguments)


def _read(record_id: str, use: Use = USE) -> Record:
    return read_event(record_id, at=AT, hospital="A", use=use, views_digest="11" * 32)


@pytest.mark.parametrize("make", [_model, _told, _read])
@pytest.mark.parametrize("use", [USE, WITHOUT_PERMIT])
def test_records_are_fhir_r4(make: Any, use: Use) -> None:
    found = resource(json.dumps(make("r-1", use)).encode(), None, "R4")
    assert found is not None
    assert found.type in ("AuditEvent", "Provenance")


def test_a_disclosure_says_who_what_whom_and_why() -> None:
    event = _told("r-1")
    assert (event["type"]["code"], event["subtype"][0]["code"], event["recorded"]) == (
        "110106",
        "disclose",
        "2026-06-15T12:00:00.000+00:00",
    )
    assert [agent["who"]["identifier"]["value"] for agent in event["agent"]] == ["A", "B", "LabMSP"]
    assert [agent["requestor"] for agent in event["agent"]] == [False, False, True]
    assert event["agent"][0]["who"] == event["source"]["observer"], "val-audit-source of BALP"
    assert event["purposeOfEvent"][0]["coding"][0]["code"] == "HRESCH"
    job, report = event["entity"]
    assert job["what"]["identifier"]["value"] == "task-1"
    assert {each["type"]: each["valueString"] for each in job["detail"]} == {
        "permit": "EHDS-7",
        "permit expires": "2027-01-31",
        "round": "3",
        "sha-256": "cd" * 32,
    }
    assert report["name"] == "encrypted update"


def test_a_model_names_its_permit_its_round_and_what_it_was_made_of() -> None:
    model = _model("r-1")
    assert model["target"] == [
        {
            "identifier": {"system": "urn:ietf:rfc:3986", "value": f"nih:sha-256;{'ab' * 32}"},
            "display": "model of round 3 of 20, task task-1",
        }
    ]
    assert [entity["what"]["display"] for entity in model["entity"]] == [
        "task",
        "permit, valid until 2027-01-31",
        "views of A",
        "cohort of A",
    ]
    assert [agent["who"]["identifier"]["value"] for agent in model["agent"]] == ["A", "B", "C", "B", "LabMSP"]


def test_a_record_is_kept_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "records")
    for record in (_told("u-1"), _told("u-1"), _model("m-1"), _told("u-2", WITHOUT_PERMIT)):
        log.append(record)
    log.close()
    again = RecordLog(tmp_path / "records")
    again.append(_told("u-1"))
    assert ("u-1" in again, "u-3" in again) == (True, False)
    again.close()
    ids = [json.loads(line)["id"] for line in records(tmp_path / "records", "AuditEvent", None)]
    assert ids == ["u-1", "u-2"]
    assert [json.loads(line)["id"] for line in records(tmp_path / "records", "AuditEvent", "task-2")] == ["u-2"]
    assert stat.S_IMODE((tmp_path / "records" / "AuditEvent.ndjson").stat().st_mode) == 0o600


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_line_that_a_crash_cut_is_taken_off_and_written_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = RecordLog(folder)
    for number in range(3):
        log.append(_told(f"u-{number}"))
    log.close()
    path = folder / "AuditEvent.ndjson"
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert len(list(records(folder, "AuditEvent", None))) == kept, "a reader beside the gateway sees whole lines only"
    log = RecordLog(folder)
    for number in range(3):
        log.append(_told(f"u-{number}"))
    log.close()
    assert path.read_bytes() == whole


def test_what_is_not_on_disk_was_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RecordLog(tmp_path)
    log.append(_told("u-1"))

    def fails(file: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no space left"):
        log.append(_told("u-2"))
    monkeypatch.undo()
    assert "u-2" not in log
    log.append(_told("u-2"))
    log.close()
    assert [json.loads(line)["id"] for line in records(tmp_path, "AuditEvent", None)] == ["u-1", "u-2"]


def test_the_verb_writes_a_task_s_records_into_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_of = config(tmp_path, None)
    monkeypatch.setattr("gateway.config.load_gateway_config", lambda _: settings_of)
    call = getattr(export_records.callback, "__wrapped__", export_records.callback)
    assert call is not None
    with pytest.raises(InputError, match="they are there once the gateway has run"):
        call(config=tmp_path / "hospital.toml", task_id=None, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    log = RecordLog(settings_of.gateway.records)
    for record in (_read("r-1"), _told("u-1", WITHOUT_PERMIT), _model("m-1")):
        log.append(record)
    log.close()
    found = call(config=tmp_path / "hospital.toml", task_id="task-1", out=tmp_path / "out")
    assert found.data["resources"] == {"AuditEvent": 1, "Provenance": 1}
    assert json.loads((tmp_path / "out" / "AuditEvent.ndjson").read_text())["id"] == "r-1"
    assert stat.S_IMODE((tmp_path / "out" / "AuditEvent.ndjson").stat().st_mode) == 0o600
    with pytest.raises(InputError, match="give the name of a new folder"):
        call(config=tmp_path / "hospital.toml", task_id="task-1", out=tmp_path / "out")
