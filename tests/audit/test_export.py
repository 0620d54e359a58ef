"""The file of an exported ledger: what is written is read again, and whatever is changed in it is found at the right block."""

from bisect import bisect_right
from collections.abc import AsyncIterator
from itertools import accumulate
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.client.errors import LedgerUnavailable
from fabric.verify import Step, VerificationError, verify_blocks
from gateway.auditor.export import MAGIC, export_ledger, frame, read_blocks
from gateway.auditor.verify import verify_file
from gateway.errors import InputError
from tests.support.chain import MVCC_READ_CONFLICT, VALID, Consortium
from tests.support.ledger_file import Blocks, ledger_bytes, write_ledger


@pytest.fixture(scope="module")
def chain() -> Consortium:
    chain = Consortium()
    chain.put(a=b"1")
    chain.add([chain.transaction(reads=[("a", (1, 0))], writes=[("a", value)]) for value in (b"2", b"3")], [VALID, MVCC_READ_CONFLICT])
    chain.put(b=b"4")
    return chain


@pytest.fixture(scope="module")
def data(chain: Consortium) -> bytes:
    return ledger_bytes(chain.blocks)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledgers") / "ledger.blocks"


def block_at(chain: Consortium, offset: int) -> int:
    """The block whose bytes, or whose length before them, stand at an offset; the height for the end of the file."""
    starts = list(accumulate((len(frame(block.SerializeToString())) for block in chain.blocks), initial=len(MAGIC)))
    return max(0, bisect_right(starts, offset) - 1)


def first_bad_block(path: Path, data: bytes) -> int | None:
    path.write_bytes(data)
    return verify_file(path).first_bad_block


async def test_an_export_holds_the_ledger(chain: Consortium, tmp_path: Path) -> None:
    path = tmp_path / "ledger.blocks"
    exported = await export_ledger(Blocks(chain.blocks), path)
    assert (exported.height, exported.size) == (4, path.stat().st_size)
    assert list(read_blocks(path)) == chain.blocks
    report = verify_file(path)
    assert report.verified
    assert (report.height, report.last_hash) == (4, exported.last_hash.hex())
    assert (report.transactions, report.valid, report.invalid) == (5, 4, 1)
    assert report.organisations == ("AlphaMSP", "BetaMSP", "GammaMSP")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class _Breaking(Blocks):
    async def blocks(self, *, start: int, stop: int | None) -> AsyncIterator[common_pb2.Block]:
        async for block in super().blocks(start=start, stop=stop):
            yield block
            raise LedgerUnavailable("the ledger went away")


async def test_an_export_that_fails_leaves_nothing(chain: Consortium, tmp_path: Path) -> None:
    (tmp_path / "ledger.blocks").write_bytes(b"an older export")
    with pytest.raises(LedgerUnavailable):
        await export_ledger(_Breaking(chain.blocks), tmp_path / "ledger.blocks")
    assert contents(tmp_path) == {"ledger.blocks": b"an older export"}
    with pytest.raises(InputError, match="choose another place"):
        await export_ledger(Blocks(chain.blocks), tmp_path / "missing" / "ledger.blocks")


def test_a_file_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        verify_file(tmp_path / "nothing")


@settings(max_examples=400, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_changed_byte_is_found_at_its_block(chain: Consortium, data: bytes, scratch: Path, position: float, mask: int) -> None:
    offset = int(position * len(data))
    changed = bytearray(data)
    changed[offset] ^= mask
    assert first_bad_block(scratch, bytes(changed)) == block_at(chain, offset)


def test_every_byte_of_the_metadata_counts(chain: Consortium, data: bytes, scratch: Path) -> None:
    """The part that no hash covers, one byte after the other."""
    block = chain.blocks[2]
    end = len(MAGIC) + sum(len(frame(earlier.SerializeToString())) for earlier in chain.blocks[:3])
    for offset in range(end - block.metadata.ByteSize() - 4, end):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        assert first_bad_block(scratch, bytes(changed)) == 2, offset


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_found(chain: Consortium, data: bytes, scratch: Path, position: float) -> None:
    length = int(position * len(data))
    assert first_bad_block(scratch, data[:length]) == block_at(chain, length)


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 1), extra=st.binary(min_size=1, max_size=8))
def test_bytes_put_in_anywhere_are_found(chain: Consortium, data: bytes, scratch: Path, position: float, extra: bytes) -> None:
    offset = int(position * len(data))
    assert first_bad_block(scratch, data[:offset] + extra + data[offset:]) is not None


def test_a_dropped_block_is_found_even_if_the_end_is_kept(chain: Consortium, tmp_path: Path) -> None:
    path = write_ledger(tmp_path / "cut", chain.blocks)
    whole, last = path.read_bytes(), frame(chain.blocks[-1].SerializeToString())
    path.write_bytes(whole.replace(last, b""))
    with pytest.raises(VerificationError) as caught:
        verify_blocks(read_blocks(path))
    assert (caught.value.block_number, caught.value.step) == (3, Step.FILE)


def test_a_length_in_a_longer_form_is_refused(chain: Consortium, scratch: Path) -> None:
    first = chain.blocks[0].SerializeToString()
    length = len(first)
    longer = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, 0])
    data = ledger_bytes(chain.blocks).replace(frame(first), longer + first)
    assert first_bad_block(scratch, data) == 0


def test_a_hopeless_length_is_refused_before_it_is_read(scratch: Path) -> None:
    assert first_bad_block(scratch, MAGIC + b"\xff\xff\xff\xff\x0f") == 0
    assert first_bad_block(scratch, MAGIC + b"\xff" * 20) == 0
