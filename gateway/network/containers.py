"""The programs of one organisation as containers: the images, and what the local network gives its processes too."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fabric.devpki import Organisation
from gateway.network.description import MemberPlace, OrdererPlace
from gateway.network.environment import orderer_environment, peer_environment
from gateway.network.launches import PEER_ARGUMENTS, SERVICE_ARGUMENTS
from gateway.network.msp_folders import NODE_OUS_FILE, PEER, SERVICE, msp_files
from gateway.network.placement import CONTAINER_FILES, IN_A_CONTAINER, OPERATIONS_PORT

NODE_OUS_SOURCE = "node-ous.yaml"
SERVICE_CONFIG = "chaincode.toml"
OWN_USER = 10001
"""Numeric user of this product's own image; deploy/Dockerfile makes it."""


@dataclass(frozen=True)
class Container:
    """One program. `files` maps paths in the container to files of the organisation's folder, which are mounted read-only."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[str, str]
    port: int
    """Where it serves; `reached_as` is the host name by which other machines reach it, "" if none does."""
    reached_as: str
    admin_port: int | None
    data: str
    """Folder that must survive a restart; "" if there is none."""
    health_port: int | None
    """Where /healthz is answered over plain HTTP; None for a program of which it is enough that its port takes connections."""


def peer_container(member: MemberPlace, fabric_version: str) -> Container:
    return Container(
        name=PEER,
        image=f"hyperledger/fabric-peer:{fabric_version}",
        command=("peer", *PEER_ARGUMENTS),
        environment=peer_environment(member, IN_A_CONTAINER),
        files=_fabric_files(member.mspid, PEER),
        port=member.ports.peer,
        reached_as=member.ports.host,
        admin_port=None,
        data=IN_A_CONTAINER.data,
        health_port=OPERATIONS_PORT,
    )


def service_container(member: MemberPlace) -> Container:
    """The chaincode service, which nobody but the organisation's own peer reaches, under the name `chaincode`."""
    config = f"{CONTAINER_FILES}/{SERVICE_CONFIG}"
    files = Organisation(member.mspid, Path()).files(SERVICE)
    mounted = [Path(SERVICE_CONFIG), files.tls_certificate, files.tls_private_key, Organisation(member.mspid, Path()).tls_ca]
    return Container(
        name=SERVICE,
        image=f"consortium-gateway:{version('consortium-gateway')}",
        command=("consortium", *SERVICE_ARGUMENTS, config),
        environment={},
        # Under the same relative paths as in the folder, since the configuration file names them so.
        files={f"{CONTAINER_FILES}/{path}": str(path) for path in mounted},
        port=member.ports.service,
        reached_as="",
        admin_port=None,
        data="",
        health_port=None,
    )


def orderer_container(orderer: OrdererPlace, fabric_version: str) -> Container:
    return Container(
        name=orderer.name,
        image=f"hyperledger/fabric-orderer:{fabric_version}",
        command=("orderer",),
        environment=orderer_environment(orderer, IN_A_CONTAINER),
        files=_fabric_files(orderer.organisation.mspid, orderer.name),
        port=orderer.ports.listen,
        reached_as=orderer.ports.host,
        admin_port=orderer.ports.admin,
        data=IN_A_CONTAINER.data,
        health_port=OPERATIONS_PORT,
    )


def _fabric_files(mspid: str, identity: str) -> dict[str, str]:
    organisation = Organisation(mspid, Path())
    files = organisation.files(identity)
    msp = {f"{IN_A_CONTAINER.msp}/{target}": source for target, source in msp_files(organisation, identity).items()}
    tls = {
        IN_A_CONTAINER.tls_certificate: files.tls_certificate,
        IN_A_CONTAINER.tls_private_key: files.tls_private_key,
        IN_A_CONTAINER.tls_ca: organisation.tls_ca,
    }
    mounted = {target: str(source) for target, source in {**msp, **tls}.items()}
    return {**mounted, f"{IN_A_CONTAINER.msp}/{NODE_OUS_FILE}": NODE_OUS_SOURCE}
