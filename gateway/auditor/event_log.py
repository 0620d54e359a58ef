"""The contract's events in a file, each once: for a hospital's monitoring, or an auditor who wants to be told.

One JSON object a line: {"block", "tx_id", "name", "payload"}. The file is its own checkpoint: its last whole line says where to go on,
so what was written and how far it got cannot disagree, wherever the process is killed. Half a line at the end is taken back.
"""

import fcntl
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from fabric import canonical
from fabric.client.checkpoint import Checkpoint
from fabric.client.events import ChaincodeEvent
from gateway.errors import InputError


class EventSource(Protocol):
    """What tells of events: `fabric.client.gateway.Gateway`."""

    def chaincode_events(self, *, after: Checkpoint | None) -> AsyncIterator[ChaincodeEvent]: ...


async def append_events(client: EventSource, path: Path) -> None:
    """Append every event after those in `path`, from the first block on where it is new, until cancelled.

    Raises InputError where the file cannot be used, and StreamError where the ledger refuses.
    """
    with _opened(path) as file:
        async for event in client.chaincode_events(after=_checkpoint(file, path)):
            file.write(_line(event))
            file.flush()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("a+b")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place for the file") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{path} is being written by another process; end that one or choose another file") from error
        yield file


def _checkpoint(file: BinaryIO, path: Path) -> Checkpoint:
    """Where the file's last whole line stands; what follows that line is cut off."""
    last, end = b"", 0
    file.seek(0)
    for line in file:
        if line.endswith(b"\n"):
            last, end = line, end + len(line)
    file.truncate(end)
    return _parsed(last, path) if last else Checkpoint.before_block(0)


def _parsed(line: bytes, path: Path) -> Checkpoint:
    try:
        entry = json.loads(line)
        return Checkpoint(int(entry["block"]), str(entry["tx_id"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the last line of {path} is not one that `audit events` wrote; choose another file") from error


def _line(event: ChaincodeEvent) -> bytes:
    entry = {"block": event.block_number, "tx_id": event.tx_id, "name": event.name, "payload": _payload(event.payload)}
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _payload(payload: bytes) -> Any:
    """The contract's JSON; anything else, which only another contract would send, in hex."""
    try:
        return canonical.loads(payload)
    except canonical.CanonicalError:
        return payload.hex()
