"""Evaluate: ask one peer's contract without writing anything."""

from collections.abc import Sequence

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2

from fabric.client.attempts import Attempts
from fabric.client.blocks import catch_up
from fabric.client.connection import Connection, Peer
from fabric.client.errors import EvaluateError, Failure, LedgerError, LedgerUnavailable
from fabric.client.proposal import new_proposal

_DOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def evaluate(connection: Connection, function: str, args: Sequence[bytes]) -> bytes:
    """The contract's answer, from a peer that has every block this client has seen.

    A peer that is down or behind is passed over for the next; all are asked again until patience ends.
    Raises ContractRefused, EvaluateError, StreamError or LedgerUnavailable.
    """
    attempts = Attempts(connection, connection.patience.unavailable_s)
    while True:
        peer = connection.peer
        proposal = new_proposal(connection, function, args)
        request = gateway_pb2.EvaluateRequest(
            transaction_id=proposal.tx_id, channel_id=connection.channel, proposed_transaction=proposal.signed
        )
        try:
            await catch_up(connection, peer)
            response = await peer.gateway.Evaluate(request, timeout=connection.patience.call_s)
        except LedgerUnavailable as behind:
            if not await attempts.elsewhere(peer, str(behind)):
                raise
        except grpc.aio.AioRpcError as error:
            failure = Failure.of(error)
            if not _may_pass(failure) or not await attempts.elsewhere(peer, str(failure)):
                raise _error(peer, function, failure) from error
        else:
            peer.answers = True
            result: bytes = response.result.payload
            return result


def _may_pass(failure: Failure) -> bool:
    # Without details, FAILED_PRECONDITION means that no peer is known yet; with them, that a peer refused the caller.
    no_peer = failure.code is grpc.StatusCode.FAILED_PRECONDITION and not failure.details
    return failure.code in _DOWN or no_peer


def _error(peer: Peer, function: str, failure: Failure) -> LedgerError:
    if failure.refusal is not None:
        return failure.refusal
    if _may_pass(failure):
        return LedgerUnavailable(f"the ledger at {peer.endpoint} does not answer: {failure}")
    return EvaluateError(f"query {function} failed: {failure}")
