"""The messages of Fabric's chaincode protocol that this service sends, and what it reads out of a peer's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import chaincode_event_pb2, chaincode_pb2, chaincode_shim_pb2, proposal_pb2, proposal_response_pb2

Message = chaincode_shim_pb2.ChaincodeMessage
_OK = 200
_REFUSED = 500


@dataclass(frozen=True)
class Invocation:
    """One call of the contract, as the peer hands it over: the peer has checked signature, certificate and access."""

    channel: str
    tx_id: str
    function: str
    args: tuple[bytes, ...]
    mspid: str
    certificate_pem: bytes
    transient: Mapping[str, bytes]


def read_invocation(message: Any) -> Invocation:
    """Take a TRANSACTION message apart. Raises DecodeError, UnicodeDecodeError or IndexError where it is not one."""
    args = chaincode_pb2.ChaincodeInput.FromString(message.payload).args
    proposal = proposal_pb2.Proposal.FromString(message.proposal.proposal_bytes)
    header = common_pb2.Header.FromString(proposal.header)
    signer = common_pb2.SignatureHeader.FromString(header.signature_header)
    caller = identities_pb2.SerializedIdentity.FromString(signer.creator)
    transient = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload).TransientMap
    return Invocation(
        channel=message.channel_id,
        tx_id=message.txid,
        function=args[0].decode(),
        args=tuple(args[1:]),
        mspid=caller.mspid,
        certificate_pem=caller.id_bytes,
        transient=dict(transient),
    )


def register(package_id: str) -> Any:
    """The first message of a stream: which installed chaincode package this service runs."""
    return Message(type=Message.REGISTER, payload=chaincode_pb2.ChaincodeID(name=package_id).SerializeToString())


def completed(request: Any, result: bytes, event: tuple[str, bytes] | None) -> Any:
    """The contract's answer with its event, if it set one; the peer adds the event's transaction and chaincode."""
    message = _answer(request, proposal_response_pb2.Response(status=_OK, payload=result))
    if event is not None:
        name, payload = event
        message.chaincode_event.CopyFrom(chaincode_event_pb2.ChaincodeEvent(event_name=name, payload=payload))
    return message


def refused(request: Any, sentence: str) -> Any:
    """The call ends without effect; the caller reads `chaincode response 500, <sentence>`."""
    return _answer(request, proposal_response_pb2.Response(status=_REFUSED, message=sentence))


def failed(request: Any, sentence: str) -> Any:
    """This service could not run the call at all; the caller reads `transaction returned with failure: <sentence>`."""
    return Message(type=Message.ERROR, channel_id=request.channel_id, txid=request.txid, payload=sentence.encode())


def _answer(request: Any, response: Any) -> Any:
    return Message(type=Message.COMPLETED, channel_id=request.channel_id, txid=request.txid, payload=response.SerializeToString())
