"""Envelopes as frozen values: proposals, endorser transactions and configuration transactions, parsed and built.

The nesting is Fabric's: Envelope → Payload → Transaction → TransactionAction → ChaincodeActionPayload →
ProposalResponsePayload → ChaincodeAction. Parsing checks form only; signatures, identities and policies are for the caller.
"""

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_event_pb2, chaincode_pb2, proposal_pb2, proposal_response_pb2, transaction_pb2
from google.protobuf.message import DecodeError

from fabric.crypto import sha256
from fabric.rwset import VALIDATION_PARAMETER, MalformedRwset, NamespaceRwset, RangeQuery, Read, Write, build_rwset, parse_rwset


class MalformedTransaction(ValueError):  # noqa: N818 - says what the bytes are
    """The bytes are not a transaction. `code` is the `TxValidationCode` a peer gives for it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Headers:
    """What every signed message says about itself. `timestamp` is the client's claim; None where absent or out of range."""

    type: int
    channel: str
    tx_id: str
    creator: bytes
    nonce: bytes
    timestamp: datetime.datetime | None
    epoch: int
    chaincode: str
    channel_header: bytes = field(repr=False)
    signature_header: bytes = field(repr=False)


@dataclass(frozen=True)
class SignedPayload:
    """An envelope opened as far as its headers: `payload` is what `signature` covers, `data` the part below the headers."""

    headers: Headers
    data: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    envelope: bytes = field(repr=False)


@dataclass(frozen=True)
class Proposal:
    """A client's request to run a chaincode function. `payload` is the proposal payload without the transient values."""

    headers: Headers
    chaincode: str
    args: tuple[bytes, ...]
    transient: Mapping[str, bytes] = field(repr=False)
    payload: bytes = field(repr=False)

    @property
    def function(self) -> str:
        return _function(self.args)


@dataclass(frozen=True)
class Event:
    chaincode: str
    tx_id: str
    name: str
    payload: bytes


@dataclass(frozen=True)
class Response:
    """The contract's answer; 200 is success."""

    status: int
    message: str
    payload: bytes


@dataclass(frozen=True)
class Endorsement:
    """A peer's signature over the proposal response payload followed by its own serialised identity."""

    endorser: bytes
    signature: bytes


@dataclass(frozen=True)
class EndorserTransaction:
    """A chaincode call with its results, as it stands in a block. `payload` is what `signature` (the creator's) covers."""

    headers: Headers
    chaincode: str
    chaincode_version: str
    args: tuple[bytes, ...]
    rwsets: tuple[NamespaceRwset, ...]
    event: Event | None
    response: Response
    endorsements: tuple[Endorsement, ...]
    proposal_hash: bytes
    proposal_response_payload: bytes = field(repr=False)
    proposal_payload: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def tx_id(self) -> str:
        return self.headers.tx_id

    @property
    def channel(self) -> str:
        return self.headers.channel

    @property
    def creator(self) -> bytes:
        return self.headers.creator

    @property
    def timestamp(self) -> datetime.datetime | None:
        return self.headers.timestamp

    @property
    def function(self) -> str:
        return _function(self.args)

    @property
    def reads(self) -> tuple[Read, ...]:
        """Reads in the called chaincode's own name space."""
        return self._own.reads

    @property
    def writes(self) -> tuple[Write, ...]:
        """Writes in the called chaincode's own name space."""
        return self._own.writes

    @property
    def range_queries(self) -> tuple[RangeQuery, ...]:
        """Range queries in the called chaincode's own name space."""
        return self._own.range_queries

    @property
    def policies(self) -> tuple[tuple[str, bytes], ...]:
        """Keys in the called chaincode's own name space that get another endorsement policy, with it; b"" takes theirs away."""
        return tuple((str(write.key), dict(write.entries).get(VALIDATION_PARAMETER, b"")) for write in self._own.metadata_writes)

    @functools.cached_property
    def _own(self) -> NamespaceRwset:
        return next((rwset for rwset in self.rwsets if rwset.namespace == self.chaincode), NamespaceRwset(self.chaincode))


@dataclass(frozen=True)
class ConfigTransaction:
    """A new channel configuration. `config` is `common.ConfigEnvelope` bytes; `envelope` is the whole, for ChannelConfig.parse."""

    headers: Headers
    config: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    envelope: bytes = field(repr=False)

    @property
    def tx_id(self) -> str:
        return self.headers.tx_id

    @property
    def channel(self) -> str:
        return self.headers.channel

    @property
    def creator(self) -> bytes:
        return self.headers.creator


def open_envelope(data: bytes) -> SignedPayload:
    """Read an envelope as far as its headers; raise MalformedTransaction with the validation code a peer gives."""
    try:
        envelope = common_pb2.Envelope.FromString(data)
    except DecodeError as error:
        raise MalformedTransaction(transaction_pb2.INVALID_OTHER_REASON, "the envelope cannot be read") from error
    try:
        payload = common_pb2.Payload.FromString(envelope.payload)
    except DecodeError as error:
        raise MalformedTransaction(transaction_pb2.BAD_PAYLOAD, "the envelope's payload cannot be read") from error
    headers = _headers(payload.header, transaction_pb2.BAD_COMMON_HEADER)
    return SignedPayload(headers, payload.data, envelope.payload, envelope.signature, data)


def parse_envelope(data: bytes) -> EndorserTransaction | ConfigTransaction:
    """Parse `common.Envelope` bytes; raise MalformedTransaction with the validation code a peer gives."""
    return parse_payload(open_envelope(data))


def parse_payload(opened: SignedPayload) -> EndorserTransaction | ConfigTransaction:
    """Parse the transaction in an envelope whose headers were read; raise MalformedTransaction as a peer would."""
    kind = opened.headers.type
    if kind == common_pb2.CONFIG:
        return ConfigTransaction(opened.headers, opened.data, opened.payload, opened.signature, opened.envelope)
    if kind != common_pb2.ENDORSER_TRANSACTION:
        raise MalformedTransaction(transaction_pb2.UNSUPPORTED_TX_PAYLOAD, f"header type {kind} is not a transaction")
    return _endorser_transaction(opened)


def parse_proposal(proposal_bytes: bytes) -> Proposal:
    """Parse `protos.Proposal` bytes as a client signed them; raise MalformedTransaction."""
    code = transaction_pb2.INVALID_ENDORSER_TRANSACTION
    try:
        proposal = proposal_pb2.Proposal.FromString(proposal_bytes)
        headers = _headers(common_pb2.Header.FromString(proposal.header), code)
        payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
        chaincode, args = _call(payload.input)
    except DecodeError as error:
        raise MalformedTransaction(code, "the proposal cannot be read") from error
    if not chaincode or headers.chaincode != chaincode:
        raise MalformedTransaction(code, f"the header names chaincode {headers.chaincode!r}, the call {chaincode!r}")
    return Proposal(headers, chaincode, args, dict(payload.TransientMap), _without_transient(payload))


def without_transient(proposal_payload: bytes) -> bytes:
    """Proposal payload bytes with the transient values left out: the form that is hashed and stands in the block."""
    return _without_transient(proposal_pb2.ChaincodeProposalPayload.FromString(proposal_payload))


def _without_transient(payload: proposal_pb2.ChaincodeProposalPayload) -> bytes:
    data: bytes = proposal_pb2.ChaincodeProposalPayload(input=payload.input).SerializeToString()
    return data


def proposal_hash(headers: Headers, proposal_payload: bytes) -> bytes:
    """SHA-256 over channel header, signature header and proposal payload without transient values, which endorsers sign."""
    return sha256(headers.channel_header + headers.signature_header + proposal_payload)


def transaction_id(nonce: bytes, creator: bytes) -> str:
    """Fabric's transaction id: hex SHA-256 of nonce and creator."""
    return sha256(nonce + creator).hex()


def check_tx_id(headers: Headers) -> None:
    """Raise MalformedTransaction unless the transaction id is the digest of the signature header's nonce and creator."""
    if headers.tx_id != transaction_id(headers.nonce, headers.creator):
        raise MalformedTransaction(transaction_pb2.BAD_PROPOSAL_TXID, "the transaction id is not the digest of nonce and creator")


def build_response_payload(
    proposal: Proposal,
    *,
    chaincode_version: str,
    rwsets: Sequence[NamespaceRwset],
    response: Response,
    event: Event | None,
) -> bytes:
    """`ProposalResponsePayload` bytes: what every endorser of a proposal signs, each followed by its own identity."""
    action = proposal_pb2.ChaincodeAction(
        results=build_rwset(rwsets),
        events=_event_bytes(event),
        chaincode_id=_chaincode_id(proposal.chaincode, chaincode_version),
        response=proposal_response_pb2.Response(status=response.status, message=response.message, payload=response.payload),
    )
    data: bytes = proposal_response_pb2.ProposalResponsePayload(
        proposal_hash=proposal_hash(proposal.headers, proposal.payload), extension=action.SerializeToString()
    ).SerializeToString()
    return data


def assemble(
    proposal: Proposal,
    *,
    chaincode_version: str,
    rwset: NamespaceRwset,
    response: Response,
    event: Event | None,
    sign: Callable[[bytes], Sequence[Endorsement]],
) -> EndorserTransaction:
    """The transaction of a proposal and its simulation, endorsed by `sign`, as its bytes would be parsed.

    `payload` is ready for the client's signature, which is still empty.
    """
    response_payload = build_response_payload(proposal, chaincode_version=chaincode_version, rwsets=[rwset], response=response, event=event)
    endorsements = tuple(sign(response_payload))
    return EndorserTransaction(
        proposal.headers,
        proposal.chaincode,
        chaincode_version,
        proposal.args,
        (rwset,),
        event,
        response,
        endorsements,
        proposal_hash(proposal.headers, proposal.payload),
        response_payload,
        proposal.payload,
        build_payload(proposal, response_payload, endorsements),
        b"",
    )


def build_payload(proposal: Proposal, response_payload: bytes, endorsements: Sequence[Endorsement]) -> bytes:
    """`common.Payload` bytes of the transaction, ready for the client's signature."""
    endorsed = transaction_pb2.ChaincodeEndorsedAction(
        proposal_response_payload=response_payload,
        endorsements=[proposal_response_pb2.Endorsement(endorser=e.endorser, signature=e.signature) for e in endorsements],
    )
    action = transaction_pb2.ChaincodeActionPayload(chaincode_proposal_payload=proposal.payload, action=endorsed)
    transaction = transaction_pb2.Transaction(
        actions=[transaction_pb2.TransactionAction(header=proposal.headers.signature_header, payload=action.SerializeToString())]
    )
    header = common_pb2.Header(channel_header=proposal.headers.channel_header, signature_header=proposal.headers.signature_header)
    data: bytes = common_pb2.Payload(header=header, data=transaction.SerializeToString()).SerializeToString()
    return data


def _headers(header: common_pb2.Header, code: int) -> Headers:
    try:
        channel = common_pb2.ChannelHeader.FromString(header.channel_header)
        signature = common_pb2.SignatureHeader.FromString(header.signature_header)
    except DecodeError as error:
        raise MalformedTransaction(code, "the headers cannot be read") from error
    return Headers(
        channel.type,
        channel.channel_id,
        channel.tx_id,
        signature.creator,
        signature.nonce,
        _time(channel),
        channel.epoch,
        _named_chaincode(channel.extension),
        header.channel_header,
        header.signature_header,
    )


def _named_chaincode(extension: bytes) -> str:
    """The chaincode that the channel header names; empty if it names none, which only chaincode calls may not do."""
    try:
        return str(proposal_pb2.ChaincodeHeaderExtension.FromString(extension).chaincode_id.name)
    except DecodeError:
        return ""


def _time(channel: common_pb2.ChannelHeader) -> datetime.datetime | None:
    if not channel.HasField("timestamp"):
        return None
    try:
        moment: datetime.datetime = channel.timestamp.ToDatetime(tzinfo=datetime.UTC)
    except (ValueError, OverflowError):
        return None
    return moment


def _endorser_transaction(opened: SignedPayload) -> EndorserTransaction:
    code = transaction_pb2.INVALID_ENDORSER_TRANSACTION
    try:
        actions = transaction_pb2.Transaction.FromString(opened.data).actions
        if len(actions) != 1:
            raise MalformedTransaction(code, f"a transaction holds one action, not {len(actions)}")
        if actions[0].header != opened.headers.signature_header:
            raise MalformedTransaction(code, "the action's header is not the transaction's signature header")
        action = transaction_pb2.ChaincodeActionPayload.FromString(actions[0].payload)
        endorsed = proposal_response_pb2.ProposalResponsePayload.FromString(action.action.proposal_response_payload)
        _, args = _call(proposal_pb2.ChaincodeProposalPayload.FromString(action.chaincode_proposal_payload).input)
    except DecodeError as error:
        raise MalformedTransaction(code, "the transaction's action cannot be read") from error
    results = _chaincode_action(endorsed.extension)
    response, rwsets = results.response, _rwsets(results.results)
    if not results.HasField("chaincode_id"):
        raise MalformedTransaction(transaction_pb2.INVALID_OTHER_REASON, "the result does not say which chaincode gave it")
    return EndorserTransaction(
        opened.headers,
        results.chaincode_id.name,
        results.chaincode_id.version,
        args,
        rwsets,
        _event(results.events),
        Response(response.status, response.message, response.payload),
        tuple(Endorsement(e.endorser, e.signature) for e in action.action.endorsements),
        endorsed.proposal_hash,
        action.action.proposal_response_payload,
        action.chaincode_proposal_payload,
        opened.payload,
        opened.signature,
    )


def _chaincode_action(data: bytes) -> proposal_pb2.ChaincodeAction:
    try:
        return proposal_pb2.ChaincodeAction.FromString(data)
    except DecodeError as error:
        raise MalformedTransaction(transaction_pb2.BAD_RESPONSE_PAYLOAD, "the chaincode action cannot be read") from error


def _rwsets(data: bytes) -> tuple[NamespaceRwset, ...]:
    try:
        return parse_rwset(data)
    except MalformedRwset as error:
        raise MalformedTransaction(transaction_pb2.BAD_RWSET, str(error)) from error


def _event(data: bytes) -> Event | None:
    if not data:
        return None
    try:
        event = chaincode_event_pb2.ChaincodeEvent.FromString(data)
    except DecodeError as error:
        raise MalformedTransaction(transaction_pb2.INVALID_OTHER_REASON, "the chaincode event cannot be read") from error
    return Event(event.chaincode_id, event.tx_id, event.event_name, event.payload)


def _event_bytes(event: Event | None) -> bytes:
    if event is None:
        return b""
    data: bytes = chaincode_event_pb2.ChaincodeEvent(
        chaincode_id=event.chaincode, tx_id=event.tx_id, event_name=event.name, payload=event.payload
    ).SerializeToString()
    return data


def _call(data: bytes) -> tuple[str, tuple[bytes, ...]]:
    spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(data).chaincode_spec
    return spec.chaincode_id.name, tuple(spec.input.args)


def _chaincode_id(name: str, version: str) -> chaincode_pb2.ChaincodeID:
    return chaincode_pb2.ChaincodeID(name=name, version=version)


def _function(args: tuple[bytes, ...]) -> str:
    return args[0].decode("utf-8", "replace") if args else ""
