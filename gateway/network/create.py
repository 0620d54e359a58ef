"""Make a network's folder: description, certificates, configuration files. Nothing is started."""

import socket
from collections.abc import Sequence
from pathlib import Path

from fabric.contract.release import RELEASE
from gateway.errors import InputError
from gateway.network.description import (
    CHAINCODE,
    CHANNEL,
    HOST,
    Description,
    MemberPlace,
    MemberPorts,
    Network,
    OrdererPorts,
    Orderers,
    save,
)
from gateway.network.msp_folders import ADMIN, create_certificates, write_msp_folders
from gateway.toml_file import render

ORDERER_MSPID = "OrdererMSP"


def create(
    folder: Path,
    mspids: Sequence[str],
    orderers: Orderers,
    *,
    pki: str = "pki",
    orderer_mspid: str = ORDERER_MSPID,
    client: str | None = None,
) -> Network:
    """Describe a network of the given organisations on ports that are free now, and make what certificates it lacks in `pki`.

    With `client`, every organisation gets an identity of that name, and configuration files for it and for its administrator.
    Raises InputError if `folder` holds anything: a network's keys and ledger are never overwritten.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty and holds no network; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}") from error
    ports = iter(free_ports(3 * len(mspids) + 2 * orderers.count))
    network = Network(
        folder.resolve(),
        Description(
            consensus=orderers.consensus,
            orderer_mspid=orderer_mspid,
            orderers=tuple(OrdererPorts(listen=next(ports), admin=next(ports)) for _ in range(orderers.count)),
            members=tuple(MemberPorts(mspid=mspid, peer=next(ports), peer_chaincode=next(ports), service=next(ports)) for mspid in mspids),
            pki=pki,
            contract=RELEASE.rules,
        ),
    )
    create_certificates(network, client)
    write_msp_folders(network)
    if client is not None:
        _write_client_configs(network, client)
    # Last: a folder with a description holds all that the description promises.
    save(network)
    return network


Sections = dict[str, dict[str, object]]


def _write_client_configs(network: Network, client: str) -> None:
    for member in network.members:
        for kind, name in (("clients", client), ("admins", ADMIN)):
            path = network.folder / kind / f"{member.mspid}.toml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(render(_client(member, name), folder=path.parent), encoding="utf-8")


def _client(member: MemberPlace, name: str) -> Sections:
    files = member.organisation.files(name)
    return {
        "ledger": {"endpoint": member.endpoint, "tls_ca": member.organisation.tls_ca, "channel": CHANNEL, "chaincode": CHAINCODE},
        "identity": {"mspid": member.mspid, "certificate": files.certificate, "private_key": files.private_key},
        "tls": {"certificate": files.tls_certificate, "private_key": files.tls_private_key},
    }


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
