"""Configuration of the real network in tests: what Fabric's own programs read. Written as JSON, which is YAML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ORDERER_MSPID = "OrdererMSP"
_ORDERER_DOMAIN = "orderer.local"
_LOOPBACK_NAMES = ["localhost", "127.0.0.1"]
_RAFT_OPTIONS = {"ElectionTick": 10, "HeartbeatTick": 1, "MaxInflightBlocks": 5, "SnapshotIntervalSize": "16 MB"}


@dataclass(frozen=True)
class PeerPlace:
    """An organisation's peer: its ports, and where cryptogen puts its keys and certificates."""

    folder: Path
    mspid: str
    port: int
    chaincode_port: int

    @property
    def domain(self) -> str:
        return f"{self.mspid.removesuffix('MSP').lower()}.local"

    @property
    def crypto(self) -> Path:
        return self.folder / "crypto" / "peerOrganizations" / self.domain

    @property
    def msp(self) -> Path:
        return self.crypto / "peers" / f"peer0.{self.domain}" / "msp"

    @property
    def tls(self) -> Path:
        return self.crypto / "peers" / f"peer0.{self.domain}" / "tls"

    @property
    def service_tls(self) -> Path:
        """The chaincode service's certificate: it belongs to the organisation as the peer does."""
        return self.crypto / "peers" / f"chaincode.{self.domain}" / "tls"

    def msp_of(self, user: str) -> Path:
        return self.crypto / "users" / f"{user}@{self.domain}" / "msp"


@dataclass(frozen=True)
class OrdererPlace:
    """The orderer: its ports, and where cryptogen puts its keys and certificates."""

    folder: Path
    port: int
    admin_port: int

    @property
    def home(self) -> Path:
        return self.folder / "crypto" / "ordererOrganizations" / _ORDERER_DOMAIN / "orderers" / f"o1.{_ORDERER_DOMAIN}"

    @property
    def tls(self) -> Path:
        return self.home / "tls"

    @property
    def organisation_msp(self) -> Path:
        return self.folder / "crypto" / "ordererOrganizations" / _ORDERER_DOMAIN / "msp"


def crypto_config(peers: Sequence[PeerPlace], users: int) -> dict[str, Any]:
    orderer = {"Hostname": "o1", "SANS": _LOOPBACK_NAMES}
    return {
        "OrdererOrgs": [{"Name": "Orderer", "Domain": _ORDERER_DOMAIN, "EnableNodeOUs": True, "Specs": [orderer]}],
        "PeerOrgs": [
            {
                "Name": peer.mspid,
                "Domain": peer.domain,
                "EnableNodeOUs": True,
                "Specs": [{"Hostname": name, "SANS": _LOOPBACK_NAMES} for name in ("peer0", "chaincode")],
                "Users": {"Count": users},
            }
            for peer in peers
        ],
    }


def configtx(orderer: OrdererPlace, peers: Sequence[PeerPlace]) -> dict[str, Any]:
    """One channel: a majority of the organisations endorses a transaction, and a definition of the contract."""
    consenter = {
        "Host": "127.0.0.1",
        "Port": orderer.port,
        "ClientTLSCert": str(orderer.tls / "server.crt"),
        "ServerTLSCert": str(orderer.tls / "server.crt"),
    }
    majority = {"Type": "ImplicitMeta", "Rule": "MAJORITY Endorsement"}
    return {
        "Profiles": {
            "Channel": {
                "Policies": _group_policies(),
                "Capabilities": {"V2_0": True},
                "Orderer": {
                    "OrdererType": "etcdraft",
                    "BatchTimeout": "100ms",
                    "BatchSize": {"MaxMessageCount": 100, "AbsoluteMaxBytes": "10 MB", "PreferredMaxBytes": "2 MB"},
                    # A lone orderer leads again a second after its restart; Fabric's default waits five.
                    "EtcdRaft": {"Consenters": [consenter], "Options": {**_RAFT_OPTIONS, "TickInterval": "100ms"}},
                    "Organizations": [_orderer_organisation(orderer)],
                    "Policies": {**_group_policies(), "BlockValidation": {"Type": "ImplicitMeta", "Rule": "ANY Writers"}},
                    "Capabilities": {"V2_0": True},
                },
                "Application": {
                    "Organizations": [_peer_organisation(peer) for peer in peers],
                    "Policies": {**_group_policies(), "LifecycleEndorsement": majority, "Endorsement": majority},
                    "Capabilities": {"V2_5": True},
                },
            }
        }
    }


def core_yaml(released: str, builder: Path) -> str:
    """The release's core.yaml with its chaincode builder found where the release was unpacked."""
    return released.replace("path: /opt/hyperledger/ccaas_builder", f"path: {builder}")


def peer_environment(peer: PeerPlace) -> dict[str, str]:
    address, data = f"127.0.0.1:{peer.port}", peer.folder / "data" / peer.mspid
    return {
        "PATH": "/usr/bin:/bin",
        "FABRIC_CFG_PATH": str(peer.folder / "config"),
        "FABRIC_LOGGING_SPEC": "WARN",
        "CORE_PEER_ID": f"peer0.{peer.domain}",
        "CORE_PEER_ADDRESS": address,
        "CORE_PEER_LISTENADDRESS": address,
        "CORE_PEER_CHAINCODELISTENADDRESS": f"127.0.0.1:{peer.chaincode_port}",
        "CORE_PEER_GOSSIP_BOOTSTRAP": address,
        "CORE_PEER_GOSSIP_EXTERNALENDPOINT": address,
        # Peers of a new channel find each other in a second rather than half a minute.
        "CORE_PEER_GOSSIP_RECONNECTINTERVAL": "1s",
        "CORE_PEER_GOSSIP_PUBLISHSTATEINFOINTERVAL": "1s",
        "CORE_PEER_GOSSIP_REQUESTSTATEINFOINTERVAL": "1s",
        "CORE_PEER_LOCALMSPID": peer.mspid,
        "CORE_PEER_MSPCONFIGPATH": str(peer.msp),
        "CORE_PEER_TLS_ENABLED": "true",
        "CORE_PEER_TLS_CERT_FILE": str(peer.tls / "server.crt"),
        "CORE_PEER_TLS_KEY_FILE": str(peer.tls / "server.key"),
        "CORE_PEER_TLS_ROOTCERT_FILE": str(peer.tls / "ca.crt"),
        "CORE_PEER_FILESYSTEMPATH": str(data),
        "CORE_LEDGER_SNAPSHOTS_ROOTDIR": str(data / "snapshots"),
        "CORE_OPERATIONS_LISTENADDRESS": "127.0.0.1:0",
        "CORE_METRICS_PROVIDER": "disabled",
        "CORE_VM_ENDPOINT": "",
    }


def orderer_environment(orderer: OrdererPlace) -> dict[str, str]:
    data = orderer.folder / "data" / "orderer"
    certificate, key, ca = (str(orderer.tls / name) for name in ("server.crt", "server.key", "ca.crt"))
    return {
        "PATH": "/usr/bin:/bin",
        "FABRIC_CFG_PATH": str(orderer.folder / "config"),
        "FABRIC_LOGGING_SPEC": "WARN",
        "ORDERER_GENERAL_LISTENADDRESS": "127.0.0.1",
        "ORDERER_GENERAL_LISTENPORT": str(orderer.port),
        "ORDERER_GENERAL_LOCALMSPID": ORDERER_MSPID,
        "ORDERER_GENERAL_LOCALMSPDIR": str(orderer.home / "msp"),
        "ORDERER_GENERAL_TLS_ENABLED": "true",
        "ORDERER_GENERAL_TLS_CERTIFICATE": certificate,
        "ORDERER_GENERAL_TLS_PRIVATEKEY": key,
        "ORDERER_GENERAL_TLS_ROOTCAS": f"[{ca}]",
        "ORDERER_GENERAL_CLUSTER_CLIENTCERTIFICATE": certificate,
        "ORDERER_GENERAL_CLUSTER_CLIENTPRIVATEKEY": key,
        "ORDERER_GENERAL_CLUSTER_ROOTCAS": f"[{ca}]",
        "ORDERER_GENERAL_BOOTSTRAPMETHOD": "none",
        "ORDERER_CHANNELPARTICIPATION_ENABLED": "true",
        "ORDERER_ADMIN_LISTENADDRESS": f"127.0.0.1:{orderer.admin_port}",
        "ORDERER_ADMIN_TLS_ENABLED": "true",
        "ORDERER_ADMIN_TLS_CERTIFICATE": certificate,
        "ORDERER_ADMIN_TLS_PRIVATEKEY": key,
        "ORDERER_ADMIN_TLS_ROOTCAS": f"[{ca}]",
        "ORDERER_ADMIN_TLS_CLIENTROOTCAS": f"[{ca}]",
        "ORDERER_ADMIN_TLS_CLIENTAUTHREQUIRED": "true",
        "ORDERER_FILELEDGER_LOCATION": str(data),
        "ORDERER_CONSENSUS_WALDIR": str(data / "wal"),
        "ORDERER_CONSENSUS_SNAPDIR": str(data / "snapshots"),
        "ORDERER_OPERATIONS_LISTENADDRESS": "127.0.0.1:0",
        "ORDERER_METRICS_PROVIDER": "disabled",
    }


def _orderer_organisation(orderer: OrdererPlace) -> dict[str, Any]:
    return {
        "Name": "OrdererOrg",
        "ID": ORDERER_MSPID,
        "MSPDir": str(orderer.organisation_msp),
        "Policies": _organisation_policies(ORDERER_MSPID),
        "OrdererEndpoints": [f"127.0.0.1:{orderer.port}"],
    }


def _peer_organisation(peer: PeerPlace) -> dict[str, Any]:
    return {
        "Name": peer.mspid,
        "ID": peer.mspid,
        "MSPDir": str(peer.crypto / "msp"),
        "Policies": {**_organisation_policies(peer.mspid), "Endorsement": _signature(f"OR('{peer.mspid}.peer')")},
        "AnchorPeers": [{"Host": "127.0.0.1", "Port": peer.port}],
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
