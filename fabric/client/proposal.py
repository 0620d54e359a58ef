"""Transaction proposals: what is to be called with which arguments, signed by the caller."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2

from fabric.client.connection import Connection
from fabric.crypto import SigningIdentity, sha256

_NONCE_BYTES = 24  # what Fabric's own clients use


@dataclass(frozen=True)
class Proposal:
    """A signed proposal; `header` and `input` are kept to compare with what the peer hands back, for `signer` to sign."""

    tx_id: str
    signer: SigningIdentity
    header: bytes
    input: bytes
    signed: Any


def new_proposal(connection: Connection, function: str, args: Sequence[bytes], transient: Mapping[str, bytes] | None = None) -> Proposal:
    """A proposal with a fresh nonce, so with a transaction id of its own. `transient` reaches the contract but no block."""
    return build(
        connection.identity,
        connection.channel,
        connection.chaincode,
        [function.encode(), *args],
        transient or {},
        nonce=os.urandom(_NONCE_BYTES),
        time_ns=connection.time_ns(),
    )


def build(
    identity: SigningIdentity,
    channel: str,
    chaincode: str,
    args: Sequence[bytes],
    transient: Mapping[str, bytes],
    *,
    nonce: bytes,
    time_ns: int,
) -> Proposal:
    """The proposal for `args` (function name first), determined by its arguments except for the signature."""
    creator = identity.serialized
    tx_id = transaction_id(nonce, creator)
    spec = chaincode_pb2.ChaincodeInvocationSpec(
        chaincode_spec=chaincode_pb2.ChaincodeSpec(
            chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode), input=chaincode_pb2.ChaincodeInput(args=args)
        )
    ).SerializeToString()
    header = common_pb2.Header(
        channel_header=_channel_header(channel, chaincode, tx_id, time_ns).SerializeToString(),
        signature_header=common_pb2.SignatureHeader(creator=creator, nonce=nonce).SerializeToString(),
    ).SerializeToString()
    payload = proposal_pb2.ChaincodeProposalPayload(input=spec, TransientMap=transient)
    message = proposal_pb2.Proposal(header=header, payload=payload.SerializeToString()).SerializeToString()
    signed = proposal_pb2.SignedProposal(proposal_bytes=message, signature=identity.sign(message))
    return Proposal(tx_id, identity, header, spec, signed)


def transaction_id(nonce: bytes, creator: bytes) -> str:
    """Fabric's transaction id: lower-case hex SHA-256 of nonce and creator."""
    return sha256(nonce + creator).hex()


def _channel_header(channel: str, chaincode: str, tx_id: str, time_ns: int) -> Any:
    extension = proposal_pb2.ChaincodeHeaderExtension(chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode))
    header = common_pb2.ChannelHeader(
        type=common_pb2.ENDORSER_TRANSACTION, channel_id=channel, tx_id=tx_id, extension=extension.SerializeToString()
    )
    header.timestamp.FromNanoseconds(time_ns)
    return header
