"""Verbs against a running embedded ledger, as an administrator, a researcher and an auditor type them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fabric.devledger.config import load
from fabric.devledger.server import start
from gateway.cli.main import run
from gateway.demo.document import DEFAULT_TASK
from gateway.demo.hospitals import DemoHospital
from gateway.demo.network import DemoNetwork, create_network
from gateway.errors import ExitCode


@dataclass
class Shell:
    """Types verbs; `say` gives what a program gets, and checks the exit code."""

    network: DemoNetwork
    capture: pytest.CaptureFixture[str]

    async def say(self, *words: str | Path, code: ExitCode = ExitCode.OK) -> Any:
        ended = await asyncio.to_thread(run, [*map(str, words), "--format", "json"])
        answer = json.loads(self.capture.readouterr().out)
        assert (ended, answer["exit_code"], answer["status"]) == (code, code, "error" if code else "ok"), answer
        return answer["data"] if ended is ExitCode.OK else answer

    async def lines(self, *words: str | Path) -> list[str]:
        """What a person gets."""
        assert await asyncio.to_thread(run, [*map(str, words)]) is ExitCode.OK
        return self.capture.readouterr().out.splitlines()

    async def register(self, mspid: str, kind: str, role: str, name: str, *endpoint: str) -> None:
        admin, certificate = self.network.admin(mspid), self.network.pki(mspid).files(name).certificate
        await self.say("register", "organisation", "--config", admin, "--name", mspid, "--kind", kind)
        await self.say("register", "identity", "--config", admin, "--role", role, "--certificate", certificate, *endpoint)


@pytest.fixture
async def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Shell]:
    network = create_network(tmp_path / "out", [DemoHospital(name, tmp_path / name) for name in ("east", "north", "west")])
    ledger = await start(load(network.ledger_config))
    try:
        yield Shell(network, capsys)
    finally:
        await ledger.stop()


async def test_a_hospital_registers_and_sees_its_budget(shell: Shell) -> None:
    await shell.register("north", "hospital", "gateway", "gateway", "--endpoint", "127.0.0.1:7100")
    config = shell.network.gateway("north")
    await shell.say("register", "dataset", "--config", config)
    budget = await shell.say("budget", "show", "--config", config)
    untouched = {"epsilon_spent": 0.0, "epsilon_left": 20.0, "epsilon_by_pld": 0.0, "epsilon_by_prv": 0.0, "tasks": {}}
    assert budget == {
        "mspid": "north", "dataset": "records", "epsilon": 20.0, "delta": 0.001,
        "partitions": {"train": untouched, "validation": untouched, "test": untouched},
    }  # fmt: skip
    await shell.register("audit", "audit", "auditor", "auditor")
    auditor = shell.network.auditor
    assert await shell.say("budget", "show", "--config", auditor, "--hospital", "north", "--dataset", "records") == budget
    assert (await shell.lines("budget", "show", "--config", config))[0] == "data set records of north, δ = 0.001"
    again = await shell.say("register", "dataset", "--config", config, code=ExitCode.REFUSED)
    assert again["error_code"] == "CONTRACT_REFUSED"


async def test_what_only_an_administrator_may_do(shell: Shell) -> None:
    words = ["register", "organisation", "--config", shell.network.gateway("north"), "--name", "North", "--kind", "hospital"]
    refused = await shell.say(*words, code=ExitCode.REFUSED)
    assert "admin" in refused["message"]


async def test_verbs_that_need_another_configuration_say_so(shell: Shell, tmp_path: Path) -> None:
    auditor = shell.network.auditor
    for verb in (["register", "dataset"], ["gateway", "status"]):
        answer = await shell.say(*verb, "--config", auditor, code=ExitCode.BAD_INPUT)
        assert "configuration of the hospital's gateway" in answer["message"]
    answer = await shell.say("budget", "show", "--config", auditor, code=ExitCode.BAD_INPUT)
    assert "--dataset" in answer["message"]
    nothing = tmp_path / "nothing.pem"
    words = ["register", "identity", "--config", shell.network.admin("north"), "--role", "gateway", "--certificate", nothing]
    answer = await shell.say(*words, code=ExitCode.BAD_INPUT)
    assert str(nothing) in answer["message"]


async def test_a_task_is_listed_shown_and_aborted(shell: Shell) -> None:
    researcher = shell.network.researcher
    await shell.register("research", "research", "researcher", "researcher")
    assert await shell.say("task", "list", "--config", researcher) == []
    for mspid in shell.network.hospitals:
        # No gateway runs: the ledger has the task, and the researcher is told that nobody has its document.
        await shell.register(mspid, "hospital", "gateway", "gateway", "--endpoint", "127.0.0.1:9")
        await shell.say("register", "dataset", "--config", shell.network.gateway(mspid))
    answer = await shell.say(
        "task", "submit", "--config", researcher, "--document", DEFAULT_TASK, "--id", "breast-1", code=ExitCode.UNAVAILABLE
    )
    assert "no gateway took its document" in answer["message"]
    assert "task deliver" in answer["message"]
    (listed,) = await shell.say("task", "list", "--config", researcher)
    assert (listed["task_id"], listed["phase"]) == ("breast-1", "proposed")
    shown = await shell.say("task", "show", "--config", researcher, "--task", "breast-1")
    assert shown["terms"]["organisation"] == "research"
    assert "proposed; round 0 of 24" in await shell.lines("task", "show", "--config", researcher, "--task", "breast-1")
    answer = await shell.say("task", "model", "--config", researcher, "--task", "breast-1", "--out", "unused", code=ExitCode.INCOMPLETE)
    assert "no accepted model" in answer["message"]
    await shell.say("task", "abort", "--config", researcher, "--task", "breast-1", "--reason", "a mistake")
    answer = await shell.say("task", "watch", "--config", researcher, "--task", "breast-1", code=ExitCode.INCOMPLETE)
    assert "aborted: a mistake" in answer["message"]
    story = await shell.say("audit", "trail", "--config", shell.network.auditor, "--task", "breast-1")
    assert [entry["function"] for entry in story] == ["submit_task", "abort_task"]


async def test_a_task_that_does_not_exist(shell: Shell) -> None:
    await shell.say("task", "show", "--config", shell.network.researcher, "--task", "nothing", code=ExitCode.REFUSED)
    answer = await shell.say("audit", "trail", "--config", shell.network.auditor, "--task", "nothing", code=ExitCode.BAD_INPUT)
    assert "task list" in answer["message"]


async def test_bad_task_files_never_reach_the_ledger(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "task.toml"
    researcher = shell.network.researcher
    await shell.register("research", "research", "researcher", "researcher")
    path.write_bytes(DEFAULT_TASK.read_bytes().replace(b"clip =", b"clap ="))
    answer = await shell.say("task", "submit", "--config", researcher, "--document", path, code=ExitCode.BAD_INPUT)
    assert answer["error_code"] == "BAD_TASK"
    assert "privacy.clap" in answer["message"]
    answer = await shell.say(
        "task", "submit", "--config", researcher, "--document", DEFAULT_TASK, "--id", "Not An Id", code=ExitCode.BAD_INPUT
    )
    assert "lower-case" in answer["message"]
    assert await shell.say("task", "list", "--config", researcher) == []


async def test_the_ledger_is_exported_and_verified_and_a_changed_byte_is_found(shell: Shell, tmp_path: Path) -> None:
    await shell.register("north", "hospital", "gateway", "gateway")
    auditor, blocks = shell.network.auditor, tmp_path / "blocks.out"
    exported = await shell.say("audit", "export", "--config", auditor, "--out", blocks)
    online = await shell.say("audit", "verify", "--config", auditor)
    offline = await shell.say("audit", "verify", "--blocks", blocks)
    assert online == offline
    assert (online["height"], online["last_hash"]) == (exported["height"], exported["last_hash"])
    content = bytearray(blocks.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    blocks.write_bytes(content)
    answer = await shell.say("audit", "verify", "--blocks", blocks, code=ExitCode.VERIFICATION_FAILED)
    assert answer["message"].startswith("block ")
    await shell.say("audit", "verify", "--blocks", tmp_path / "nowhere", code=ExitCode.BAD_INPUT)
    await shell.say("audit", "verify", code=ExitCode.USAGE)


async def test_a_gateway_that_does_not_run(shell: Shell) -> None:
    answer = await shell.say("gateway", "status", "--config", shell.network.gateway("north"), code=ExitCode.UNAVAILABLE)
    assert "did not answer" in answer["message"]


async def test_a_second_ledger_on_the_same_port(shell: Shell) -> None:
    command = [sys.executable, "-m", "gateway.cli", "ledger", "dev", "--config", str(shell.network.ledger_config)]
    second = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await second.communicate()
    assert second.returncode == ExitCode.BAD_INPUT
    assert errors.decode().splitlines()[-1].startswith("consortium: ")
