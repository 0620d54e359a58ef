"""Commit status: has a transaction been written, and was it valid?"""

import time
from dataclasses import dataclass

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import transaction_pb2

from fabric.client.connection import Connection, Peer
from fabric.client.errors import CommitStatusError, Failure

_NO_ACCESS = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT)


@dataclass(frozen=True)
class CommitStatus:
    """Where a transaction stands; `code_name` is Fabric's TxValidationCode, VALID only if its writes took effect."""

    tx_id: str
    code_name: str
    block_number: int


async def commit_status(connection: Connection, tx_id: str, *, wait_s: float) -> CommitStatus | None:
    """The status of `tx_id`, waiting up to `wait_s` for it to be written; None when nobody can tell yet.

    What one peer cannot tell is asked at the others, briefly where the first took all of the time: one of them may be cut off from
    the ordering service. Raises CommitStatusError when the caller may not ask.
    """
    brief_s = min(wait_s, connection.patience.unsure_s)
    deadline = time.monotonic() + wait_s
    for peer in connection.peers_in_turn():
        status = await _ask(connection, peer, tx_id, max(deadline - time.monotonic(), brief_s))
        if status is not None:
            return status
    return None


async def _ask(connection: Connection, peer: Peer, tx_id: str, wait_s: float) -> CommitStatus | None:
    identity = connection.identity
    request = gateway_pb2.CommitStatusRequest(
        transaction_id=tx_id, channel_id=connection.channel, identity=identity.serialized
    ).SerializeToString()
    signed = gateway_pb2.SignedCommitStatusRequest(request=request, signature=identity.sign(request))
    try:
        response = await peer.gateway.CommitStatus(signed, timeout=wait_s)
    except grpc.aio.AioRpcError as error:
        failure = Failure.of(error)
        if failure.code in _NO_ACCESS:
            raise CommitStatusError(str(failure), tx_id) from error
        if failure.code is grpc.StatusCode.UNAVAILABLE:
            connection.leave(peer, str(failure))
        return None
    connection.saw(peer, response.block_number)
    return CommitStatus(tx_id, _code_name(response.result), response.block_number)


def _code_name(code: int) -> str:
    names: dict[int, str] = {number: name for name, number in transaction_pb2.TxValidationCode.items()}
    return names.get(code, f"CODE_{code}")  # a newer Fabric may have codes that these bindings lack
