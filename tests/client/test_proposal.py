"""Proposals against the format's definition, taken apart with nothing but the official bindings and hashlib."""

import hashlib
import time
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2

from fabric.client.gateway import Gateway
from fabric.client.proposal import build
from fabric.transactions import parse_proposal

NONCE = bytes(range(24))
TIME_NS = 1_700_000_000_123_456_789


def test_every_field_is_where_fabric_keeps_it(ledger) -> None:
    identity = ledger.identity("AlphaMSP")
    made = build(identity, "channel-1", "contract-1", [b"function", b"\x00\xff"], {"salt": b"s"}, nonce=NONCE, time_ns=TIME_NS)
    proposal = proposal_pb2.Proposal.FromString(made.signed.proposal_bytes)
    header = common_pb2.Header.FromString(proposal.header)
    channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
    signature_header = common_pb2.SignatureHeader.FromString(header.signature_header)
    creator = identities_pb2.SerializedIdentity.FromString(signature_header.creator)
    payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
    spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input).chaincode_spec
    extension = proposal_pb2.ChaincodeHeaderExtension.FromString(channel_header.extension)

    assert made.tx_id == channel_header.tx_id == hashlib.sha256(NONCE + signature_header.creator).hexdigest()
    assert (channel_header.type, channel_header.channel_id) == (common_pb2.ENDORSER_TRANSACTION, "channel-1")
    assert channel_header.timestamp.ToNanoseconds() == TIME_NS
    assert signature_header.nonce == NONCE
    assert (creator.mspid, creator.id_bytes) == ("AlphaMSP", identity.certificate_pem)
    assert extension.chaincode_id.name == spec.chaincode_id.name == "contract-1"
    assert list(spec.input.args) == [b"function", b"\x00\xff"]
    assert dict(payload.TransientMap) == {"salt": b"s"}
    key = x509.load_pem_x509_certificate(identity.certificate_pem).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(made.signed.signature, made.signed.proposal_bytes, ec.ECDSA(hashes.SHA256()))


def test_the_same_call_with_another_nonce_is_another_transaction(ledger) -> None:
    identity = ledger.identity("AlphaMSP")
    first, second = (build(identity, "c", "cc", [b"f"], {}, nonce=nonce, time_ns=TIME_NS) for nonce in (NONCE, NONCE[::-1]))
    assert first.tx_id != second.tx_id


async def test_calls_carry_the_time_of_the_clock_they_are_given(ledger, proxy) -> None:
    """Proposals and requests for blocks; nothing on the ledger turns on it."""
    identity = ledger.identity("AlphaMSP")
    ahead = (int(time.time()) + 600) * 10**9
    client = Gateway.connect(proxy.endpoint, ledger.tls_ca, ledger.channel, ledger.chaincode, identity, time_ns=lambda: ahead)
    await client.submit("put", b"k", b"v")
    await client.height()
    await client.close()
    proposed = gateway_pb2.EndorseRequest.FromString(proxy.seen["Endorse"][0]).proposed_transaction.proposal_bytes
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(proxy.seen["Deliver"][0]).payload)
    sought = common_pb2.ChannelHeader.FromString(payload.header.channel_header).timestamp
    assert parse_proposal(proposed).headers.timestamp == datetime.fromtimestamp(ahead // 10**9, UTC)
    assert sought.ToNanoseconds() == ahead
