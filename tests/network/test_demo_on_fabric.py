"""What the demo has of its own for a real network: configurations, and knowing when the network is beyond use."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from gateway.cli.main import run
from gateway.config import load_client_config, load_gateway_config
from gateway.demo.fabric_ledger import FabricLedger
from gateway.demo.hospitals import DemoHospital
from gateway.demo.network import create_network
from gateway.errors import ExitCode
from gateway.fhir.samples import write_breast_cancer
from gateway.network.create import create
from gateway.network.description import Orderers, load
from gateway.network.home import open_home
from gateway.network.status import down, running
from gateway.network.up import up
from tests.support.fabric_home import make_home


def test_every_organisation_is_led_to_its_own_peer(tmp_path: Path) -> None:
    demo = create_network(tmp_path, [DemoHospital(name, tmp_path / name) for name in ("east", "north")], on_fabric=True)
    fabric = load(demo.fabric)
    assert [member.mspid for member in fabric.members] == ["east", "north", "research", "audit"]
    assert not demo.ledger_config.exists()
    configs = {
        "east": load_gateway_config(demo.gateway("east")),
        "north": load_gateway_config(demo.gateway("north")),
        "research": load_client_config(demo.researcher),
        "audit": load_client_config(demo.auditor),
    }
    for mspid, config in configs.items():
        for each in (config, load_client_config(demo.admin(mspid))):
            assert each.ledger.endpoint == fabric.member(mspid).endpoint
            assert each.ledger.tls_ca.read_bytes() == demo.pki(mspid).tls_ca.read_bytes()
            assert each.identity.mspid == mspid
    assert len({config.ledger.endpoint for config in configs.values()}) == 4


def test_init_names_the_network_s_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "Patient.ndjson").write_text("")
    words = ["init", "--demo", tmp_path / "out", "--hospitals", tmp_path / "data", "--ledger", "fabric", "--format", "json"]
    assert run([*map(str, words)]) is ExitCode.OK
    configs = json.loads(capsys.readouterr().out)["data"]["configs"]
    assert configs[0] == str(tmp_path / "out" / "fabric" / "network.json")
    assert all(Path(path).is_file() for path in configs)


async def test_a_network_that_runs_is_not_cleared_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_breast_cancer(tmp_path / "data", hospitals=3)
    words = ["init", "--demo", tmp_path / "out", "--hospitals", tmp_path / "data"]
    assert await asyncio.to_thread(run, [*map(str, words)]) is ExitCode.OK
    network = create(tmp_path / "out" / "fabric", ["only"], Orderers(consensus="raft", count=1))
    await asyncio.to_thread(up, network, open_home(make_home(tmp_path / "home")), print)
    try:
        assert await asyncio.to_thread(run, [*map(str, words)]) is ExitCode.BAD_INPUT
        assert "stop it first with `consortium network down`" in capsys.readouterr().err
    finally:
        await asyncio.to_thread(down, network)
    assert await asyncio.to_thread(run, [*map(str, words)]) is ExitCode.OK
    assert not network.folder.exists()


@pytest.mark.parametrize("words", [["--ledger", "fabric"], ["--fabric-home", "somewhere"], ["--ledger", "embedded", "--fabric-home", "x"]])
def test_ledger_and_release_go_together(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", *words]) is ExitCode.USAGE
    assert "go together" in capsys.readouterr().err


async def test_the_network_has_ended_when_a_majority_of_one_kind_has(tmp_path: Path) -> None:
    network = create(tmp_path / "net", ["only"], Orderers(consensus="raft", count=3))
    await asyncio.to_thread(up, network, open_home(make_home(tmp_path / "home")), print)
    try:
        ledger = FabricLedger(network)
        await asyncio.sleep(0)
        found = running(network)
        for name in ("orderer-1", "orderer-2"):
            assert not ledger.ended.done()
            os.kill(found[name], signal.SIGKILL)
        await ledger.ended
        assert ledger.obituary().startswith("orderer-1, orderer-2 of the Fabric network ended; the logs are in")
    finally:
        await asyncio.to_thread(down, network)
