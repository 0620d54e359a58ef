"""Chaincode events: what the contract announced, in ledger order, each once, whatever happens to the connection."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2

from fabric.client.blocks import height
from fabric.client.connection import Connection
from fabric.client.errors import Failure, StreamError
from fabric.client.patience import Backoff

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
    """One event of a valid transaction; `block_number` and `tx_id` together are where to go on after it."""

    name: str
    payload: bytes
    tx_id: str
    block_number: int


async def chaincode_events(connection: Connection, *, start_block: int | None, after_tx: str | None) -> AsyncIterator[ChaincodeEvent]:
    """Events from `start_block` on, leaving out those up to and including transaction `after_tx`; from now on without both.

    To go on after event e: `start_block=e.block_number, after_tx=e.tx_id`. Raises StreamError if the caller may not listen.
    """
    if start_block is None and after_tx is None:
        # "From now" is pinned to a block number, or a connection lost before the first event would lose events with it.
        start_block = await height(connection)
    backoff = Backoff(connection.patience)
    while True:
        call = connection.gateway.ChaincodeEvents(_request(connection, start_block, after_tx))
        try:
            async for response in call:
                backoff.reset()
                for event in response.events:
                    start_block, after_tx = response.block_number, event.tx_id
                    yield ChaincodeEvent(event.event_name, event.payload, event.tx_id, response.block_number)
        except grpc.aio.AioRpcError as error:
            failure = Failure.of(error)
            if failure.code in _REFUSED:
                raise StreamError(f"{connection.endpoint} refuses to send events: {failure}") from error
            _log.warning("%s stopped sending events (%s); going on from block %s", connection.endpoint, failure.code.name, start_block)
        finally:
            call.cancel()
        await backoff.pause()


def _request(connection: Connection, start_block: int | None, after_tx: str | None) -> Any:
    request = gateway_pb2.ChaincodeEventsRequest(
        channel_id=connection.channel,
        chaincode_id=connection.chaincode,
        identity=connection.identity.serialized,
        after_transaction_id=after_tx or "",
    )
    if start_block is not None:
        request.start_position.CopyFrom(ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=start_block)))
    data = request.SerializeToString()
    return gateway_pb2.SignedChaincodeEventsRequest(request=data, signature=connection.identity.sign(data))
