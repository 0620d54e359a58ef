"""Signed checkpoints: what was kept elsewhere exposes a rollback and a fork, and cannot itself be forged or changed."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import canonical
from fabric.blocks import header_hash
from fabric.checkpoint import KIND, Checkpoint, open_checkpoint, sign_checkpoint
from fabric.crypto import SigningIdentity
from fabric.statement import StatementError, sign_statement
from fabric.verify import Step, VerificationError, verify_blocks
from gateway.auditor.checkpoints import read_checkpoints, write_checkpoint
from gateway.auditor.verify import verify_file, verify_ledger
from gateway.errors import InputError, VerificationFailed
from tests.support.chain import NOW, Consortium, identity, of_five_values
from tests.support.ledger_file import Blocks, write_ledger

HEIGHT = 4


@pytest.fixture(scope="module")
def chain() -> Consortium:
    return of_five_values()


def signer(chain: Consortium) -> SigningIdentity:
    return chain.hospitals[1].client


def statement(chain: Consortium, identity: SigningIdentity | None = None, **changed: str | int) -> bytes:
    content = {
        "channel": "consortium",
        "height": HEIGHT,
        "genesis_hash": header_hash(chain.blocks[0].header).hex(),
        "block_hash": header_hash(chain.blocks[HEIGHT - 1].header).hex(),
        "made_at": NOW.isoformat(),
    }
    return sign_statement(identity or signer(chain), KIND, {**content, **changed})


def failure(blocks: list[common_pb2.Block], *kept: bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verify_blocks(blocks, checkpoints=[open_checkpoint(data) for data in kept])
    assert caught.value.step is Step.CHECKPOINT
    return caught.value


def forked(chain: Consortium, number: int) -> Consortium:
    """The same consortium's operators, who wrote another history from block `number` on."""
    other = Consortium(chain.hospitals, chain.orderer, list(chain.blocks[:number]), nonces=1000)
    del other.blocks[number:]
    while len(other.blocks) < len(chain.blocks):
        other.put(a=b"another")
    return other


def test_a_ledger_agrees_with_its_own_checkpoint(chain: Consortium) -> None:
    kept = open_checkpoint(
        sign_checkpoint(
            signer(chain),
            channel="consortium",
            height=HEIGHT,
            genesis_hash=header_hash(chain.blocks[0].header),
            block_hash=header_hash(chain.blocks[HEIGHT - 1].header),
            made_at=NOW,
        )
    )
    assert (kept.height, kept.signer) == (HEIGHT, "client.BetaMSP of BetaMSP")
    assert verify_blocks(chain.blocks, checkpoints=[kept]).height == 6
    assert verify_blocks(chain.blocks[:HEIGHT], checkpoints=[kept]).height == HEIGHT


def test_a_rollback_is_exposed(chain: Consortium) -> None:
    error = failure(chain.blocks[:3], statement(chain))
    assert error.block_number == 3
    assert "the checkpoint of client.BetaMSP of BetaMSP is of block 3: the ledger was rolled back" in error.reason


def test_a_fork_is_exposed_and_where_it_can_have_begun(chain: Consortium) -> None:
    early = statement(chain, height=1, block_hash=header_hash(chain.blocks[0].header).hex())
    error = failure(forked(chain, 2).blocks, statement(chain), early)
    assert error.block_number == HEIGHT - 1
    assert error.reason.endswith("the ledger was forked after block 0")


def test_checkpoints_of_one_height_that_differ_cannot_both_agree(chain: Consortium) -> None:
    other = statement(chain, block_hash=header_hash(forked(chain, 2).blocks[HEIGHT - 1].header).hex())
    for kept in ((statement(chain), other), (other, statement(chain))):
        assert failure(chain.blocks, *kept).block_number == HEIGHT - 1


def test_a_ledger_made_anew_is_exposed_at_its_first_block(chain: Consortium) -> None:
    anew = Consortium(chain.hospitals, chain.orderer, nonces=1000)
    anew.put(a=b"1")
    error = failure(anew.blocks, statement(chain))
    assert error.block_number == 0
    assert "the ledger was made anew" in error.reason


def test_a_checkpoint_of_another_channel_is_refused(chain: Consortium) -> None:
    assert "is of channel 'research'" in failure(chain.blocks, statement(chain, channel="research")).reason


@pytest.mark.parametrize("blocks", [6, 2], ids=["whole", "rolled back"])
def test_only_members_of_the_channel_can_raise_an_alarm(chain: Consortium, blocks: int) -> None:
    stranger = Consortium().hospitals[1].client  # calls itself a member of BetaMSP, certified by another authority
    late = identity("BetaMSP", "late", ["client"], chain.hospitals[1].ca, start=NOW + datetime.timedelta(days=1))
    for signed_by in (stranger, late):
        error = failure(chain.blocks[:blocks], statement(chain, signed_by, block_hash="ab" * 32))
        assert "cannot be relied upon" in error.reason


@settings(max_examples=300, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_changed_byte_of_a_checkpoint_is_found(chain: Consortium, position: float, mask: int) -> None:
    data = bytearray(statement(chain))
    data[int(position * len(data))] ^= mask
    with pytest.raises(StatementError):
        open_checkpoint(bytes(data))


def test_the_bits_that_base64_leaves_over_are_not_free(chain: Consortium) -> None:
    """Signatures have 70 to 72 bytes; some lengths leave bits of the last digit unused."""
    data = next(data for _ in range(100) if (data := statement(chain)).endswith(b'="}\n'))
    place = data.rindex(b'="}') - data.endswith(b'=="}\n') - 1
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for digit in set(digits) - {data[place]}:
        with pytest.raises(StatementError, match="does not verify"):
            open_checkpoint(data[:place] + bytes([digit]) + data[place + 1 :])


def _longer(data: bytes) -> bytes:
    return data + b"\n"


def _spaced(data: bytes) -> bytes:
    return data.replace(b'","', b'", "', 1)


def _high_s(data: bytes) -> bytes:
    return canonical.dumps({**canonical.loads(data), "signature": "MAYCAQECAQE="}) + b"\n"


def _renamed(data: bytes) -> bytes:
    return data.replace(b'"mspid":"BetaMSP"', b'"mspid":"AlphaMSP"')


def _list(_: bytes) -> bytes:
    return b"[]\n"


@pytest.mark.parametrize("change", [_longer, _spaced, _high_s, _renamed, _list, lambda _: b"", lambda _: b"\xff", lambda _: b"[" * 100_000])
def test_only_the_one_form_that_was_signed_is_read(chain: Consortium, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(StatementError):
        open_checkpoint(change(statement(chain)))


@pytest.mark.parametrize(
    "changed",
    [
        {"height": 0},
        {"height": "4"},
        {"block_hash": "ab"},
        {"genesis_hash": "zz"},
        {"made_at": "yesterday"},
        {"made_at": "2026-03-01T12:00:00"},
        {"more": "fields"},
    ],
)
def test_what_a_member_signs_must_still_be_a_checkpoint(chain: Consortium, changed: dict[str, str | int]) -> None:
    with pytest.raises(StatementError, match="not a checkpoint"):
        open_checkpoint(statement(chain, **changed))


def test_another_kind_of_statement_is_no_checkpoint(chain: Consortium) -> None:
    with pytest.raises(StatementError, match="where 'consortium-checkpoint-1' is needed"):
        open_checkpoint(sign_statement(signer(chain), "consortium-evidence-1", {}))


async def test_an_audit_writes_and_holds_against_checkpoint_files(chain: Consortium, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    written = write_checkpoint(path, await verify_ledger(Blocks(chain.blocks)), signer(chain), now=NOW)
    assert read_checkpoints([path]) == [written]
    assert (written.height, written.block_hash) == (6, header_hash(chain.blocks[-1].header))
    later = forked(chain, 5)
    for report in (
        await verify_ledger(Blocks(later.blocks), checkpoints=[written]),
        verify_file(write_ledger(tmp_path / "blocks", later.blocks), checkpoints=[written]),
    ):
        assert (report.first_bad_block, report.step) == (5, "CHECKPOINT")
        assert "forked" in report.finding
    with pytest.raises(ValueError, match="does not verify"):
        write_checkpoint(path, report, signer(chain), now=NOW)


def test_files_that_are_no_checkpoints_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"{}")
    with pytest.raises(VerificationFailed, match="cannot be relied upon"):
        read_checkpoints([tmp_path / "bad"])
    with pytest.raises(InputError, match="audit checkpoint"):
        read_checkpoints([tmp_path / "missing"])


def test_a_plain_checkpoint_has_nobody_to_check(chain: Consortium) -> None:
    kept = Checkpoint(3, header_hash(chain.blocks[3].header))
    assert (kept.signer, kept.said_by) == ("", "the checkpoint")
    assert verify_blocks(chain.blocks, checkpoints=[kept]).height == 6
