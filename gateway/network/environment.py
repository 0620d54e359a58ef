"""The environment that each of Fabric's programs is configured by; nothing of the caller's own environment reaches them."""

from gateway.network.description import HOST, MemberPlace, Network, OrdererPlace
from gateway.network.msp_folders import ADMIN, PEER

_ANY_PORT = f"{HOST}:0"


def tool_environment(network: Network) -> dict[str, str]:
    """What every program of Fabric needs."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "FABRIC_CFG_PATH": str(network.config), "FABRIC_LOGGING_SPEC": "WARN"}


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


def peer_environment(network: Network, member: MemberPlace) -> dict[str, str]:
    files, data = member.organisation.files(PEER), network.folder / "data" / member.peer
    return {
        **tool_environment(network),
        "CORE_PEER_ID": member.peer,
        "CORE_PEER_ADDRESS": member.endpoint,
        "CORE_PEER_LISTENADDRESS": member.endpoint,
        "CORE_PEER_CHAINCODELISTENADDRESS": f"{HOST}:{member.ports.peer_chaincode}",
        "CORE_PEER_GOSSIP_BOOTSTRAP": member.endpoint,
        "CORE_PEER_GOSSIP_EXTERNALENDPOINT": member.endpoint,
        # Peers of a new channel find each other in a second rather than half a minute.
        "CORE_PEER_GOSSIP_RECONNECTINTERVAL": "1s",
        "CORE_PEER_GOSSIP_PUBLISHSTATEINFOINTERVAL": "1s",
        "CORE_PEER_GOSSIP_REQUESTSTATEINFOINTERVAL": "1s",
        "CORE_PEER_LOCALMSPID": member.mspid,
        "CORE_PEER_MSPCONFIGPATH": str(member.msp(PEER)),
        "CORE_PEER_TLS_ENABLED": "true",
        "CORE_PEER_TLS_CERT_FILE": str(files.tls_certificate),
        "CORE_PEER_TLS_KEY_FILE": str(files.tls_private_key),
        "CORE_PEER_TLS_ROOTCERT_FILE": str(member.organisation.tls_ca),
        "CORE_PEER_FILESYSTEMPATH": str(data),
        "CORE_LEDGER_SNAPSHOTS_ROOTDIR": str(data / "snapshots"),
        "CORE_OPERATIONS_LISTENADDRESS": _ANY_PORT,
        "CORE_METRICS_PROVIDER": "disabled",
        "CORE_VM_ENDPOINT": "",
    }


def orderer_environment(network: Network, orderer: OrdererPlace) -> dict[str, str]:
    files, data = orderer.organisation.files(orderer.name), network.folder / "data" / orderer.name
    certificate, key, ca = str(files.tls_certificate), str(files.tls_private_key), str(orderer.organisation.tls_ca)
    return {
        **tool_environment(network),
        "ORDERER_GENERAL_LISTENADDRESS": HOST,
        "ORDERER_GENERAL_LISTENPORT": str(orderer.ports.listen),
        "ORDERER_GENERAL_LOCALMSPID": orderer.organisation.mspid,
        "ORDERER_GENERAL_LOCALMSPDIR": str(orderer.msp),
        "ORDERER_GENERAL_TLS_ENABLED": "true",
        "ORDERER_GENERAL_TLS_CERTIFICATE": certificate,
        "ORDERER_GENERAL_TLS_PRIVATEKEY": key,
        "ORDERER_GENERAL_TLS_ROOTCAS": f"[{ca}]",
        "ORDERER_GENERAL_CLUSTER_CLIENTCERTIFICATE": certificate,
        "ORDERER_GENERAL_CLUSTER_CLIENTPRIVATEKEY": key,
        "ORDERER_GENERAL_CLUSTER_ROOTCAS": f"[{ca}]",
        "ORDERER_GENERAL_BOOTSTRAPMETHOD": "none",
        "ORDERER_CHANNELPARTICIPATION_ENABLED": "true",
        "ORDERER_ADMIN_LISTENADDRESS": f"{HOST}:{orderer.ports.admin}",
        "ORDERER_ADMIN_TLS_ENABLED": "true",
        "ORDERER_ADMIN_TLS_CERTIFICATE": certificate,
        "ORDERER_ADMIN_TLS_PRIVATEKEY": key,
        "ORDERER_ADMIN_TLS_ROOTCAS": f"[{ca}]",
        "ORDERER_ADMIN_TLS_CLIENTROOTCAS": f"[{ca}]",
        "ORDERER_ADMIN_TLS_CLIENTAUTHREQUIRED": "true",
        "ORDERER_FILELEDGER_LOCATION": str(data),
        "ORDERER_CONSENSUS_WALDIR": str(data / "wal"),
        "ORDERER_CONSENSUS_SNAPDIR": str(data / "snapshots"),
        "ORDERER_OPERATIONS_LISTENADDRESS": _ANY_PORT,
        "ORDERER_METRICS_PROVIDER": "disabled",
    }
