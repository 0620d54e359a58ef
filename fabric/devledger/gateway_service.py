"""Fabric's Gateway service (`gateway.Gateway`): Evaluate, Endorse, Submit, CommitStatus and ChaincodeEvents.

Status codes, messages and `gateway.ErrorDetail` are those of a peer (`internal/pkg/gateway` in Fabric's source), because the
official clients decide by them.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import NoReturn, TypeVar

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.peer import chaincode_event_pb2, proposal_pb2, proposal_response_pb2
from google.protobuf.message import DecodeError, Message

from fabric import rpc_status
from fabric.channel import ChannelConfig
from fabric.crypto import IdentityError, verify_signature
from fabric.devledger.admission import Admission
from fabric.devledger.endorser import SUCCESS, Endorser, ProposalRefused, Simulation
from fabric.devledger.errors import DevLedgerError, LedgerStopping
from fabric.devledger.ledger import Ledger
from fabric.msp import Member, MspRegistry
from fabric.transactions import Event, MalformedTransaction, Proposal

Context = grpc.aio.ServicerContext[object, object]
_M = TypeVar("_M", bound=Message)


class GatewayService(gateway_pb2_grpc.GatewayServicer):  # type: ignore[misc] # the bindings publish no types
    """The service over one ledger; all state is the ledger's, so a request needs nothing of the one before it."""

    def __init__(
        self, ledger: Ledger, endorser: Endorser, admission: Admission, channel: ChannelConfig, address: str, clock: Callable[[], datetime]
    ) -> None:
        self._ledger, self._endorser, self._admission = ledger, endorser, admission
        self._channel, self._address, self._clock = channel.channel, address, clock
        self._organisations = MspRegistry({msp.mspid: msp for msp in channel.application})

    async def Evaluate(self, request: gateway_pb2.EvaluateRequest, context: Context) -> gateway_pb2.EvaluateResponse:  # noqa: N802 - Fabric's name
        """Run the contract and answer its result; nothing is written."""
        targets = request.target_organizations
        if targets and len(self._endorser.unknown(targets)) == len(targets):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"no peers available of the organisations {', '.join(targets)}")
        try:
            simulation = self._run(request.proposed_transaction)[-1]
        except MalformedTransaction as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"failed to unpack transaction proposal: {error}")
        except ProposalRefused as error:
            message = str(error)
            await self._abort(context, grpc.StatusCode.FAILED_PRECONDITION, f"evaluate call to endorser returned error: {message}", message)
        if simulation.response.status != SUCCESS:
            message = _chaincode_message(simulation)
            await self._abort(context, grpc.StatusCode.UNKNOWN, f"evaluate call to endorser returned error: {message}", message)
        result = proposal_response_pb2.Response(status=simulation.response.status, payload=simulation.response.payload)
        return gateway_pb2.EvaluateResponse(result=result)

    async def Endorse(self, request: gateway_pb2.EndorseRequest, context: Context) -> gateway_pb2.EndorseResponse:  # noqa: N802 - Fabric's name
        """Run the contract and answer the transaction, endorsed by as many as it needs or by the organisations that the client names."""
        named: Sequence[str] = request.endorsing_organizations
        if unknown := self._endorser.unknown(named):
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"failed to find any endorsing peers for org(s): {', '.join(unknown)}")
        # A real peer asks its own organisation first, or else all that are named at the same time.
        failed = "failed to collect enough transaction endorsements" if named else "failed to endorse transaction"
        refused = f"{failed}, see attached details for more info"
        try:
            proposal, member, simulation = self._run(request.proposed_transaction)
        except MalformedTransaction as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except ProposalRefused as error:
            await self._abort(context, grpc.StatusCode.ABORTED, refused, str(error))
        if simulation.response.status != SUCCESS:
            await self._abort(context, grpc.StatusCode.ABORTED, refused, _chaincode_message(simulation), named)
        try:
            mspids = list(dict.fromkeys(named)) or self._endorser.enough(simulation, member.mspid)
        except ProposalRefused as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        payload = self._endorser.endorse(proposal, simulation, mspids)
        return gateway_pb2.EndorseResponse(prepared_transaction=common_pb2.Envelope(payload=payload))

    async def Submit(self, request: gateway_pb2.SubmitRequest, context: Context) -> gateway_pb2.SubmitResponse:  # noqa: N802 - Fabric's name
        """Take a transaction for ordering; answers once it stands in a durable block, valid or not."""
        if not request.prepared_transaction.signature:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "prepared transaction must be signed")
        try:
            submission = self._admission.accept(request.prepared_transaction.payload, request.prepared_transaction.signature)
        except MalformedTransaction as error:
            await context.abort(grpc.StatusCode.ABORTED, f"received unsuccessful response from orderer: status=BAD_REQUEST, info={error}")
        except IdentityError as error:
            await context.abort(grpc.StatusCode.ABORTED, f"received unsuccessful response from orderer: status=FORBIDDEN, info={error}")
        try:
            await self._ledger.submit(submission)
        except DevLedgerError as error:
            await self._abort(context, grpc.StatusCode.UNAVAILABLE, "no orderers could successfully process transaction", str(error))
        return gateway_pb2.SubmitResponse()

    async def CommitStatus(  # noqa: N802 - Fabric's name
        self, request: gateway_pb2.SignedCommitStatusRequest, context: Context
    ) -> gateway_pb2.CommitStatusResponse:
        """Wait for a transaction to stand in a block; answers its validation code."""
        wanted = await _parsed(gateway_pb2.CommitStatusRequest(), request.request, "commit status", context)
        if not wanted.transaction_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "transaction ID should not be empty")
        await self._authorise(wanted.channel_id, wanted.identity, request.request, request.signature, context)
        try:
            status = await self._ledger.committed(wanted.transaction_id)
        except LedgerStopping as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return gateway_pb2.CommitStatusResponse(result=status.code, block_number=status.block)

    async def ChaincodeEvents(  # noqa: N802 - Fabric's name
        self, request: gateway_pb2.SignedChaincodeEventsRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.ChaincodeEventsResponse]:
        """The events of each block that has any, for ever."""
        wanted = await _parsed(gateway_pb2.ChaincodeEventsRequest(), request.request, "chaincode events", context)
        await self._authorise(wanted.channel_id, wanted.identity, request.request, request.signature, context)
        start = await self._first_event_block(wanted, context)
        skipping = wanted.after_transaction_id
        try:
            async for number in self._ledger.follow(start):
                events = self._ledger.events(number)
                if skipping:
                    events, skipping = _after(events, skipping)
                matching = [_event(event) for event in events if event.chaincode == wanted.chaincode_id]
                if matching:
                    yield gateway_pb2.ChaincodeEventsResponse(events=matching, block_number=number)
        except LedgerStopping as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    def _run(self, signed: proposal_pb2.SignedProposal) -> tuple[Proposal, Member, Simulation]:
        proposal, member = self._endorser.admit(signed)
        return proposal, member, self._endorser.simulate(proposal, member)

    async def _authorise(self, channel: str, identity: bytes, signed: bytes, signature: bytes, context: Context) -> Member:
        """Any member of the channel may read, once its signature is checked."""
        if channel != self._channel:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"channel '{channel}' not found")
        try:
            member = self._organisations.authenticate(identity, self._clock())
            verify_signature(member.certificate, signed, signature)
        except IdentityError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"access denied: {error}")
        return member

    async def _first_event_block(self, wanted: gateway_pb2.ChaincodeEventsRequest, context: Context) -> int:
        """Where to begin: at the block of the transaction named, else at the position asked for, else at the next block."""
        if wanted.after_transaction_id and (known := self._ledger.transaction(wanted.after_transaction_id)):
            return known.block
        kind = wanted.start_position.WhichOneof("Type")
        if kind == "specified":
            return int(wanted.start_position.specified.number)
        if kind not in (None, "next_commit"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid start position type: {kind}")
        return self._ledger.height

    async def _abort(self, context: Context, code: grpc.StatusCode, message: str, detail: str, mspids: Sequence[str] = ()) -> NoReturn:
        """End the call as a peer does: the reason stands in an ErrorDetail beside the message, for each organisation that was asked."""
        asked = mspids or (self._endorser.first,)
        details = [gateway_pb2.ErrorDetail(address=self._address, msp_id=mspid, message=detail) for mspid in asked]
        trailer = rpc_status.encode(code.value[0], message, details)
        await context.abort(code, message, ((rpc_status.METADATA_KEY, trailer),))


async def _parsed(message: _M, data: bytes, what: str, context: Context) -> _M:
    if not data:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"a {what} request is required")
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid {what} request: {error}")
    return message


def _chaincode_message(simulation: Simulation) -> str:
    return f"chaincode response {simulation.response.status}, {simulation.response.message}"


def _after(events: tuple[Event, ...], tx_id: str) -> tuple[tuple[Event, ...], str]:
    """The events after transaction `tx_id`, and what is still to be skipped: all of it while the transaction has not been met."""
    for position, event in enumerate(events):
        if event.tx_id == tx_id:
            return events[position + 1 :], ""
    return (), tx_id


def _event(event: Event) -> chaincode_event_pb2.ChaincodeEvent:
    return chaincode_event_pb2.ChaincodeEvent(chaincode_id=event.chaincode, tx_id=event.tx_id, event_name=event.name, payload=event.payload)
