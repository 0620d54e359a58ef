"""Commit status: has a transaction been written, and was it valid?"""

from dataclasses import dataclass

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import transaction_pb2

from fabric.client.connection import Connection
from fabric.client.errors import Failure, LedgerError

_NO_ACCESS = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT)


@dataclass(frozen=True)
class CommitStatus:
    """Where a transaction stands; `code_name` is Fabric's TxValidationCode, VALID only if its writes took effect."""

    tx_id: str
    code_name: str
    block_number: int


async def commit_status(connection: Connection, tx_id: str, *, wait_s: float) -> CommitStatus | None:
    """The status of `tx_id`, waiting up to `wait_s` for it to be written; None when nobody can tell yet.

    Raises LedgerError when the caller may not ask.
    """
    request = gateway_pb2.CommitStatusRequest(
        transaction_id=tx_id, channel_id=connection.channel, identity=connection.identity.serialized
    ).SerializeToString()
    signed = gateway_pb2.SignedCommitStatusRequest(request=request, signature=connection.identity.sign(request))
    try:
        response = await connection.gateway.CommitStatus(signed, timeout=wait_s)
    except grpc.aio.AioRpcError as error:
        failure = Failure.of(error)
        if failure.code in _NO_ACCESS:
            raise LedgerError(f"the status of transaction {tx_id} was refused: {failure}") from error
        return None
    return CommitStatus(tx_id, _code_name(response.result), response.block_number)


def _code_name(code: int) -> str:
    names: dict[int, str] = {number: name for name, number in transaction_pb2.TxValidationCode.items()}
    return names.get(code, f"CODE_{code}")  # a newer Fabric may have codes that these bindings lack
