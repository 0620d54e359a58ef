"""Channel configurations: the first block of a channel, and what any configuration block says about members and policies."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_configuration_pb2
from fabric_protos.peer import configuration_pb2 as peer_configuration_pb2
from google.protobuf.message import DecodeError, Message

from fabric.crypto import IdentityError, SigningIdentity
from fabric.msp import Msp, MspRegistry
from fabric.policies import PolicyTree
from fabric.transactions import transaction_id

ENDORSEMENT = "/Channel/Application/Endorsement"
LIFECYCLE_ENDORSEMENT = "/Channel/Application/LifecycleEndorsement"
BLOCK_VALIDATION = "/Channel/Orderer/BlockValidation"

_M = TypeVar("_M", bound=Message)
_WHOLE_BLOCK = 2**32 - 1  # Fabric's only supported width of the data hash: no Merkle tree, one hash over everything


class ChannelConfigError(ValueError):
    """An envelope is not a channel configuration this product can follow; the message says why."""


@dataclass(frozen=True)
class BatchSize:
    """When the ordering service cuts a block: a count of transactions, and sizes in bytes."""

    max_messages: int = 500
    absolute_max_bytes: int = 10 * 1024 * 1024
    preferred_max_bytes: int = 2 * 1024 * 1024


@dataclass(frozen=True)
class Consenter:
    """A BFT orderer, known in block signatures by its number."""

    mspid: str
    identity_pem: bytes


@dataclass(frozen=True)
class ChannelConfig:
    """One version of a channel's configuration. `sequence` grows by one with each update."""

    channel: str
    sequence: int
    application: tuple[Msp, ...]
    orderer: tuple[Msp, ...]
    policies: PolicyTree = field(repr=False)
    consensus: str = "solo"
    consenters: Mapping[int, Consenter] = field(default_factory=dict, repr=False)
    application_groups: Mapping[str, str] = field(default_factory=dict, repr=False)  # MSP id to the name of its group

    @classmethod
    def parse(cls, envelope_bytes: bytes) -> "ChannelConfig":
        """Read the envelope of a configuration block, of the embedded ledger or of real Fabric; raise ChannelConfigError."""
        channel = _channel_of(envelope_bytes)
        config = config_of(envelope_bytes).config
        groups = config.channel_group.groups
        if "Application" not in groups or "Orderer" not in groups:
            raise ChannelConfigError("the configuration lacks its Application or Orderer group")
        consensus = _value(groups["Orderer"], "ConsensusType", orderer_configuration_pb2.ConsensusType())
        return cls(
            channel,
            config.sequence,
            _msps(groups["Application"]),
            _msps(groups["Orderer"]),
            PolicyTree.parse(config.channel_group),
            consensus.type,
            _consenters(groups["Orderer"]),
            _group_names(groups["Application"]),
        )

    @property
    def members(self) -> MspRegistry:
        """Every organisation's MSP: those of the application and those of the ordering service."""
        return MspRegistry({msp.mspid: msp for msp in (*self.orderer, *self.application)})


@dataclass(frozen=True)
class OrdererAddress:
    """Where an ordering node listens ("host:port"), and whose TLS roots vouch for it."""

    endpoint: str
    mspid: str


def orderer_addresses(envelope_bytes: bytes) -> tuple[OrdererAddress, ...]:
    """The ordering service's addresses as the configuration names them for each of its organisations; raise ChannelConfigError."""
    orderers = config_of(envelope_bytes).config.channel_group.groups["Orderer"].groups
    return tuple(
        OrdererAddress(endpoint, Msp.from_config(organisation.values["MSP"].value).mspid)
        for _, organisation in sorted(orderers.items())
        for endpoint in _value(organisation, "Endpoints", configuration_pb2.OrdererAddresses()).addresses
    )


def config_of(envelope_bytes: bytes) -> configtx_pb2.ConfigEnvelope:
    """The configuration message inside an envelope; raise ChannelConfigError if it cannot be read."""
    try:
        envelope = common_pb2.Envelope.FromString(envelope_bytes)
        return configtx_pb2.ConfigEnvelope.FromString(common_pb2.Payload.FromString(envelope.payload).data)
    except DecodeError as error:
        raise ChannelConfigError("the configuration envelope cannot be read") from error


def genesis_envelope(
    channel: str,
    application: Sequence[Msp],
    orderer: Sequence[Msp],
    signer: SigningIdentity,
    nonce: bytes,
    *,
    timestamp: datetime.datetime,
    endpoints: Sequence[str] = (),
    batch: BatchSize = BatchSize(),
) -> bytes:
    """`common.Envelope` bytes of a channel's first block, its groups, values and policies where a real channel keeps them.

    The chaincode endorsement policy is the majority of the application's organisations, each by one of its peers.
    """
    config = configtx_pb2.Config(sequence=0, channel_group=_channel_group(application, orderer, endpoints, batch))
    channel_header = common_pb2.ChannelHeader(
        type=common_pb2.CONFIG, version=1, channel_id=channel, tx_id=transaction_id(nonce, signer.serialized)
    )
    channel_header.timestamp.FromDatetime(timestamp)
    signature_header = common_pb2.SignatureHeader(creator=signer.serialized, nonce=nonce)
    header = common_pb2.Header(channel_header=channel_header.SerializeToString(), signature_header=signature_header.SerializeToString())
    data = configtx_pb2.ConfigEnvelope(config=config).SerializeToString(deterministic=True)
    payload = common_pb2.Payload(header=header, data=data).SerializeToString()
    envelope: bytes = common_pb2.Envelope(payload=payload, signature=signer.sign(payload)).SerializeToString()
    return envelope


def _channel_of(envelope_bytes: bytes) -> str:
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope_bytes).payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    except DecodeError as error:
        raise ChannelConfigError("the configuration envelope cannot be read") from error
    if header.type != common_pb2.CONFIG:
        raise ChannelConfigError(f"the envelope's type is {header.type}, not a channel configuration")
    return str(header.channel_id)


def _channel_group(
    application: Sequence[Msp],
    orderer: Sequence[Msp],
    endpoints: Sequence[str],
    batch: BatchSize,
) -> configtx_pb2.ConfigGroup:
    group = configtx_pb2.ConfigGroup(mod_policy="Admins")
    _set(group, "HashingAlgorithm", configuration_pb2.HashingAlgorithm(name="SHA256"))
    _set(group, "BlockDataHashingStructure", configuration_pb2.BlockDataHashingStructure(width=_WHOLE_BLOCK))
    _set(group, "Capabilities", _capabilities("V2_0"))
    _set_meta_policies(group)
    group.groups["Application"].CopyFrom(_application_group(application))
    group.groups["Orderer"].CopyFrom(_orderer_group(orderer, endpoints, batch))
    return group


def _application_group(msps: Sequence[Msp]) -> configtx_pb2.ConfigGroup:
    group = configtx_pb2.ConfigGroup(mod_policy="Admins")
    _set(group, "Capabilities", _capabilities("V2_5"))
    _set(group, "ACLs", peer_configuration_pb2.ACLs())
    _set_meta_policies(group)
    for name in ("Endorsement", "LifecycleEndorsement"):
        _set_policy(group, name, _meta(policies_pb2.ImplicitMetaPolicy.MAJORITY, "Endorsement"))
    for msp in msps:
        group.groups[msp.mspid].CopyFrom(application_organisation(msp))
    return group


def application_organisation(msp: Msp, anchor_peers: Sequence[tuple[str, int]] = ()) -> configtx_pb2.ConfigGroup:
    """The group of an organisation under /Channel/Application; anchor peers are (host, port), at which other organisations find it."""
    group = _organisation_group(msp)
    _set_policy(group, "Endorsement", _signed_by(msp.mspid, msp_principal_pb2.MSPRole.PEER))
    if anchor_peers:
        peers = [peer_configuration_pb2.AnchorPeer(host=host, port=port) for host, port in anchor_peers]
        _set(group, "AnchorPeers", peer_configuration_pb2.AnchorPeers(anchor_peers=peers))
    return group


def _orderer_group(msps: Sequence[Msp], endpoints: Sequence[str], batch: BatchSize) -> configtx_pb2.ConfigGroup:
    group = configtx_pb2.ConfigGroup(mod_policy="Admins")
    _set(group, "ConsensusType", orderer_configuration_pb2.ConsensusType(type="solo"))
    _set(
        group,
        "BatchSize",
        orderer_configuration_pb2.BatchSize(
            max_message_count=batch.max_messages, absolute_max_bytes=batch.absolute_max_bytes, preferred_max_bytes=batch.preferred_max_bytes
        ),
    )
    _set(group, "BatchTimeout", orderer_configuration_pb2.BatchTimeout(timeout="1ms"))
    _set(group, "ChannelRestrictions", orderer_configuration_pb2.ChannelRestrictions())
    _set(group, "Capabilities", _capabilities("V2_0"))
    _set_meta_policies(group)
    _set_policy(group, "BlockValidation", _meta(policies_pb2.ImplicitMetaPolicy.ANY, "Writers"))
    for msp in msps:
        organisation = _organisation_group(msp)
        _set(organisation, "Endpoints", configuration_pb2.OrdererAddresses(addresses=endpoints))
        group.groups[msp.mspid].CopyFrom(organisation)
    return group


def _organisation_group(msp: Msp) -> configtx_pb2.ConfigGroup:
    group = configtx_pb2.ConfigGroup(mod_policy="Admins")
    group.values["MSP"].CopyFrom(configtx_pb2.ConfigValue(value=msp.to_config(), mod_policy="Admins"))
    for name in ("Readers", "Writers"):
        _set_policy(group, name, _signed_by(msp.mspid, msp_principal_pb2.MSPRole.MEMBER))
    _set_policy(group, "Admins", _signed_by(msp.mspid, msp_principal_pb2.MSPRole.ADMIN))
    return group


def _set(group: configtx_pb2.ConfigGroup, name: str, value: Message) -> None:
    data = value.SerializeToString(deterministic=True)
    group.values[name].CopyFrom(configtx_pb2.ConfigValue(value=data, mod_policy="Admins"))


def _set_policy(group: configtx_pb2.ConfigGroup, name: str, policy: policies_pb2.Policy) -> None:
    group.policies[name].CopyFrom(configtx_pb2.ConfigPolicy(policy=policy, mod_policy="Admins"))


def _set_meta_policies(group: configtx_pb2.ConfigGroup) -> None:
    for name in ("Readers", "Writers"):
        _set_policy(group, name, _meta(policies_pb2.ImplicitMetaPolicy.ANY, name))
    _set_policy(group, "Admins", _meta(policies_pb2.ImplicitMetaPolicy.MAJORITY, "Admins"))


def _meta(rule: int, sub_policy: str) -> policies_pb2.Policy:
    value = policies_pb2.ImplicitMetaPolicy(rule=rule, sub_policy=sub_policy)
    return policies_pb2.Policy(type=policies_pb2.Policy.IMPLICIT_META, value=value.SerializeToString())


def _signed_by(mspid: str, role: int) -> policies_pb2.Policy:
    principal = msp_principal_pb2.MSPPrincipal(
        principal_classification=msp_principal_pb2.MSPPrincipal.ROLE,
        principal=msp_principal_pb2.MSPRole(msp_identifier=mspid, role=role).SerializeToString(),
    )
    one_of_one = policies_pb2.SignaturePolicy.NOutOf(n=1, rules=[policies_pb2.SignaturePolicy(signed_by=0)])
    value = policies_pb2.SignaturePolicyEnvelope(rule=policies_pb2.SignaturePolicy(n_out_of=one_of_one), identities=[principal])
    return policies_pb2.Policy(type=policies_pb2.Policy.SIGNATURE, value=value.SerializeToString())


def _capabilities(name: str) -> configuration_pb2.Capabilities:
    return configuration_pb2.Capabilities(capabilities={name: configuration_pb2.Capability()})


def _msps(group: configtx_pb2.ConfigGroup) -> tuple[Msp, ...]:
    try:
        return tuple(Msp.from_config(organisation.values["MSP"].value) for _, organisation in sorted(group.groups.items()))
    except IdentityError as error:
        raise ChannelConfigError(f"the configuration holds a bad MSP: {error}") from error


def _group_names(group: configtx_pb2.ConfigGroup) -> dict[str, str]:
    return {Msp.from_config(organisation.values["MSP"].value).mspid: name for name, organisation in group.groups.items()}


def _consenters(group: configtx_pb2.ConfigGroup) -> dict[int, Consenter]:
    orderers = _value(group, "Orderers", configuration_pb2.Orderers())
    return {consenter.id: Consenter(consenter.msp_id, consenter.identity) for consenter in orderers.consenter_mapping}


def _value(group: configtx_pb2.ConfigGroup, name: str, message: _M) -> _M:
    try:
        message.ParseFromString(group.values[name].value if name in group.values else b"")
    except DecodeError as error:
        raise ChannelConfigError(f"the configuration value {name} cannot be read") from error
    return message
