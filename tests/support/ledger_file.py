"""Ledgers as files and as sources of blocks, without a network."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from fabric_protos.common import common_pb2

from fabric.blocks import header_hash
from gateway.auditor.export import MAGIC, ending, frame


def ledger_bytes(blocks: Sequence[common_pb2.Block]) -> bytes:
    """What `export_ledger` writes for these blocks."""
    return MAGIC + b"".join(frame(block.SerializeToString()) for block in blocks) + ending(len(blocks), header_hash(blocks[-1].header))


def write_ledger(path: Path, blocks: Sequence[common_pb2.Block]) -> Path:
    path.write_bytes(ledger_bytes(blocks))
    return path


class Blocks:
    """A source of blocks, as the ledger's client is one."""

    def __init__(self, blocks: Sequence[common_pb2.Block]) -> None:
        self._blocks = blocks

    async def height(self) -> int:
        return len(self._blocks)

    async def blocks(self, *, start: int, stop: int | None) -> AsyncIterator[common_pb2.Block]:
        for block in self._blocks[start : None if stop is None else stop + 1]:
            yield block
