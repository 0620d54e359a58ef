"""Ledger files: every block of a channel as evidence that can be kept, sent and verified offline.

    magic     b"consortium-ledger-1\\n"
    blocks    for each block, from number 0 on: its length as a varint (shortest form), then `common.Block` bytes
    end       a zero length, the number of blocks as 8 bytes big-endian, and the last block's header hash (32 bytes)

After the magic the blocks are what protobuf libraries call delimited messages. The end makes a cut file recognisable; whoever
cuts a file on purpose can write a new one, so keep height and hash (a checkpoint) apart from it.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError

from fabric.blocks import header_hash
from fabric.verify import Step, VerificationError
from gateway.errors import InputError

MAGIC = b"consortium-ledger-1\n"
MAX_BLOCK_BYTES = 256 * 1024 * 1024  # no orderer cuts larger ones (100 MiB is the largest message of Fabric's defaults)

_HEIGHT_BYTES, _HASH_BYTES = 8, 32


class BlockSource(Protocol):
    """What delivers blocks: `fabric.client.gateway.Gateway`."""

    async def height(self) -> int: ...

    def blocks(self, *, start: int, stop: int | None) -> AsyncIterator[common_pb2.Block]: ...


@dataclass(frozen=True)
class Exported:
    """What an export wrote: `height` blocks, the last with `last_hash`. Keep both apart from the file."""

    path: Path
    height: int
    last_hash: bytes
    size: int  # bytes


async def export_ledger(client: BlockSource, path: Path) -> Exported:
    """Write the ledger as it is now to `path`; the file appears only when it is complete and on disk. Raises InputError."""
    height = await client.height()
    try:
        with replacing(path) as file:
            return await _write(client, height, file, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place for the file") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends without an error, and leaves no trace otherwise."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)  # mkstemp's 0600 would keep it from the auditor's colleagues; the ledger holds no secrets
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


async def _write(client: BlockSource, height: int, file: BinaryIO, path: Path) -> Exported:
    last_hash = b""
    file.write(MAGIC)
    async for block in client.blocks(start=0, stop=height - 1):
        file.write(frame(block.SerializeToString()))
        last_hash = header_hash(block.header)
    file.write(ending(height, last_hash))
    return Exported(path, height, last_hash, file.tell())


def frame(data: bytes) -> bytes:
    """A block's bytes with their length before them."""
    return _varint(len(data)) + data


def ending(height: int, last_hash: bytes) -> bytes:
    """The end of a ledger file."""
    return b"\x00" + height.to_bytes(_HEIGHT_BYTES, "big") + last_hash


def read_blocks(path: Path) -> Iterator[common_pb2.Block]:
    """The blocks of a ledger file one by one. Raises VerificationError naming the block where the file breaks, and OSError."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise VerificationError(0, Step.FILE, f"{path.name} does not start as a ledger file does")
        number, last = 0, None
        while data := _read_frame(file, number):
            last = _parse(data, number)
            yield last
            number += 1
        _check_end(file, number, header_hash(last.header) if last is not None else b"")


def _read_frame(file: BinaryIO, number: int) -> bytes:
    """The next block's bytes; empty at the end mark."""
    length = _read_varint(file, number)
    if length > MAX_BLOCK_BYTES:
        raise VerificationError(number, Step.FILE, f"the file announces a block of {length} bytes, which no orderer cuts")
    data = file.read(length)
    if len(data) != length:
        raise VerificationError(number, Step.FILE, "the file ends in the middle of the block")
    return data


def _parse(data: bytes, number: int) -> common_pb2.Block:
    try:
        block = common_pb2.Block.FromString(data)
    except DecodeError as error:
        raise VerificationError(number, Step.ENCODING, "its bytes are not a block") from error
    if block.SerializeToString() != data:
        raise VerificationError(number, Step.ENCODING, "its bytes are not the canonical form of a block")
    return block


def _check_end(file: BinaryIO, height: int, last_hash: bytes) -> None:
    end = file.read(_HEIGHT_BYTES + _HASH_BYTES)
    if end != ending(height, last_hash)[1:]:
        raise VerificationError(height, Step.FILE, "the end of the file does not match its blocks: some are missing, or it was changed")
    if file.read(1):
        raise VerificationError(height, Step.FILE, "bytes follow the end of the file")


def _read_varint(file: BinaryIO, number: int) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte:
            raise VerificationError(number, Step.FILE, "the file ends where a block or its end mark should follow")
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
        if shift > 35:
            raise VerificationError(number, Step.FILE, "the length before the block is not a number")
    if len(_varint(value)) != shift // 7:
        raise VerificationError(number, Step.FILE, "the length before the block is not in its shortest form")
    return value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
