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
NODE_OUS_FILE = "config.yaml"
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
    for target, source in msp_files(organisation, name).items():
        _copy(source, folder / target)
    (folder / NODE_OUS_FILE).write_text(node_ous_config(), encoding="utf-8")


def msp_files(organisation: Organisation, name: str | None) -> dict[str, Path]:
    """Which of the organisation's files stands where in an MSP folder, beside `NODE_OUS_FILE`."""
    public = {"cacerts/ca.pem": organisation.ca, "tlscacerts/tlsca.pem": organisation.tls_ca}
    if name is None:
        return public
    files = organisation.files(name)
    return {**public, "signcerts/cert.pem": files.certificate, "keystore/key.pem": files.private_key}


def node_ous_config() -> str:
    """The file that turns units of certificates into roles: JSON, which is YAML.

    Bound to no one authority's certificate: a certificate that the organisation's next authority issues has its role as well.
    """
    identifiers = {f"{role.capitalize()}OUIdentifier": {"OrganizationalUnitIdentifier": name} for name, role in NODE_OUS}
    return json.dumps({"NodeOUs": {"Enable": True, **identifiers}}, indent=2) + "\n"


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
