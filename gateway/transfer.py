"""Blobs on the wire: a header, then chunks of at most 1 MiB, checked as they come."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from consortium.v1 import exchange_pb2

from gateway.aggregator.blobs import Name
from gateway.errors import InputError, Unavailable, VerificationFailed
from gateway.rpc import CHUNK_BYTES, unavailable

Part = TypeVar("Part", exchange_pb2.UploadRequest, exchange_pb2.FetchResponse)


async def send(message: type[Part], name: Name, blob: io.BufferedReader | io.BytesIO) -> AsyncIterator[Part]:
    """The messages that carry a blob, read chunk by chunk from `blob`, an open file or a BytesIO at its beginning."""
    digest = hashlib.file_digest(blob, "sha256").digest()
    size = blob.seek(0, io.SEEK_END)
    yield message(header=exchange_pb2.BlobHeader(name=name.message(), size=size, sha256=digest))
    blob.seek(0)
    while chunk := blob.read(CHUNK_BYTES):
        yield message(chunk=chunk)


async def receive_header(parts: AsyncIterator[Part]) -> exchange_pb2.BlobHeader:
    """The first message's header, before anything is buffered."""
    first = await anext(parts, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InputError("a blob begins with its header; send the header first")
    return first.header


async def receive_body(parts: AsyncIterator[Part], header: exchange_pb2.BlobHeader, *, limit_bytes: int) -> AsyncIterator[bytes]:
    """The chunks as they come; raise InputError or VerificationFailed, at the latest at the end, unless they are what the header says."""
    if header.size > limit_bytes:
        raise InputError(f"a blob of {header.size} bytes is over the limit of {limit_bytes} bytes")
    received, digest = 0, hashlib.sha256()
    async for part in parts:
        if part.WhichOneof("part") != "chunk":
            raise InputError("a blob has one header; chunks must follow it")
        received += len(part.chunk)
        if received > header.size:
            raise InputError(f"more than the {header.size} bytes that the header announced were sent")
        digest.update(part.chunk)
        yield part.chunk
    if received != header.size or digest.digest() != header.sha256:
        raise VerificationFailed("the blob's bytes are not those that its header announced; send it again")


async def upload(stub: Any, name: Name, data: bytes, *, timeout_seconds: float, whom: str) -> None:
    """Send a blob to a hub; raise Unavailable naming `whom` if it is not taken."""
    with _failures_named(whom):
        await stub.Upload(send(exchange_pb2.UploadRequest, name, io.BytesIO(data)), timeout=timeout_seconds)


async def fetch(stub: Any, name: Name, *, limit_bytes: int, timeout_seconds: float, whom: str) -> bytes:
    """Get a blob from a hub, waiting up to `timeout_seconds` for it to be there; raise Unavailable otherwise."""
    with _failures_named(whom):
        parts = aiter(stub.Fetch(exchange_pb2.FetchRequest(name=name.message()), timeout=timeout_seconds))
        header = await receive_header(parts)
        if Name.parse(header.name) != name:
            raise VerificationFailed(f"{whom} sent another blob than the one asked for")
        return b"".join([chunk async for chunk in receive_body(parts, header, limit_bytes=limit_bytes)])


@contextmanager
def _failures_named(whom: str) -> Iterator[None]:
    """Turn what a call to `whom` raises into Unavailable."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise unavailable(error, whom) from error
    except asyncio.CancelledError as error:
        # A server that stops cancels its calls, which reaches the caller as if its own task were cancelled.
        current = asyncio.current_task()
        if current is None or current.cancelling():
            raise
        raise Unavailable(f"{whom} broke the transfer off; it is stopping") from error
