"""Blocks: the peer's Deliver service."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from fabric.client.attempts import Attempts
from fabric.client.connection import Connection, Peer
from fabric.client.errors import Failure, LedgerUnavailable, StreamError

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

    Waits for blocks that do not exist yet, and goes on where it was, at another peer if there is one, when the connection drops.
    Raises StreamError if the caller may not read or the peer delivers a block out of order.
    """
    attempts = Attempts(connection)
    while stop is None or start <= stop:
        peer, why = connection.peer, "it stopped delivering blocks"
        try:
            async for block in _deliver(connection, peer, _number(start), _number(_NO_END if stop is None else stop)):
                if block.header.number != start:
                    raise StreamError(f"{peer.endpoint} delivered block {block.header.number} where {start} was due")
                connection.saw(peer, start)
                start += 1
                attempts.reset()
                yield block
        except LedgerUnavailable as lost:
            why = str(lost)
            _log.warning("%s; going on from block %d", lost, start)
        if stop is None or start <= stop:
            await attempts.elsewhere(peer, why)


async def height(connection: Connection) -> int:
    """How many blocks there are, never fewer than this client has seen. Raises LedgerUnavailable or StreamError."""
    attempts = Attempts(connection, connection.patience.unavailable_s)
    while True:
        peer = connection.peer
        try:
            return await _height_of(connection, peer)
        except LedgerUnavailable as error:
            if not await attempts.elsewhere(peer, str(error)):
                raise


async def catch_up(connection: Connection, peer: Peer) -> None:
    """See that `peer` has every block this client has seen: after a change of peers, state must not go back in time.

    Raises LedgerUnavailable while it lacks one or does not answer, StreamError if it refuses. Costs nothing at a peer known to have them.
    """
    if peer.newest_block < connection.newest_block:
        await _height_of(connection, peer)


async def _height_of(connection: Connection, peer: Peer) -> int:
    async for block in _deliver(connection, peer, _NEWEST, _NEWEST, timeout_s=connection.patience.call_s):
        newest = int(block.header.number)
        if newest < connection.newest_block:
            raise LedgerUnavailable(f"{peer.endpoint} is behind: it has block {newest}, and {connection.newest_block} was already seen")
        connection.saw(peer, newest)
        return newest + 1
    raise LedgerUnavailable(f"{peer.endpoint} delivered no newest block")


async def _deliver(connection: Connection, peer: Peer, start: Any, stop: Any, timeout_s: float | None = None) -> AsyncIterator[Any]:
    """One Deliver stream; LedgerUnavailable when it breaks, StreamError when the peer refuses."""
    call = peer.deliver.Deliver(iter([_seek_envelope(connection, start, stop)]), timeout=timeout_s)
    try:
        async for response in call:
            if response.WhichOneof("Type") == "block":
                yield response.block
            elif response.status == common_pb2.SUCCESS:
                return
            elif response.status in _REFUSED_STATUS:
                raise StreamError(f"{peer.endpoint} refuses to deliver blocks: {common_pb2.Status.Name(response.status)}")
            else:
                raise LedgerUnavailable(f"{peer.endpoint} stopped delivering: {common_pb2.Status.Name(response.status)}")
    except grpc.aio.AioRpcError as error:
        failure = Failure.of(error)
        if failure.code in _REFUSED:
            raise StreamError(f"{peer.endpoint} refuses to deliver blocks: {failure}") from error
        raise LedgerUnavailable(f"{peer.endpoint} stopped delivering: {failure}") from error
    finally:
        call.cancel()


def _number(number: int) -> Any:
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=number))


def _seek_envelope(connection: Connection, start: Any, stop: Any) -> Any:
    identity = connection.identity
    header = common_pb2.ChannelHeader(type=common_pb2.DELIVER_SEEK_INFO, channel_id=connection.channel)
    header.timestamp.FromNanoseconds(connection.time_ns())  # a peer refuses requests whose time is 15 minutes off its own
    signer = common_pb2.SignatureHeader(creator=identity.serialized)
    payload = common_pb2.Payload(
        header=common_pb2.Header(channel_header=header.SerializeToString(), signature_header=signer.SerializeToString()),
        data=ab_pb2.SeekInfo(start=start, stop=stop, behavior=ab_pb2.SeekInfo.BLOCK_UNTIL_READY).SerializeToString(),
    ).SerializeToString()
    return common_pb2.Envelope(payload=payload, signature=identity.sign(payload))
