"""Checkpoints and evidence as an auditor makes and checks them on the command line, against a running ledger and against its files."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fabric.devledger.config import load
from fabric.devledger.server import start
from fabric.transactions import open_envelope
from gateway.auditor.export import read_blocks
from gateway.cli.main import run
from gateway.demo.hospitals import DemoHospital
from gateway.demo.network import DemoNetwork, create_network
from gateway.errors import ExitCode

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def network(tmp_path: Path) -> DemoNetwork:
    return create_network(tmp_path / "out", [DemoHospital(name, tmp_path / name) for name in ("east", "north", "west")])


@asynccontextmanager
async def serving(network: DemoNetwork) -> AsyncIterator[None]:
    ledger = await start(load(network.ledger_config))
    try:
        yield
    finally:
        await ledger.stop()


async def say(capture: Capture, *words: str | Path, code: ExitCode = ExitCode.OK) -> Any:
    ended = await asyncio.to_thread(run, [*map(str, words), "--format", "json"])
    answer = json.loads(capture.readouterr().out)
    assert ended is code, answer
    return answer["data"] if ended is ExitCode.OK else answer["message"]


async def register(capture: Capture, network: DemoNetwork, *mspids: str) -> None:
    for mspid in mspids:
        await say(
            capture, "register", "organisation", "--config", network.admin(mspid), "--name", mspid, "--kind", "hospital")  # fmt: skip


async def test_a_checkpoint_exposes_a_ledger_that_went_back(network: DemoNetwork, tmp_path: Path, capsys: Capture) -> None:
    auditor, kept, blocks = network.auditor, tmp_path / "kept.json", tmp_path / "blocks"
    data = load(network.ledger_config).ledger.data
    async with serving(network):
        await register(capsys, network, "north")
    shutil.copytree(data, tmp_path / "copy")
    async with serving(network):
        await register(capsys, network, "east")
        made = await say(capsys, "audit", "checkpoint", "--config", auditor, "--out", kept)
        assert made["height"] == 4
        assert made["signer"] == "auditor.audit of audit"
        await register(capsys, network, "west")
        report = await say(capsys, "audit", "verify", "--config", auditor, "--checkpoint", kept)
        assert (report["height"], report["checkpoints"]) == (5, [4])
        await say(capsys, "audit", "export", "--config", auditor, "--out", blocks)
    assert await say(capsys, "audit", "verify", "--blocks", blocks, "--checkpoint", kept, "--processes", "1") == report
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "copy", data)
    verify = ["audit", "verify", "--config", auditor, "--checkpoint", kept]
    async with serving(network):
        message = await say(capsys, *verify, code=ExitCode.VERIFICATION_FAILED)
        assert message.startswith("block 3 is bad (CHECKPOINT): the ledger ends before it")
        assert "rolled back" in message
        await register(capsys, network, "west")
        message = await say(capsys, *verify, code=ExitCode.VERIFICATION_FAILED)
        assert message.startswith("block 3 is bad (CHECKPOINT): ")
        assert "auditor.audit of audit: the ledger was forked" in message
    kept.write_bytes(kept.read_bytes().replace(b'"height":4', b'"height":3'))
    message = await say(capsys, "audit", "verify", "--blocks", blocks, "--checkpoint", kept, code=ExitCode.VERIFICATION_FAILED)
    assert "cannot be relied upon: its signature does not verify" in message
    await say(capsys, "audit", "verify", "--blocks", blocks, "--checkpoint", tmp_path / "none", code=ExitCode.BAD_INPUT)


async def test_evidence_is_made_and_checked(network: DemoNetwork, tmp_path: Path, capsys: Capture) -> None:
    auditor, evidence, kept = network.auditor, tmp_path / "evidence.json", tmp_path / "kept.json"
    async with serving(network):
        await register(capsys, network, "north", "east")
        await say(capsys, "audit", "checkpoint", "--config", auditor, "--out", kept)
        await say(capsys, "audit", "export", "--config", auditor, "--out", tmp_path / "blocks")
        tx_id = newest_transaction(tmp_path / "blocks")
        made = await say(capsys, "audit", "prove", "--config", auditor, "--tx", tx_id, "--checkpoint", kept, "--out", evidence)
        await say(capsys, "audit", "prove", "--config", auditor, "--tx", "nothing", "--out", evidence, code=ExitCode.BAD_INPUT)
    checked = await say(capsys, "audit", "check-proof", evidence, "--genesis-hash", made["genesis_hash"])
    assert {"evidence": str(evidence), **checked} == made
    assert (checked["function"], checked["code"], checked["creator"]) == ("register_organisation", "VALID", "admin.east of east")
    assert json.loads(checked["args"][0])["name"] == "east"
    message = await say(capsys, "audit", "check-proof", evidence, "--genesis-hash", "ab" * 32, code=ExitCode.VERIFICATION_FAILED)
    assert "this is another ledger" in message
    await say(capsys, "audit", "check-proof", evidence, "--genesis-hash", "ab", code=ExitCode.USAGE)
    await say(capsys, "audit", "check-proof", evidence, code=ExitCode.USAGE)
    evidence.write_bytes(evidence.read_bytes().replace(b"VALID", b"INVALID_WRITESET"))
    message = await say(capsys, "audit", "check-proof", evidence, "--genesis-hash", made["genesis_hash"], code=ExitCode.VERIFICATION_FAILED)
    assert "proves nothing: its signature does not verify" in message


async def test_people_are_told_what_is_proved(network: DemoNetwork, tmp_path: Path, capsys: Capture) -> None:
    async with serving(network):
        await register(capsys, network, "north")
        await say(capsys, "audit", "export", "--config", network.auditor, "--out", tmp_path / "blocks")
        tx_id = newest_transaction(tmp_path / "blocks")
        words = ["audit", "prove", "--config", network.auditor, "--tx", tx_id, "--out", tmp_path / "evidence"]
        assert await asyncio.to_thread(run, [*map(str, words)]) is ExitCode.OK
    told = capsys.readouterr()
    assert f"proved: transaction {tx_id}" in told.out
    assert "called register_organisation of consortium, signed by admin.north of north" in told.out
    assert "its validation code is VALID, as auditor.audit of audit computed it from the whole ledger" in told.out
    assert told.err == ""  # no bar where there is no terminal


def newest_transaction(blocks: Path) -> str:
    return open_envelope(list(read_blocks(blocks))[-1].data.data[0]).headers.tx_id
