"""Certificates of fabric.devpki in the folders that Fabric's programs read: the MSP layout, with NodeOUs."""

import json
import os
from pathlib import Path

from fabric.devpki import NodeOu, Organisation, create_organisation, issue_identity
from fabric.msp import NODE_OUS
from gateway.network.description import Network

ORGANISATION = "organisation"
"""Folder name of what everybody may know of an organisation: its authorities' certificates."""
ADMIN, PEER = "admin", "peer"
SERVICE, SERVICE_CLIENT = "chaincode", "chaincode-client"
"""The chaincode service's TLS certificate, and the one with which the organisation's peer calls it."""
_MEMBER_IDENTITIES: dict[str, NodeOu] = {ADMIN: "admin", PEER: "peer", SERVICE: "client", SERVICE_CLIENT: "client"}


def create_certificates(network: Network, client: str | None) -> None:
    """Make what is not there yet of every organisation: authorities, identities of the network's programs, and `client`'s if given."""
    extra: dict[str, NodeOu] = {client: "client"} if client else {}
    for member in network.members:
        _complete(member.organisation, {**_MEMBER_IDENTITIES, **extra})
    _complete(network.orderers[0].organisation, {ADMIN: "admin", **{orderer.name: "orderer" for orderer in network.orderers}})


def write_msp_folders(network: Network) -> None:
    """Write the MSP folders of all programs and administrators."""
    for member in network.members:
        write_msp(member.organisation, None, member.msp(ORGANISATION))
        for name in (ADMIN, PEER):
            write_msp(member.organisation, name, member.msp(name))
    orderers = network.orderers[0].organisation
    write_msp(orderers, None, network.orderer_msp(ORGANISATION))
    for orderer in network.orderers:
        write_msp(orderers, orderer.name, orderer.msp)


def write_msp(organisation: Organisation, name: str | None, folder: Path) -> None:
    """One MSP folder: an organisation's public one, or with `name` that of an identity which signs."""
    _copy(organisation.ca, folder / "cacerts" / "ca.pem")
    _copy(organisation.tls_ca, folder / "tlscacerts" / "tlsca.pem")
    (folder / "config.yaml").write_text(_node_ous(), encoding="utf-8")
    if name is not None:
        files = organisation.files(name)
        _copy(files.certificate, folder / "signcerts" / "cert.pem")
        _copy(files.private_key, folder / "keystore" / "key.pem")


def _complete(organisation: Organisation, identities: dict[str, NodeOu]) -> None:
    if not organisation.ca.exists():
        create_organisation(organisation.folder, organisation.mspid, identities={})
    for name, ou in identities.items():
        if not organisation.files(name).certificate.exists():
            issue_identity(organisation, name, ou)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Made with the mode of the source: a key must never be readable by others, not even for a moment.
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, source.stat().st_mode & 0o777), "wb") as file:
        file.write(source.read_bytes())


def _node_ous() -> str:
    identifiers = {
        f"{role.capitalize()}OUIdentifier": {"Certificate": "cacerts/ca.pem", "OrganizationalUnitIdentifier": name}
        for name, role in NODE_OUS
    }
    return json.dumps({"NodeOUs": {"Enable": True, **identifiers}}, indent=2) + "\n"
