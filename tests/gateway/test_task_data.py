"""A hospital whose data come from a server: current when a task is looked at, the same from then on until the task ends."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config import GatewayConfig
from gateway.fhir.errors import DataError, FhirServerError
from gateway.fhir.export.run import Exported, export
from gateway.fhir.export.settings import DataSection
from gateway.fhir.sources import files
from gateway.hospital.task_data import PAUSE_SECONDS, TaskData
from gateway.toml_file import validate
from tests.support.exports import FakeTime, fill
from tests.support.fhir_folders import patient, small_hospital, write
from tests.support.fhir_server import Fault, FhirServer, fhir_server
from tests.support.hospitals import consortium, task_document


def config(folder: Path, server: FhirServer | None) -> GatewayConfig:
    sections: dict[str, Any] = {
        "ledger": {"endpoint": "localhost:7051", "tls_ca": "ca.pem"},
        "identity": {"mspid": "HospitalMSP", "certificate": "cert.pem", "private_key": "key.pem"},
        "gateway": {
            "listen": "127.0.0.1:7443",
            "tls_certificate": "tls.pem",
            "tls_private_key": "tls-key.pem",
            "data": "fhir",
            "state": "state",
        },
        "policy": {"max_epsilon": 3.0},
        "budget": {"dataset": "records", "epsilon": 10.0, "delta": 1e-5},
    }
    return validate(GatewayConfig, sections | ({} if server is None else {"data": {"server": server.base}}), folder / "hospital.toml")


async def without_waiting(settings: DataSection, folder: Path) -> Exported:
    return await export(settings, folder, clock=FakeTime().clock)


def lines(folder: Path) -> list[str]:
    return sorted(line for path in files(folder) for line in path.read_text(encoding="utf-8").splitlines())


async def test_a_folder_without_a_server_is_read_as_it_is(tmp_path: Path) -> None:
    data = TaskData(config(tmp_path, None))
    write(tmp_path / "fhir", small_hospital())
    assert await data.folder("task-1", decided=False) == tmp_path / "fhir"


async def test_a_task_keeps_what_it_was_approved_on(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        data = TaskData(config(tmp_path, server), export=without_waiting)
        first = await data.folder("task-1", decided=False)
        before = lines(first)
        server.put(patient("e"))
        server.put(patient("a", gender="female"))
        second = await data.folder("task-2", decided=False)
        assert lines(second) == sorted(server.lines())
        assert lines(first) == before != lines(second)
        asked = len(server.requests)
        # A restart, before and after the decision.
        again = TaskData(config(tmp_path, server), export=without_waiting)
        assert await again.folder("task-1", decided=False) == first
        assert await again.folder("task-1", decided=True) == first
        assert len(server.requests) == asked
        again.forget("task-1")
        assert not first.exists()
        assert await again.folder("task-1", decided=True) == tmp_path / "fhir"
        assert (second / "Patient.ndjson").samefile(tmp_path / "fhir" / "Patient.ndjson"), "links take no room"


async def test_a_server_that_fails_is_left_alone_for_a_while_and_rejects_nothing(tmp_path: Path) -> None:
    seconds = 0.0
    with fhir_server() as server:
        fill(server)
        data = TaskData(config(tmp_path, server), export=without_waiting, now=lambda: seconds)
        server.faults["kickoff"].append(Fault(status=403))
        for _ in range(3):
            with pytest.raises(FhirServerError, match="the server answers 403"):
                await data.folder("task-1", decided=False)
        assert len(server.requests) == 1
        seconds = PAUSE_SECONDS
        assert lines(await data.folder("task-1", decided=False)) == sorted(server.lines())


async def test_a_folder_that_cannot_be_exported_into_rejects_nothing(tmp_path: Path) -> None:
    write(tmp_path / "fhir", small_hospital())
    with fhir_server() as server:
        data = TaskData(config(tmp_path, server), export=without_waiting)
        with pytest.raises(FhirServerError, match="which no export put there"):
            await data.folder("task-1", decided=False)


async def test_a_server_that_gives_nothing_is_a_reason_to_reject(tmp_path: Path) -> None:
    with fhir_server() as server:
        data = TaskData(config(tmp_path, server), export=without_waiting)
        with pytest.raises(DataError, match="holds no"):
            await data.folder("task-1", decided=False)


async def test_two_tasks_at_once_are_one_export_after_the_other(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        data = TaskData(config(tmp_path, server), export=without_waiting)
        found = await asyncio.gather(*(data.folder(f"task-{number}", decided=False) for number in range(3)))
        assert [lines(folder) for folder in found] == [sorted(server.lines())] * 3


async def test_a_task_runs_to_its_end_while_its_hospital_s_server_goes_on(tmp_path: Path) -> None:
    with fhir_server() as server:
        async with consortium(tmp_path, hospitals=3) as together:
            mspid = together.mspids[0]
            await together.stop(mspid)
            path = together.network.gateway(mspid)
            for line in lines(tmp_path / "data" / "hospital-01"):
                server.put(json.loads(line))
            text = re.sub(r"(?m)^data = .*", 'data = "exported"', path.read_text())
            path.write_text(f'{text}\n[data]\nserver = "{server.base}"\n')
            await together.start(mspid)
            task_id = await together.submit(task_document(rounds=3))
            await together.until(task_id, phase="reveal", round_number=1)
            await together.kill(mspid)
            # What another task's approval would do to the folder.
            for number in range(10):
                server.put(patient(f"new-{number}"))
            exported = path.parent / "exported"
            found = await export(DataSection(server=server.base), exported)
            assert found.since is not None
            await together.start(mspid)
            end = await together.until_over(task_id)
            assert end.phase == "finished"
            assert mspid in end.participants
            assert (await together.evaluation(mspid, task_id))["mspid"] == mspid
