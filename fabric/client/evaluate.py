"""Evaluate: ask one peer's contract without writing anything."""

from collections.abc import Sequence

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2

from fabric.client.connection import Connection
from fabric.client.errors import EvaluateError, Failure, LedgerError, LedgerUnavailable
from fabric.client.patience import Backoff
from fabric.client.proposal import new_proposal

_DOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def evaluate(connection: Connection, function: str, args: Sequence[bytes]) -> bytes:
    """The contract's answer; a ledger that is down is asked again until patience ends.

    Raises ContractRefused, EvaluateError or LedgerUnavailable.
    """
    backoff = Backoff(connection.patience, connection.patience.unavailable_s)
    while True:
        proposal = new_proposal(connection, function, args)
        request = gateway_pb2.EvaluateRequest(
            transaction_id=proposal.tx_id, channel_id=connection.channel, proposed_transaction=proposal.signed
        )
        try:
            response = await connection.gateway.Evaluate(request, timeout=connection.patience.call_s)
        except grpc.aio.AioRpcError as error:
            failure = Failure.of(error)
            if not _may_pass(failure) or not await backoff.pause():
                raise _error(connection, function, failure) from error
        else:
            result: bytes = response.result.payload
            return result


def _may_pass(failure: Failure) -> bool:
    # Without details, FAILED_PRECONDITION means that no peer is known yet; with them, that a peer refused the caller.
    no_peer = failure.code is grpc.StatusCode.FAILED_PRECONDITION and not failure.details
    return failure.code in _DOWN or no_peer


def _error(connection: Connection, function: str, failure: Failure) -> LedgerError:
    if failure.refusal is not None:
        return failure.refusal
    if _may_pass(failure):
        return LedgerUnavailable(f"the ledger at {connection.endpoint} does not answer: {failure}")
    return EvaluateError(f"query {function} failed: {failure}")
