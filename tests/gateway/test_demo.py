"""The demo on a small input: real processes, real files, and what it leaves behind."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fabric.devledger.config import load as load_ledger_config
from gateway.auditor.verify import verify_file
from gateway.config import load_client_config
from gateway.connect import ledger_access
from gateway.demo.document import DEFAULT_TASK
from gateway.demo.processes import Processes, until_serving
from gateway.demo.run import BLOCKS_FILE, MODEL_FILE, DemoSettings, run_demo
from gateway.errors import ExitCode, ProductError, TaskIncomplete
from gateway.fhir.samples import write_breast_cancer
from gateway.researcher.gather import model_digest
from gateway.researcher.progress import Progress
from privacy.models import digest, from_safetensors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Recorder:
    """A view that keeps what it is told, and may act on it."""

    def __init__(self, act: Callable[[Progress], None] | None = None) -> None:
        self.lines: list[str] = []
        self._act = act

    def show(self, progress: Progress) -> None:
        if progress.notable:
            self.lines.append(progress.said)
        if self._act:
            self._act(progress)

    def say(self, line: str) -> None:
        self.lines.append(line)


def processes_about(folder: Path) -> list[int]:
    """Process ids whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"gateway.cli" in words and any(word.startswith(bytes(folder)) for word in words):
            found.append(int(path.parent.name))
    return found


async def test_three_hospitals_train_and_everything_is_written_and_verified(tmp_path: Path) -> None:
    write_breast_cancer(tmp_path / "data", hospitals=3)
    out, view = tmp_path / "out", Recorder()
    result = await run_demo(DemoSettings(out, DEFAULT_TASK, tmp_path / "data", rounds=2), view)
    assert processes_about(out) == []
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["status"], summary["rounds"]) == ("finished", 2)
    assert [hospital["mspid"] for hospital in summary["hospitals"]] == ["hospital-01", "hospital-02", "hospital-03"]
    assert 0.4 * 569 < sum(hospital["patients"] for hospital in summary["hospitals"]) < 0.7 * 569  # who train
    assert summary["auc"]["local"].keys() == {"hospital-01", "hospital-02", "hospital-03"}
    assert summary["ledger"] == {"kind": "embedded", "height": result.outcome.ledger.height, "verified": True}
    assert set(summary["seconds"]) == {"total", "setup", "training", "encryption", "aggregation", "ledger"}
    assert 0.5 < summary["auc"]["federated"] <= 1
    assert summary["auc"]["pooled_plain"] > 0.95
    assert result.report.read_text(encoding="utf-8").count("<svg") > 6
    report = verify_file(out / BLOCKS_FILE)
    assert report.verified
    await the_ledger_starts_again(out, (out / MODEL_FILE).read_bytes(), summary["task"])


async def the_ledger_starts_again(out: Path, model: bytes, task_id: str) -> None:
    """The demo's ledger.toml serves what the demo left, and the model is the one on it."""
    import grpc

    config = load_client_config(out / "researcher.toml")
    async with Processes(out / "logs") as processes:
        child = await processes.start("ledger-again", "the ledger", "ledger", "dev", "--config", out / "ledger.toml")
        credentials = grpc.ssl_channel_credentials(config.ledger.tls_ca.read_bytes())
        await until_serving(child, grpc.aio.secure_channel(load_ledger_config(out / "ledger.toml").ledger.listen, credentials))
        async with ledger_access(config) as (_, ledger):
            view = await ledger.task(task_id)
            assert digest(from_safetensors(model)[1]) == await model_digest(ledger, view)


async def test_a_gateway_that_is_killed_does_not_stop_the_others(tmp_path: Path) -> None:
    write_breast_cancer(tmp_path / "data", hospitals=4)
    out = tmp_path / "out"
    killed: list[str] = []

    def kill_one(progress: Progress) -> None:
        if progress.round_phase == "settled" and not killed:
            victim = "hospital-02"
            (pid,) = processes_about(out / f"{victim}.toml")
            os.kill(pid, signal.SIGKILL)
            killed.append(victim)

    view = Recorder(kill_one)
    # Enough rounds that the task is far from its end when what the view tells of the first has led to the kill.
    result = await run_demo(DemoSettings(out, DEFAULT_TASK, tmp_path / "data", rounds=24), view)
    assert killed
    assert any("the gateway of hospital-02 ended with exit code -9" in line and "hospital-02.log" in line for line in view.lines)
    assert len(result.outcome.rounds) == 24
    outcomes = {hospital.mspid: hospital for hospital in result.outcome.hospitals}
    assert outcomes["hospital-02"].evaluation is None
    assert outcomes["hospital-02"].note
    assert all(outcomes[mspid].evaluation for mspid in ("hospital-01", "hospital-03", "hospital-04"))


async def test_too_few_gateways_left_end_the_task_with_a_sentence(tmp_path: Path) -> None:
    write_breast_cancer(tmp_path / "data", hospitals=3)
    out = tmp_path / "out"
    killed: list[int] = []

    def kill_one(progress: Progress) -> None:
        if progress.round_phase == "settled" and not killed:
            killed.extend(processes_about(out / "hospital-03.toml"))
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(TaskIncomplete, match="1 of 3 gateways died") as caught:
        await run_demo(DemoSettings(out, DEFAULT_TASK, tmp_path / "data", rounds=50), Recorder(kill_one))
    assert "blocks.out" in str(caught.value)
    assert verify_file(out / BLOCKS_FILE).verified
    assert processes_about(out) == []


async def test_a_task_for_too_much_epsilon_is_refused_by_every_hospital(tmp_path: Path) -> None:
    write_breast_cancer(tmp_path / "data", hospitals=3)
    task = tmp_path / "greedy.toml"
    task.write_bytes(DEFAULT_TASK.read_bytes().replace(b"\nepsilon = 6.0", b"\nepsilon = 11.0"))
    view = Recorder()
    with pytest.raises(ProductError) as caught:
        await run_demo(DemoSettings(tmp_path / "out", task, tmp_path / "data", rounds=1), view)
    assert caught.value.exit_code is ExitCode.INCOMPLETE
    assert any("at most 10" in line for line in view.lines), view.lines


async def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path) -> None:
    write_breast_cancer(tmp_path / "data", hospitals=3)
    out = tmp_path / "out"
    running: list[int] = []

    class Interrupter(Recorder):
        def say(self, line: str) -> None:
            if "the ledger serves" in line:
                task = asyncio.current_task()
                assert task is not None
                running.extend(processes_about(out))
                task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run_demo(DemoSettings(out, DEFAULT_TASK, tmp_path / "data"), Interrupter())
    assert running
    assert processes_about(out) == []
