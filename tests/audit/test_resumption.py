"""An audit that goes on where the one before ended finds what a whole one finds, and takes nobody's word for what it does not read."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.blocks import header_hash
from fabric.checkpoint import Checkpoint
from fabric.crypto import SigningIdentity
from fabric.devledger.config import load
from fabric.devledger.server import start
from gateway.auditor.known_ids import IdsOnDisk
from gateway.auditor.resumption import Resumption
from gateway.auditor.state_on_disk import StateOnDisk
from gateway.auditor.verify import AuditReport, verify_ledger
from gateway.cli.main import run
from gateway.demo.hospitals import DemoHospital
from gateway.demo.network import create_network
from gateway.errors import ExitCode, InputError, VerificationFailed
from tests.support.chain import NOW, Consortium, of_five_values
from tests.support.consortium import Behaviour
from tests.support.ledger_file import Blocks
from tests.support.recorded_task import Recording, played

HEIGHT = 4


@pytest.fixture(scope="module")
def finished() -> Recording:
    return played(6, 2, Behaviour(utility={"H02MSP": 400_000}, silent={"score_reveal": {"H03MSP"}}, offline={"H06MSP"}))


@pytest.fixture(scope="module")
def chain() -> Consortium:
    return of_five_values()


@pytest.fixture
def resumption(chain: Consortium, tmp_path: Path) -> Resumption:
    return of(chain.hospitals[1].client, tmp_path)


def of(identity: SigningIdentity, folder: Path) -> Resumption:
    return Resumption(folder / "audit.state", identity, NOW)


async def audit(blocks: Sequence[common_pb2.Block], resumption: Resumption, *checkpoints: Checkpoint) -> AuditReport:
    return await verify_ledger(Blocks(blocks), checkpoints=checkpoints, processes=1, resumption=resumption)


def another(chain: Consortium, number: int) -> Consortium:
    """The same organisations' operators, with another history from block `number` on."""
    other = Consortium(chain.hospitals, chain.orderer, list(chain.blocks[:number]), nonces=1000)
    del other.blocks[number:]
    return other


async def test_a_resumed_audit_finds_what_a_whole_one_finds(finished: Recording, tmp_path: Path) -> None:
    """Block by block, so that every book is put away and taken up at every point of the history."""
    resumption = of(finished.chain.hospitals[0].client, tmp_path)
    whole = await verify_ledger(Blocks(finished.blocks))
    assert whole.verified
    for height in range(1, len(finished.blocks) + 1):
        report = await audit(finished.blocks[:height], resumption)
        assert (report.height, report.resumed_at, report.first_bad_block) == (height, height - 1, None)
        # In mid-task the books agree with the state as well: each step is a ledger of its own.
        assert report.problems == ()
    assert replace(report, resumed_at=0) == whole


async def test_nothing_new_is_nothing_to_verify(chain: Consortium, resumption: Resumption) -> None:
    first = await audit(chain.blocks, resumption)
    assert replace(await audit(chain.blocks, resumption), resumed_at=0) == first


async def test_a_forged_result_after_the_break_is_found(tmp_path: Path) -> None:
    recording = played(3, 1)
    resumption = of(recording.chain.hospitals[0].client, tmp_path)
    assert (await audit(recording.blocks, resumption)).verified
    recording.forge("H01MSP", "rejoin", {"\x00trust\x00H01MSP\x00": b'{"schema":1}'})
    report = await audit(recording.blocks, resumption)
    assert not report.verified
    assert not report.recomputed.trust
    height = len(recording.blocks) - 1
    assert (await audit(recording.blocks[:height], resumption)).resumed_at == height, "the bad audit left the file of the good one"


async def test_a_rollback_is_found(chain: Consortium, resumption: Resumption) -> None:
    assert (await audit(chain.blocks, resumption)).verified
    report = await audit(chain.blocks[:HEIGHT], resumption)
    assert (report.first_bad_block, report.step) == (HEIGHT, "CHECKPOINT")
    assert "rolled back" in report.reason


@pytest.mark.parametrize("longer", [0, 1, 3], ids=["as high", "higher", "much higher"])
async def test_a_fork_is_found(chain: Consortium, resumption: Resumption, longer: int) -> None:
    assert (await audit(chain.blocks[:HEIGHT], resumption)).verified
    fork = another(chain, HEIGHT - 1)
    for _ in range(1 + longer):
        fork.put(a=b"another")
    report = await audit(fork.blocks, resumption)
    assert (report.first_bad_block, report.step) == (HEIGHT - 1, "CHECKPOINT")
    assert "forked" in report.reason


async def test_another_channel_is_not_taken_for_this_one(chain: Consortium, resumption: Resumption) -> None:
    assert (await audit(chain.blocks[:HEIGHT], resumption)).verified
    stranger = Consortium(chain.hospitals, chain.orderer, nonces=5000)
    for _ in range(HEIGHT):
        stranger.put(a=b"1")
    report = await audit(stranger.blocks, resumption)
    assert (report.first_bad_block, report.step) == (HEIGHT - 1, "CHECKPOINT")


async def test_ids_from_before_the_break_stay_taken(chain: Consortium, resumption: Resumption) -> None:
    taken = another(chain, HEIGHT)
    assert (await audit(taken.blocks, resumption)).verified
    taken.add([taken.blocks[2].data.data[0]])
    report = await audit(taken.blocks, resumption)
    assert (report.first_bad_block, report.step) == (HEIGHT, "TRANSACTIONS")
    assert "DUPLICATE_TXID" in report.reason


async def test_reads_are_judged_by_the_state_before_the_break(chain: Consortium, resumption: Resumption) -> None:
    stale = another(chain, HEIGHT)
    assert (await audit(stale.blocks, resumption)).verified
    stale.add([stale.transaction(reads=[("a", (1, 0))], writes=[("b", b"2")])])
    report = await audit(stale.blocks, resumption)
    assert (report.first_bad_block, report.step) == (HEIGHT, "TRANSACTIONS")
    assert "MVCC_READ_CONFLICT" in report.reason


async def test_only_the_own_word_counts(chain: Consortium, resumption: Resumption) -> None:
    assert (await audit(chain.blocks, resumption)).verified
    with pytest.raises(VerificationFailed, match=r"client.BetaMSP of BetaMSP signed it, and an auditor takes nobody's word but its own"):
        await audit(chain.blocks, replace(resumption, identity=chain.hospitals[0].client))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_byte_of_the_file_can_be_changed(kept: tuple[Resumption, bytes], data: st.DataObject) -> None:
    resumption, content = kept
    position = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    resumption.path.write_bytes(changed)
    with IdsOnDisk() as known, StateOnDisk() as state, pytest.raises(VerificationFailed, match="cannot go on from"):
        resumption.read(known, state)


@pytest.fixture(scope="module")
def kept(chain: Consortium, tmp_path_factory: pytest.TempPathFactory) -> tuple[Resumption, bytes]:
    resumption = of(chain.hospitals[1].client, tmp_path_factory.mktemp("kept"))
    assert asyncio.run(audit(chain.blocks, resumption)).verified
    return resumption, resumption.path.read_bytes()


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
async def test_a_file_that_was_cut_is_refused(chain: Consortium, resumption: Resumption, cut: int) -> None:
    assert (await audit(chain.blocks, resumption)).verified
    resumption.path.write_bytes(resumption.path.read_bytes()[:cut])
    with pytest.raises(VerificationFailed, match="remove the file to begin with the first block"):
        await audit(chain.blocks, resumption)


async def test_a_place_that_cannot_be_written_is_named(chain: Consortium, resumption: Resumption, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        await audit(chain.blocks, replace(resumption, path=tmp_path / "missing" / "file"))


async def test_checkpoints_hold_from_the_break_on(chain: Consortium, resumption: Resumption) -> None:
    assert (await audit(chain.blocks[:HEIGHT], resumption)).verified
    good = [Checkpoint(number, header_hash(chain.blocks[number].header)) for number in (HEIGHT - 1, HEIGHT)]
    assert (await audit(chain.blocks[: HEIGHT + 1], resumption, *good)).verified
    report = await audit(chain.blocks, resumption, Checkpoint(HEIGHT + 1, b"\x01" * 32))
    assert (report.first_bad_block, report.step) == (HEIGHT + 1, "CHECKPOINT")
    report = await audit(chain.blocks, resumption, Checkpoint(1, header_hash(chain.blocks[1].header)))
    assert (report.first_bad_block, report.step) == (1, "CHECKPOINT")
    assert "begin with the first block" in report.reason


def say(capsys: pytest.CaptureFixture[str], *words: str | Path, code: ExitCode = ExitCode.OK) -> Any:
    assert run([*map(str, words), "--format", "json"]) is code
    answer = json.loads(capsys.readouterr().out)
    return answer["data"] if code is ExitCode.OK else answer["message"]


async def test_an_auditor_goes_on_from_the_file_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = create_network(tmp_path / "out", [DemoHospital(name, tmp_path / name) for name in ("east", "north", "west")])
    verify = ("audit", "verify", "--config", network.auditor, "--resume", tmp_path / "audit.state")
    ledger = await start(load(network.ledger_config))
    try:
        first = await asyncio.to_thread(say, capsys, *verify)
        registered = ("register", "organisation", "--config", network.admin("east"), "--name", "East", "--kind", "hospital")
        await asyncio.to_thread(say, capsys, *registered)
        second = await asyncio.to_thread(say, capsys, *verify)
    finally:
        await ledger.stop()
    assert (first["resumed_at"], second["resumed_at"]) == (0, first["height"])
    assert second["transactions"] == first["transactions"] + 1


def test_an_exported_file_is_verified_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("audit", "verify", "--blocks", tmp_path / "blocks", "--resume", tmp_path / "audit.state")
    assert "--resume goes with --config" in say(capsys, *words, code=ExitCode.USAGE)
