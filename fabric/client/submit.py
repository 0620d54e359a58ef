"""Submit: hand an endorsed transaction to the ordering service and learn for certain what became of it."""

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2

from fabric.client.connection import Connection
from fabric.client.endorse import Endorsed
from fabric.client.errors import CommitUnknown, Failure, SubmitError
from fabric.client.patience import Backoff
from fabric.client.status import CommitStatus, commit_status

# With any other code the transaction may have reached an orderer although the call failed.
_REFUSED = (
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)
_DOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def submit(connection: Connection, endorsed: Endorsed) -> CommitStatus:
    """Hand `endorsed` in and return its status, valid or not.

    While the outcome is unknown the status is asked by transaction id, and the very same transaction is handed in again: the
    ledger takes a transaction id once, so it cannot take effect twice. (An orderer may lose what it acknowledged when it dies
    before its peers have it; waiting alone would then never end.)
    Raises SubmitError if it was refused before anything could have happened, CommitUnknown when patience ends, CommitStatusError.
    """
    patience = connection.patience
    backoff = Backoff(patience, patience.commit_s)
    may_be_written = False
    while True:
        failure = await _send(connection, endorsed)
        if failure is not None and failure.code in _REFUSED and not may_be_written:
            raise SubmitError(f"transaction {endorsed.tx_id} was not taken: {failure}")
        may_be_written = True
        status = await commit_status(connection, endorsed.tx_id, wait_s=patience.unsure_s if failure else patience.status_s)
        if status is not None:
            return status
        if not await backoff.pause():
            raise CommitUnknown(endorsed.tx_id, patience.commit_s)


async def _send(connection: Connection, endorsed: Endorsed) -> Failure | None:
    """Hand the transaction in; None if the ledger says it took it. A peer that is down or has no orderer is left for the next."""
    peer = connection.peer
    request = gateway_pb2.SubmitRequest(
        transaction_id=endorsed.tx_id, channel_id=connection.channel, prepared_transaction=endorsed.envelope
    )
    try:
        await peer.gateway.Submit(request, timeout=connection.patience.call_s)
    except grpc.aio.AioRpcError as error:
        failure = Failure.of(error)
        if failure.code in _DOWN:
            connection.leave(peer, str(failure))
        return failure
    return None
