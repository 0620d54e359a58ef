"""What the hub holds for a task: named blobs on disk, written whole or not at all, waited for without polling."""

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from consortium.v1 import exchange_pb2

from gateway.errors import InputError, ProductError, Unavailable

_TASK_ID = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
_MSPID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_ROUNDS = 100_000
MAX_GROUPS = 1_000


class BlobConflictError(ProductError):
    """Other bytes were already received under this name; the first receipt stands."""

    exit_code = InputError.exit_code
    error_code = "BLOB_CONFLICT"
    grpc_status = grpc.StatusCode.ALREADY_EXISTS


@dataclass(frozen=True)
class Name:
    """A blob's name, checked: every part is safe in a file name."""

    task_id: str
    round: int
    kind: int
    owner: str
    recipient: str = ""
    group: int = 0
    attempt: int = 0

    @staticmethod
    def parse(message: exchange_pb2.BlobName) -> "Name":
        """Check an untrusted name; raise InputError saying which part cannot be."""
        if not _TASK_ID.fullmatch(message.task_id):
            raise InputError(f"task id {message.task_id!r} of a blob is not one; it is lower-case letters, digits and hyphens")
        if not _MSPID.fullmatch(message.owner) or (message.recipient and not _MSPID.fullmatch(message.recipient)):
            raise InputError("owner or recipient of a blob is not an MSP id")
        if message.kind not in exchange_pb2.BlobKind.values() or message.kind == exchange_pb2.BLOB_KIND_UNSPECIFIED:
            raise InputError(f"blob kind {message.kind} is unknown")
        if message.round > MAX_ROUNDS or message.group > MAX_GROUPS or message.attempt > MAX_ROUNDS:
            raise InputError("round, group or attempt of a blob is out of range")
        return Name(message.task_id, message.round, message.kind, message.owner, message.recipient, message.group, message.attempt)

    def message(self) -> exchange_pb2.BlobName:
        return exchange_pb2.BlobName(
            task_id=self.task_id,
            round=self.round,
            kind=exchange_pb2.BlobKind.Name(self.kind),
            owner=self.owner,
            recipient=self.recipient,
            group=self.group,
            attempt=self.attempt,
        )

    def path(self, root: Path) -> Path:
        return root / self.task_id / f"{self.round:06d}" / f"{self.kind}+{self.attempt}+{self.group}+{self.owner}+{self.recipient}"


class BlobStore:
    """Blobs under one folder. A crash leaves whole blobs or temporary files, which the next start removes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._arrived = asyncio.Condition()
        for leftover in root.glob("*/*/*.part"):
            leftover.unlink()

    def read(self, name: Name) -> bytes | None:
        """The blob's bytes, or None where it has not come."""
        try:
            return name.path(self._root).read_bytes()
        except FileNotFoundError:
            return None

    async def put(self, name: Name, chunks: AsyncIterable[bytes], *, sha256: bytes) -> None:
        """Keep a blob, written as it comes; the same bytes again are no error, other bytes raise BlobConflictError.

        `chunks` raises if its bytes, all told, do not have the digest `sha256`; then nothing is kept.
        """
        path = name.path(self._root)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of its own name, because an owner whose call broke off may send again while the first call still ends.
        descriptor, part = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
        with _removed(Path(part)):
            with os.fdopen(descriptor, "wb") as file:
                async for chunk in chunks:
                    file.write(chunk)
            # Not synced: after a power cut a blob may be gone, and its owner, who keeps it until the round settles, sends it again.
            _keep_first(Path(part), path, name, sha256)
        async with self._arrived:
            self._arrived.notify_all()

    async def put_own(self, name: Name, data: bytes) -> None:
        """Keep a blob that this gateway made itself."""
        await self.put(name, _whole(data), sha256=hashlib.sha256(data).digest())

    async def wait(self, name: Name, *, timeout_seconds: float | None = None) -> bytes:
        """The blob's bytes as soon as they are here; raise Unavailable after `timeout_seconds`."""
        return (await self.arrival(name, timeout_seconds=timeout_seconds)).read_bytes()

    async def arrival(self, name: Name, *, timeout_seconds: float | None = None) -> Path:
        """The file of the blob as soon as it is here, whole; raise Unavailable after `timeout_seconds`."""
        path = name.path(self._root)
        try:
            async with asyncio.timeout(timeout_seconds), self._arrived:
                while not path.exists():
                    await self._arrived.wait()
        except TimeoutError as error:
            raise Unavailable(
                f"{name.owner} did not bring its {exchange_pb2.BlobKind.Name(name.kind)} of round {name.round} in time"
            ) from error
        return path

    def forget(self, task_id: str, *, before_round: int) -> None:
        """Remove the blobs of a task's rounds before `before_round`: nobody needs them once a round has settled."""
        for folder in (self._root / task_id).glob("*"):
            if folder.name.isdigit() and int(folder.name) < before_round:
                for path in folder.iterdir():
                    path.unlink(missing_ok=True)
                folder.rmdir()


def _keep_first(part: Path, path: Path, name: Name, sha256: bytes) -> None:
    # Nothing else of this process runs between the look and the move, so of two calls at once the first stands.
    if not path.exists():
        part.replace(path)
        return
    with path.open("rb") as held:
        if hashlib.file_digest(held, "sha256").digest() != sha256:
            raise BlobConflictError(f"other bytes of {name.owner} are already here under this name; the first receipt stands")


@contextmanager
def _removed(part: Path) -> Iterator[None]:
    """Leave no part of a blob behind, whatever happens."""
    try:
        yield
    finally:
        part.unlink(missing_ok=True)


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
