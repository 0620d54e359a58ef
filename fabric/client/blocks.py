"""Blocks: the peer's Deliver service."""

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from fabric.client.connection import Connection
from fabric.client.errors import Failure, LedgerUnavailable, StreamError
from fabric.client.patience import Backoff

_log = logging.getLogger(__name__)

_NO_END = 2**64 - 1  # the largest block number: deliver until cancelled
_NEWEST = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
_REFUSED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)
_REFUSED_STATUS = (common_pb2.BAD_REQUEST, common_pb2.FORBIDDEN, common_pb2.NOT_FOUND)


async def blocks(connection: Connection, *, start: int, stop: int | None) -> AsyncIterator[Any]:
    """Blocks `start` to `stop`, both included, in order, each once; without `stop` for ever, as they are written.

    Waits for blocks that do not exist yet, and goes on where it was when the connection drops. Raises StreamError if the
    caller may not read or the peer delivers a block out of order.
    """
    backoff = Backoff(connection.patience)
    while stop is None or start <= stop:
        try:
            async for block in _deliver(connection, _number(start), _number(_NO_END if stop is None else stop)):
                if block.header.number != start:
                    raise StreamError(f"{connection.endpoint} delivered block {block.header.number} where {start} was due")
                start += 1
                backoff.reset()
                yield block
        except LedgerUnavailable as lost:
            _log.warning("%s; going on from block %d", lost, start)
        if stop is None or start <= stop:
            await backoff.pause()


async def height(connection: Connection) -> int:
    """How many blocks the peer has. Raises LedgerUnavailable or StreamError."""
    backoff = Backoff(connection.patience, connection.patience.unavailable_s)
    while True:
        try:
            async for block in _deliver(connection, _NEWEST, _NEWEST, timeout_s=connection.patience.call_s):
                return int(block.header.number) + 1
            raise LedgerUnavailable(f"{connection.endpoint} delivered no newest block")
        except LedgerUnavailable:
            if not await backoff.pause():
                raise


async def _deliver(connection: Connection, start: Any, stop: Any, timeout_s: float | None = None) -> AsyncIterator[Any]:
    """One Deliver stream; LedgerUnavailable when it breaks, StreamError when the peer refuses."""
    call = connection.deliver.Deliver(iter([_seek_envelope(connection, start, stop)]), timeout=timeout_s)
    try:
        async for response in call:
            if response.WhichOneof("Type") == "block":
                yield response.block
            elif response.status == common_pb2.SUCCESS:
                return
            elif response.status in _REFUSED_STATUS:
                raise StreamError(f"{connection.endpoint} refuses to deliver blocks: {common_pb2.Status.Name(response.status)}")
            else:
                raise LedgerUnavailable(f"{connection.endpoint} stopped delivering: {common_pb2.Status.Name(response.status)}")
    except grpc.aio.AioRpcError as error:
        failure = Failure.of(error)
        if failure.code in _REFUSED:
            raise StreamError(f"{connection.endpoint} refuses to deliver blocks: {failure}") from error
        raise LedgerUnavailable(f"{connection.endpoint} stopped delivering: {failure}") from error
    finally:
        call.cancel()


def _number(number: int) -> Any:
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=number))


def _seek_envelope(connection: Connection, start: Any, stop: Any) -> Any:
    header = common_pb2.ChannelHeader(type=common_pb2.DELIVER_SEEK_INFO, channel_id=connection.channel)
    header.timestamp.FromNanoseconds(time.time_ns())  # a peer refuses requests that are minutes old
    signer = common_pb2.SignatureHeader(creator=connection.identity.serialized)
    payload = common_pb2.Payload(
        header=common_pb2.Header(channel_header=header.SerializeToString(), signature_header=signer.SerializeToString()),
        data=ab_pb2.SeekInfo(start=start, stop=stop, behavior=ab_pb2.SeekInfo.BLOCK_UNTIL_READY).SerializeToString(),
    ).SerializeToString()
    return common_pb2.Envelope(payload=payload, signature=connection.identity.sign(payload))
