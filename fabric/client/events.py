"""Chaincode events: what the contract announced, in ledger order, each once, whatever happens to the connection."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2

from fabric.client.attempts import Attempts
from fabric.client.blocks import height
from fabric.client.checkpoint import Checkpoint
from fabric.client.connection import Connection, Peer
from fabric.client.errors import Failure, StreamError

_log = logging.getLogger(__name__)

_REFUSED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)


@dataclass(frozen=True)
class ChaincodeEvent:
    """One event of a valid transaction."""

    name: str
    payload: bytes
    tx_id: str
    block_number: int

    @property
    def checkpoint(self) -> Checkpoint:
        """Where to go on after this event."""
        return Checkpoint(self.block_number, self.tx_id)


async def chaincode_events(connection: Connection, after: Checkpoint | None) -> AsyncIterator[ChaincodeEvent]:
    """Events after `after`, or from now on without it, in ledger order and each once, whichever peers they come from.

    Raises StreamError if the caller may not listen.
    """
    if after is None:
        # "From now" is pinned to a block number, or a connection lost before the first event would lose events with it.
        after = Checkpoint.before_block(await height(connection))
    attempts = Attempts(connection)
    while True:
        peer, why = connection.peer, "it stopped sending events"
        call = peer.gateway.ChaincodeEvents(_request(connection, after))
        try:
            while (response := await _next(peer, call)) is not None:
                attempts.reset()
                connection.saw(peer, response.block_number)
                for event in response.events:
                    after = Checkpoint(response.block_number, event.tx_id)
                    yield ChaincodeEvent(event.event_name, event.payload, event.tx_id, response.block_number)
        except grpc.aio.AioRpcError as error:
            failure = Failure.of(error)
            if failure.code in _REFUSED:
                raise StreamError(f"{peer.endpoint} refuses to send events: {failure}") from error
            why = str(failure)
            _log.warning("%s stopped sending events (%s); going on from block %d", peer.endpoint, failure.code.name, after.next_block)
        finally:
            call.cancel()
        await attempts.elsewhere(peer, why)


async def _next(peer: Peer, call: Any) -> Any:
    """The stream's next message; None when it has ended, or when the client left the peer, which may have fallen behind for good."""
    reading, leaving = asyncio.ensure_future(call.read()), asyncio.ensure_future(peer.left.wait())
    try:
        await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            return None
        message = reading.result()
        return None if message is grpc.aio.EOF else message
    finally:
        leaving.cancel()
        reading.cancel()


def _request(connection: Connection, after: Checkpoint) -> Any:
    identity = connection.identity
    request = gateway_pb2.ChaincodeEventsRequest(
        channel_id=connection.channel,
        chaincode_id=connection.chaincode,
        identity=identity.serialized,
        after_transaction_id=after.tx_id,
        start_position=ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=after.next_block)),
    )
    data = request.SerializeToString()
    return gateway_pb2.SignedChaincodeEventsRequest(request=data, signature=identity.sign(data))
