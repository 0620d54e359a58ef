"""Endorse: have the organisations' peers run the contract and sign what it would write, then sign the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2
from google.protobuf.message import DecodeError

from fabric.client.attempts import Attempts
from fabric.client.blocks import catch_up
from fabric.client.connection import Connection, Peer
from fabric.client.endorsers import Endorsers
from fabric.client.errors import EndorseError, Failure, LedgerError, LedgerUnavailable
from fabric.client.proposal import Proposal, new_proposal

_DOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION)
# Some peers did not endorse. Where others did: as a rule one of them has not seen the latest block.
_PEERS_DISAGREE = "failed to collect enough transaction endorsements"
_NO_PEERS = "failed to find any endorsing peers for org(s)"  # how a peer says which of the named it does not see
# A peer lost its chaincode service, or could not reach it: services restart.
_SERVICE_LOST = ("chaincode stream terminated", "could not launch chaincode", "timeout expired while executing transaction")


@dataclass(frozen=True)
class Endorsed:
    """A transaction ready to be submitted: endorsed by the peers, signed by the caller; `result` is the contract's answer."""

    tx_id: str
    envelope: Any
    result: bytes


async def endorse(
    connection: Connection, function: str, args: Sequence[bytes], transient: Mapping[str, bytes] | None, *, by_own: bool = False
) -> Endorsed:
    """Endorse a new transaction, trying again (each time as another one, where a peer is down at the next) while patience lasts.

    `by_own`: not without the caller's own organisation, where the client names who endorses.
    Raises ContractRefused, EndorseError, StreamError or LedgerUnavailable; in every case nothing was submitted.
    """
    attempts = Attempts(connection, connection.patience.unavailable_s)
    while True:
        peer = connection.peer
        proposal = new_proposal(connection, function, args, transient)
        named: list[str] = []
        try:
            named = await connection.endorsers.named(by_own=by_own) if connection.endorsers else []
            await catch_up(connection, peer)
            request = gateway_pb2.EndorseRequest(
                transaction_id=proposal.tx_id,
                channel_id=connection.channel,
                proposed_transaction=proposal.signed,
                endorsing_organizations=named,
            )
            response = await peer.gateway.Endorse(request, timeout=connection.patience.call_s)
        except LedgerUnavailable as behind:
            if not await attempts.elsewhere(peer, str(behind)):
                raise
        except grpc.aio.AioRpcError as error:
            failure = Failure.of(error)
            if not await _tried_again(connection, attempts, peer, named, failure):
                raise _error(peer, function, failure) from error
        else:
            peer.answers = True
            return _signed(proposal, response.prepared_transaction)


async def _tried_again(connection: Connection, attempts: Attempts, peer: Peer, named: Sequence[str], failure: Failure) -> bool:
    if connection.endorsers is not None and named and failure.message.startswith((_PEERS_DISAGREE, _NO_PEERS)):
        return await _others_tried(connection.endorsers, attempts, named, failure)
    texts = (failure.message, *failure.details)
    if failure.code in _DOWN or any(reason in text for text in texts for reason in _SERVICE_LOST):
        return await attempts.elsewhere(peer, str(failure))
    return failure.message.startswith(_PEERS_DISAGREE) and await attempts.again()


async def _others_tried(endorsers: Endorsers, attempts: Attempts, named: Sequence[str], failure: Failure) -> bool:
    """Some of those that were named did not endorse: go on with others, unless it is the contract that refuses."""
    refusing = set(failure.refusing)
    failing = {mspid for mspid in named if mspid in failure.message} if failure.message.startswith(_NO_PEERS) else set(failure.mspids)
    # The word of the caller's own peer counts: as a rule it is the one called, and has every block that this client has seen.
    if refusing and (endorsers.own in refusing or failing.issuperset(named)):
        return False
    endorsers.avoid(failing - refusing)  # who refuses is a block behind, and will not be for long
    return await attempts.again()


def _error(peer: Peer, function: str, failure: Failure) -> LedgerError:
    if failure.refusal is not None:
        return failure.refusal
    if failure.code in _DOWN:
        return LedgerUnavailable(f"the ledger at {peer.endpoint} cannot endorse: {failure}")
    return EndorseError(f"{function} was not endorsed: {failure}")


def _signed(proposal: Proposal, envelope: Any) -> Endorsed:
    """Sign what the peer assembled, once it is seen to be the proposed call and no other."""
    try:
        result = _result(proposal, envelope.payload)
    except (DecodeError, IndexError) as error:
        raise EndorseError(f"transaction {proposal.tx_id}: the peer sent back something that is not a transaction") from error
    signed = common_pb2.Envelope(payload=envelope.payload, signature=proposal.signer.sign(envelope.payload))
    return Endorsed(proposal.tx_id, signed, result)


def _result(proposal: Proposal, payload_bytes: bytes) -> bytes:
    payload = common_pb2.Payload.FromString(payload_bytes)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction_pb2.Transaction.FromString(payload.data).actions[0].payload)
    called = proposal_pb2.ChaincodeProposalPayload.FromString(action.chaincode_proposal_payload)
    if payload.header != common_pb2.Header.FromString(proposal.header) or called.input != proposal.input:
        raise EndorseError(f"transaction {proposal.tx_id}: the peer sent back another transaction than was proposed; it was not signed")
    response = proposal_response_pb2.ProposalResponsePayload.FromString(action.action.proposal_response_payload)
    result: bytes = proposal_pb2.ChaincodeAction.FromString(response.extension).response.payload
    return result
