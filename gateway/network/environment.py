"""The environment that each of Fabric's programs is configured by; nothing of the caller's own environment reaches them.

On this machine and in containers alike: only paths and listening addresses differ, which are the placement's.
"""

from gateway.network.description import HOST, MemberPlace, Network, OrdererPlace
from gateway.network.msp_folders import ADMIN
from gateway.network.placement import Placement


def tool_environment(network: Network) -> dict[str, str]:
    """What every command-line program of Fabric needs."""
    return _common(str(network.config))


def admin_environment(network: Network, member: MemberPlace) -> dict[str, str]:
    """For the `peer` command, typed by an organisation's administrator."""
    return {
        **tool_environment(network),
        "CORE_PEER_LOCALMSPID": member.mspid,
        "CORE_PEER_ADDRESS": member.endpoint,
        "CORE_PEER_TLS_ENABLED": "true",
        "CORE_PEER_TLS_ROOTCERT_FILE": str(member.organisation.tls_ca),
        "CORE_PEER_MSPCONFIGPATH": str(member.msp(ADMIN)),
    }


def peer_environment(member: MemberPlace, at: Placement) -> dict[str, str]:
    return {
        **_common(at.config),
        "CORE_PEER_ID": member.peer,
        "CORE_PEER_ADDRESS": member.endpoint,
        "CORE_PEER_LISTENADDRESS": f"{at.listen}:{member.ports.peer}",
        "CORE_PEER_CHAINCODELISTENADDRESS": f"{HOST}:{member.ports.peer_chaincode}",
        "CORE_PEER_GOSSIP_BOOTSTRAP": member.endpoint,
        "CORE_PEER_GOSSIP_EXTERNALENDPOINT": member.endpoint,
        # Peers of a new channel find each other in a second rather than half a minute.
        "CORE_PEER_GOSSIP_RECONNECTINTERVAL": "1s",
        "CORE_PEER_GOSSIP_PUBLISHSTATEINFOINTERVAL": "1s",
        "CORE_PEER_GOSSIP_REQUESTSTATEINFOINTERVAL": "1s",
        "CORE_PEER_LOCALMSPID": member.mspid,
        "CORE_PEER_MSPCONFIGPATH": at.msp,
        "CORE_PEER_TLS_ENABLED": "true",
        "CORE_PEER_TLS_CERT_FILE": at.tls_certificate,
        "CORE_PEER_TLS_KEY_FILE": at.tls_private_key,
        "CORE_PEER_TLS_ROOTCERT_FILE": at.tls_ca,
        "CORE_PEER_FILESYSTEMPATH": at.data,
        "CORE_LEDGER_SNAPSHOTS_ROOTDIR": f"{at.data}/snapshots",
        "CORE_OPERATIONS_LISTENADDRESS": at.operations,
        "CORE_METRICS_PROVIDER": "disabled",
        "CORE_VM_ENDPOINT": "",
    }


def orderer_environment(orderer: OrdererPlace, at: Placement) -> dict[str, str]:
    certificate, key, ca = at.tls_certificate, at.tls_private_key, at.tls_ca
    return {
        **_common(at.config),
        "ORDERER_GENERAL_LISTENADDRESS": at.listen,
        "ORDERER_GENERAL_LISTENPORT": str(orderer.ports.listen),
        "ORDERER_GENERAL_LOCALMSPID": orderer.organisation.mspid,
        "ORDERER_GENERAL_LOCALMSPDIR": at.msp,
        "ORDERER_GENERAL_TLS_ENABLED": "true",
        "ORDERER_GENERAL_TLS_CERTIFICATE": certificate,
        "ORDERER_GENERAL_TLS_PRIVATEKEY": key,
        "ORDERER_GENERAL_TLS_ROOTCAS": f"[{ca}]",
        "ORDERER_GENERAL_CLUSTER_CLIENTCERTIFICATE": certificate,
        "ORDERER_GENERAL_CLUSTER_CLIENTPRIVATEKEY": key,
        "ORDERER_GENERAL_CLUSTER_ROOTCAS": f"[{ca}]",
        "ORDERER_GENERAL_BOOTSTRAPMETHOD": "none",
        "ORDERER_CHANNELPARTICIPATION_ENABLED": "true",
        "ORDERER_ADMIN_LISTENADDRESS": f"{at.listen}:{orderer.ports.admin}",
        "ORDERER_ADMIN_TLS_ENABLED": "true",
        "ORDERER_ADMIN_TLS_CERTIFICATE": certificate,
        "ORDERER_ADMIN_TLS_PRIVATEKEY": key,
        "ORDERER_ADMIN_TLS_ROOTCAS": f"[{ca}]",
        "ORDERER_ADMIN_TLS_CLIENTROOTCAS": f"[{ca}]",
        "ORDERER_ADMIN_TLS_CLIENTAUTHREQUIRED": "true",
        "ORDERER_FILELEDGER_LOCATION": at.data,
        "ORDERER_CONSENSUS_WALDIR": f"{at.data}/wal",
        "ORDERER_CONSENSUS_SNAPDIR": f"{at.data}/snapshots",
        "ORDERER_OPERATIONS_LISTENADDRESS": at.operations,
        "ORDERER_METRICS_PROVIDER": "disabled",
    }


def _common(config: str) -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "FABRIC_CFG_PATH": config, "FABRIC_LOGGING_SPEC": "WARN"}
