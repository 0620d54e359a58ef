"""The whole main job on a real network: `consortium demo --ledger fabric`."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from gateway.auditor.verify import verify_file
from gateway.demo.document import DEFAULT_TASK
from gateway.demo.run import BLOCKS_FILE, DemoSettings, run_demo
from gateway.errors import InputError, Unavailable
from gateway.fhir.samples import write_breast_cancer
from gateway.network.description import DESCRIPTION, load
from gateway.network.programs import until
from gateway.network.status import running as network_running
from gateway.researcher.progress import Progress

pytestmark = [pytest.mark.fabric, pytest.mark.slow, pytest.mark.timeout(600)]


class Recorder:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, _progress: Progress) -> None: ...

    def say(self, line: str) -> None:
        self.lines.append(line)


def running(out: Path) -> list[str]:
    return list(network_running(load(out / "fabric")))


def expect(out: Path, count: int) -> None:
    """Raise Unavailable unless so many programs of the demo's network run."""
    if not (out / "fabric" / DESCRIPTION).exists() or len(running(out)) != count:
        raise Unavailable(f"not {count} programs run")


async def test_three_hospitals_train_on_real_fabric_and_an_auditor_verifies_it(fabric_home: Path, tmp_path: Path) -> None:
    write_breast_cancer(tmp_path / "data", hospitals=3)
    out, view = tmp_path / "out", Recorder()
    result = await run_demo(DemoSettings(out, DEFAULT_TASK, tmp_path / "data", rounds=2, fabric_home=fabric_home), view)
    assert running(out) == []
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["status"], summary["rounds"]) == ("finished", 2)
    assert summary["ledger"] == {"kind": "fabric", "height": result.outcome.ledger.height, "verified": True}
    assert 0.5 < summary["auc"]["federated"] <= 1
    assert any(line.startswith("an auditor verified") for line in view.lines)
    report = verify_file(out / BLOCKS_FILE)
    assert report.verified
    assert set(report.organisations) == {"hospital-01", "hospital-02", "hospital-03", "research", "audit"}


async def test_a_demo_that_is_killed_takes_its_network_with_it(fabric_home: Path, tmp_path: Path) -> None:
    write_breast_cancer(tmp_path / "data", hospitals=3)
    out = tmp_path / "out"
    words = ["demo", "--ledger", "fabric", "--fabric-home", fabric_home, "--hospitals", tmp_path / "data", "--out", out]
    demo = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway.cli", *words, stdout=asyncio.subprocess.DEVNULL)
    await asyncio.to_thread(until, lambda: expect(out, 3 + 5 + 5))
    demo.kill()  # the verb that brings the network up is in the middle of it, and is told to stop
    await demo.wait()
    await asyncio.to_thread(until, lambda: expect(out, 0))


async def test_a_wrong_release_costs_nothing_of_an_earlier_demo(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with pytest.raises(InputError, match=r"bin/peer is missing"):
        await run_demo(DemoSettings(tmp_path / "out", DEFAULT_TASK, fabric_home=tmp_path / "home"), Recorder())
    assert not (tmp_path / "out").exists()
