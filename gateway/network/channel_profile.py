"""The channel: who belongs to it, who orders, and which majorities decide. What `configtxgen` reads, as JSON, which is YAML."""

from collections.abc import Sequence
from typing import Any

from gateway.network.description import MemberPlace, Network, OrdererPlace
from gateway.network.msp_folders import ORGANISATION

PROFILE = "Channel"
_MAJORITY = {"Type": "ImplicitMeta", "Rule": "MAJORITY Endorsement"}
_RAFT = {"TickInterval": "100ms", "ElectionTick": 10, "HeartbeatTick": 1, "MaxInflightBlocks": 5, "SnapshotIntervalSize": "16 MB"}
# Fabric's own defaults, but for the first and the heartbeat: on one machine a block need not wait, and a leader is missed sooner.
_SMART_BFT = {
    "RequestBatchMaxInterval": "100ms",
    "RequestForwardTimeout": "5s",
    "RequestComplainTimeout": "20s",
    "RequestAutoRemoveTimeout": "3m0s",
    "ViewChangeResendInterval": "5s",
    "ViewChangeTimeout": "20s",
    "LeaderHeartbeatTimeout": "10s",
    "CollectTimeout": "1s",
    "IncomingMessageBufferSize": 200,
    "RequestPoolSize": 100_000,
    "LeaderHeartbeatCount": 10,
}


def configtx(network: Network) -> dict[str, Any]:
    """One channel: a majority of the organisations endorses a transaction, and a definition of the contract."""
    bft = network.description.consensus == "bft"
    return {
        "Profiles": {
            PROFILE: {
                "Policies": _group_policies(),
                "Capabilities": {"V3_0" if bft else "V2_0": True},
                "Orderer": _ordering(network, bft=bft),
                "Application": {
                    "Organizations": [_member(member) for member in network.members],
                    "Policies": {**_group_policies(), "LifecycleEndorsement": _MAJORITY, "Endorsement": _MAJORITY},
                    "Capabilities": {"V2_5": True},
                },
            }
        }
    }


def _ordering(network: Network, *, bft: bool) -> dict[str, Any]:
    consenters = (
        {"OrdererType": "BFT", "ConsenterMapping": _consenter_mapping(network.orderers), "SmartBFT": _SMART_BFT}
        if bft
        else {"OrdererType": "etcdraft", "EtcdRaft": {"Consenters": [_consenter(each) for each in network.orderers], "Options": _RAFT}}
    )
    return {
        **consenters,
        "BatchTimeout": "10ms",
        "BatchSize": {"MaxMessageCount": 100, "AbsoluteMaxBytes": "10 MB", "PreferredMaxBytes": "2 MB"},
        "Organizations": [_orderer_organisation(network)],
        "Policies": {**_group_policies(), "BlockValidation": {"Type": "ImplicitMeta", "Rule": "ANY Writers"}},
        "Capabilities": {"V2_0": True},
    }


def _consenter(orderer: OrdererPlace) -> dict[str, Any]:
    certificate = str(orderer.organisation.files(orderer.name).tls_certificate)
    return {"Host": orderer.ports.host, "Port": orderer.ports.listen, "ClientTLSCert": certificate, "ServerTLSCert": certificate}


def _consenter_mapping(orderers: Sequence[OrdererPlace]) -> list[dict[str, Any]]:
    return [
        {
            "ID": number,
            "MSPID": orderer.organisation.mspid,
            "Identity": str(orderer.organisation.files(orderer.name).certificate),
            **_consenter(orderer),
        }
        for number, orderer in enumerate(orderers, 1)
    ]


def _orderer_organisation(network: Network) -> dict[str, Any]:
    mspid = network.description.orderer_mspid
    return {
        "Name": mspid,
        "ID": mspid,
        "MSPDir": str(network.orderer_msp(ORGANISATION)),
        "Policies": _organisation_policies(mspid),
        "OrdererEndpoints": [orderer.endpoint for orderer in network.orderers],
    }


def _member(member: MemberPlace) -> dict[str, Any]:
    return {
        "Name": member.mspid,
        "ID": member.mspid,
        "MSPDir": str(member.msp(ORGANISATION)),
        "Policies": {**_organisation_policies(member.mspid), "Endorsement": _signature(f"OR('{member.mspid}.peer')")},
        "AnchorPeers": [{"Host": member.ports.host, "Port": member.ports.peer}],
    }


def _organisation_policies(mspid: str) -> dict[str, Any]:
    return {
        "Readers": _signature(f"OR('{mspid}.member')"),
        "Writers": _signature(f"OR('{mspid}.member')"),
        "Admins": _signature(f"OR('{mspid}.admin')"),
    }


def _signature(rule: str) -> dict[str, str]:
    return {"Type": "Signature", "Rule": rule}


def _group_policies() -> dict[str, Any]:
    rules = {"Readers": "ANY Readers", "Writers": "ANY Writers", "Admins": "MAJORITY Admins"}
    return {name: {"Type": "ImplicitMeta", "Rule": rule} for name, rule in rules.items()}
