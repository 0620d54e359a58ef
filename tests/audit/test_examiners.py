"""Examination in other processes changes nothing but the time it takes: the same blocks, the same report, the same first bad block."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2

from fabric.blocks import TRANSACTIONS_FILTER
from fabric.examination import SignatureCheck, examine_block
from fabric.validation import KnownIds
from fabric.verify import Step, VerificationError, Verifier, verify_blocks
from gateway.auditor import examiners as module
from gateway.auditor import examining
from gateway.auditor.examiners import Examiners
from gateway.auditor.known_ids import IdsOnDisk
from gateway.auditor.verify import verify_file, verify_ledger
from gateway.errors import Unavailable
from tests.support.chain import VALID, Consortium
from tests.support.ledger_file import Blocks, write_ledger


@pytest.fixture(scope="module")
def chain() -> Consortium:
    chain = Consortium()
    for number in range(12):
        chain.add([chain.transaction(writes=[(f"k{number}-{index}", b"v" * 50)]) for index in range(3)])
    return chain


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small ledgers travel in many batches."""
    monkeypatch.setattr(module, "_BATCH_BYTES", 20_000)
    monkeypatch.setattr(module, "_BATCHES_AHEAD", 1)


def copies(chain: Consortium) -> list[common_pb2.Block]:
    return [common_pb2.Block.FromString(block.SerializeToString()) for block in chain.blocks]


def test_blocks_come_back_in_order_as_they_would_be_examined_here(chain: Consortium) -> None:
    with Examiners(2, alone_bytes=20_000) as examiners:
        done = list(examiners.examined(chain.blocks))
    assert [block for block, _ in done] == chain.blocks
    assert [examined for _, examined in done] == [examine_block(block) for block in chain.blocks]


def test_what_no_other_process_has_is_checked_here(chain: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EACH_HAS", 0)
    with Examiners(2, alone_bytes=0) as examiners:
        done = list(examiners.examined(chain.blocks))
    assert done == [(block, examine_block(block)) for block in chain.blocks]


def test_what_is_under_way_is_bounded(chain: Consortium) -> None:
    taken = 0

    def source() -> Iterator[common_pb2.Block]:
        nonlocal taken
        for block in chain.blocks * 3:
            taken += 1
            yield block

    with Examiners(1, alone_bytes=0) as examiners:
        for given, _ in enumerate(examiners.examined(source())):
            assert taken - given <= 1
    taken = 0
    with Examiners(2, alone_bytes=0) as examiners:
        for given, _ in enumerate(examiners.examined(source())):
            assert taken - given <= 10  # two processes with one batch of at most three blocks each, one being filled


async def test_the_report_is_the_same(chain: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_ledger(tmp_path / "blocks", chain.blocks)
    alone = verify_file(path, processes=1)
    monkeypatch.setattr(module, "_ALONE_BYTES", 0)
    told: list[tuple[int, int]] = []
    assert verify_file(path, processes=2) == alone
    assert await verify_ledger(Blocks(chain.blocks), processes=2, progress=lambda done, total: told.append((done, total))) == alone
    assert alone.verified
    assert told[-1] == (13, 13)
    assert told == sorted(told)


def tampered(chain: Consortium, number: int) -> list[common_pb2.Block]:
    blocks = copies(chain)
    blocks[number].metadata.metadata[TRANSACTIONS_FILTER] = bytes([VALID, VALID, 11])
    return blocks


def test_a_bad_signature_is_found_wherever_it_was_examined(chain: Consortium) -> None:
    blocks = copies(chain)
    envelope = common_pb2.Envelope.FromString(blocks[9].data.data[1])
    forged = chain.add([common_pb2.Envelope(payload=envelope.payload, signature=chain.hospitals[1].client.sign(b"x")).SerializeToString()])
    del chain.blocks[-1]
    with Examiners(2, alone_bytes=0) as examiners, pytest.raises(VerificationError, match="BAD_CREATOR_SIGNATURE") as caught:
        verify_examined(examiners, [*blocks, forged])
    assert (caught.value.block_number, caught.value.step) == (13, Step.TRANSACTIONS)


def verify_examined(examiners: Examiners, blocks: list[common_pb2.Block]) -> None:
    verifier = Verifier()
    for block, examined in examiners.examined(blocks):
        verifier.accept(block, examined)


def test_the_first_bad_block_comes_before_a_later_break_of_the_file(
    chain: Consortium,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ALONE_BYTES", 0)
    path = write_ledger(tmp_path / "blocks", tampered(chain, 10))
    path.write_bytes(path.read_bytes()[:-1])
    report = verify_file(path, processes=2)
    assert (report.first_bad_block, report.step) == (10, "TRANSACTIONS")
    whole = write_ledger(tmp_path / "blocks", chain.blocks)
    whole.write_bytes(whole.read_bytes()[:-1])
    report = verify_file(whole, processes=2)
    assert (report.first_bad_block, report.step, report.height) == (13, "FILE", 13)


def _die(_: list[SignatureCheck]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_a_sentence(chain: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "check", _die)
    with Examiners(2, alone_bytes=0) as examiners, pytest.raises(Unavailable, match="--processes 1"):
        list(examiners.examined(chain.blocks))


def test_ids_on_disk_are_a_set_as_those_in_memory() -> None:
    memory, ids = KnownIds(), ["ab" * 32, "not a number", "ab" * 32, "", "cd" * 32]
    with IdsOnDisk() as disk:
        for known in (memory, disk):
            known.add(ids[:3])
            known.add(ids[2:4])
        for one in (*ids, "ef" * 32):
            assert (one in disk) == (one in memory)


def test_a_replay_is_found_with_ids_on_disk(tmp_path: Path) -> None:
    chain = Consortium()
    envelope = chain.transaction(writes=[("k", b"v")])
    chain.add([envelope])
    chain.add([envelope])
    report = verify_file(write_ledger(tmp_path / "blocks", chain.blocks))
    assert (report.first_bad_block, report.step) == (2, "TRANSACTIONS")
    assert "DUPLICATE_TXID" in report.reason
    with pytest.raises(VerificationError):
        verify_blocks(chain.blocks)
