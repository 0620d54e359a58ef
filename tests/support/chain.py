"""Small ledgers made by hand: organisations with keys in memory, endorsed transactions, signed blocks, each step open to tampering."""

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, transaction_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from fabric.blocks import build_block, header_hash
from fabric.channel import genesis_envelope
from fabric.crypto import SigningIdentity
from fabric.msp import Msp
from fabric.rwset import VALIDATION_PARAMETER, MetadataWrite, NamespaceRwset, RangeQuery, Read, Version, Write
from fabric.transactions import Endorsement, Event, Response, build_payload, build_response_payload, parse_proposal, transaction_id

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
CHANNEL = CHAINCODE = "consortium"
VALID, MVCC_READ_CONFLICT = transaction_pb2.VALID, transaction_pb2.MVCC_READ_CONFLICT


@dataclass(frozen=True)
class Authority:
    """A certificate authority with its key in memory."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def authority(name: str, issuer: Authority | None = None) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(_certificate(name, (), key, issuer, ca=True), key)


def identity(
    mspid: str,
    name: str,
    units: Sequence[str],
    issuer: Authority,
    *,
    start: datetime.datetime = NOW - datetime.timedelta(days=1),
    days: int = 3650,
) -> SigningIdentity:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(name, units, key, issuer, ca=False, start=start, days=days)
    return SigningIdentity(mspid, certificate.public_bytes(serialization.Encoding.PEM), key)


def _certificate(
    name: str,
    units: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    issuer: Authority | None,
    *,
    ca: bool,
    start: datetime.datetime = NOW - datetime.timedelta(days=1),
    days: int = 3650,
) -> x509.Certificate:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units)]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


@dataclass(frozen=True)
class Org:
    """An organisation: its authority, one identity a role, and its MSP."""

    mspid: str
    ca: Authority
    admin: SigningIdentity
    peer: SigningIdentity
    client: SigningIdentity
    orderer: SigningIdentity

    @property
    def msp(self) -> Msp:
        return Msp(self.mspid, (self.ca.pem,))


def org(mspid: str) -> Org:
    ca = authority(f"ca.{mspid}")
    return Org(mspid, ca, *(identity(mspid, f"{role}.{mspid}", [role], ca) for role in ("admin", "peer", "client", "orderer")))


@dataclass
class Consortium:
    """Three hospitals and an orderer, and a chain of blocks that grows."""

    hospitals: tuple[Org, ...] = field(default_factory=lambda: (org("AlphaMSP"), org("BetaMSP"), org("GammaMSP")))
    orderer: Org = field(default_factory=lambda: org("OrdererMSP"))
    blocks: list[common_pb2.Block] = field(default_factory=list)
    nonces: int = 0

    def __post_init__(self) -> None:
        envelope = genesis_envelope(
            CHANNEL, [hospital.msp for hospital in self.hospitals], [self.orderer.msp], self.orderer.orderer, self.nonce(), timestamp=NOW
        )
        self.add([envelope], [VALID])

    def nonce(self) -> bytes:
        self.nonces += 1
        return hashlib.sha256(str(self.nonces).encode()).digest()[:24]

    def proposal(self, *args: bytes, creator: SigningIdentity | None = None, nonce: bytes | None = None) -> bytes:
        creator, nonce = creator or self.hospitals[0].client, nonce or self.nonce()
        timestamp = Timestamp()
        timestamp.FromDatetime(NOW)
        chaincode = chaincode_pb2.ChaincodeID(name=CHAINCODE)
        channel_header = common_pb2.ChannelHeader(
            type=common_pb2.ENDORSER_TRANSACTION,
            channel_id=CHANNEL,
            tx_id=transaction_id(nonce, creator.serialized),
            timestamp=timestamp,
            extension=proposal_pb2.ChaincodeHeaderExtension(chaincode_id=chaincode).SerializeToString(),
        )
        header = common_pb2.Header(
            channel_header=channel_header.SerializeToString(),
            signature_header=common_pb2.SignatureHeader(creator=creator.serialized, nonce=nonce).SerializeToString(),
        )
        spec = chaincode_pb2.ChaincodeInvocationSpec(
            chaincode_spec=chaincode_pb2.ChaincodeSpec(chaincode_id=chaincode, input=chaincode_pb2.ChaincodeInput(args=args))
        )
        payload = proposal_pb2.ChaincodeProposalPayload(input=spec.SerializeToString())
        return proposal_pb2.Proposal(header=header.SerializeToString(), payload=payload.SerializeToString()).SerializeToString()

    def transaction(
        self,
        *args: bytes,
        creator: SigningIdentity | None = None,
        nonce: bytes | None = None,
        endorsers: Sequence[SigningIdentity] | None = None,
        reads: Sequence[tuple[str, tuple[int, int] | None]] = (),
        writes: Sequence[tuple[str, bytes | None]] = (),
        queries: Sequence[RangeQuery] = (),
        policies: Sequence[tuple[str, bytes]] = (),
        event: tuple[str, bytes] | None = None,
        namespace: str = CHAINCODE,
    ) -> bytes:
        """Envelope bytes of a transaction endorsed by two of three hospitals unless `endorsers` says otherwise."""
        creator = creator or self.hospitals[0].client
        proposal = parse_proposal(self.proposal(*(args or (b"put",)), creator=creator, nonce=nonce))
        rwset = NamespaceRwset(
            namespace,
            tuple(Read(key, Version(*version) if version else None) for key, version in reads),
            tuple(Write(key, value) for key, value in writes),
            tuple(queries),
            tuple(MetadataWrite(key, ((VALIDATION_PARAMETER, policy),)) for key, policy in policies),
        )
        raised = Event(CHAINCODE, proposal.headers.tx_id, *event) if event else None
        response_payload = build_response_payload(
            proposal, chaincode_version="1.0.0", rwsets=[rwset], response=Response(200, "", b"ok"), event=raised
        )
        peers = [hospital.peer for hospital in self.hospitals[:2]] if endorsers is None else endorsers
        endorsements = [Endorsement(peer.serialized, peer.sign(response_payload + peer.serialized)) for peer in peers]
        payload = build_payload(proposal, response_payload, endorsements)
        return common_pb2.Envelope(payload=payload, signature=creator.sign(payload)).SerializeToString()

    def add(self, envelopes: Sequence[bytes], codes: Sequence[int] | None = None) -> common_pb2.Block:
        """Append a block of these envelopes, all recorded as valid unless `codes` says otherwise."""
        block = build_block(
            len(self.blocks),
            header_hash(self.blocks[-1].header) if self.blocks else b"",
            envelopes,
            codes or [VALID] * len(envelopes),
            self.orderer.orderer,
            0,
            self.nonce(),
        )
        self.blocks.append(block)
        return block

    def put(self, **values: bytes) -> common_pb2.Block:
        return self.add([self.transaction(writes=list(values.items()))])


def of_five_values() -> Consortium:
    """A ledger whose key `a` was written in five blocks after the first."""
    chain = Consortium()
    for value in (b"1", b"2", b"3", b"4", b"5"):
        chain.put(a=value)
    return chain
