"""A network of real machines: the channel's profile, and for every organisation the manifests of what it runs.

What is written under OUT:

    channel/configtx.yaml         what the first block is made of, with the founders' public MSP folders beside it
    <mspid>/node-ous.yaml         which unit of a certificate is which role
    <mspid>/compose.yaml          or kubernetes.yaml: the organisation's peer and its chaincode service
    <mspid>/orderer-N.compose.yaml, orderer-N.kubernetes.yaml   one orderer, of the ordering organisation

No key and no certificate is written: the manifests name the organisation's own files (compose) or Secrets made of them (Kubernetes).
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from gateway.errors import InputError
from gateway.network.channel_profile import configtx
from gateway.network.compose import compose
from gateway.network.containers import NODE_OUS_SOURCE, Container, orderer_container, peer_container, service_container
from gateway.network.description import Description, Network
from gateway.network.kubernetes import manifests
from gateway.network.msp_folders import NODE_OUS_FILE, ORGANISATION, node_ous_config

Target = Literal["compose", "kubernetes"]
FABRIC_VERSION = "3.1.5"
"""Of the images: a release on which the tests ran the same programs with the same settings."""
_HEAD = "# Made by `consortium network render` of the network's description; change that one and render again.\n"


def render(description: Description, target: Target, out: Path, *, fabric_version: str = FABRIC_VERSION) -> list[Path]:
    """Write the files of all organisations and return their paths; files of other names in `out` stay as they are.

    Raises InputError if the folder cannot be written or this release cannot order that way.
    """
    if not re.fullmatch(r"(2\.5|3\.1)\.\d+", fabric_version):
        raise InputError(f"--fabric-version {fabric_version}: write a release of 2.5 or 3.1 in full, such as {FABRIC_VERSION}")
    if description.consensus == "bft" and fabric_version.startswith("2."):
        raise InputError(f"--fabric-version {fabric_version}: BFT ordering came with 3.0; give a 3.1 release, or describe raft orderers")
    for host in (*(orderer.host for orderer in description.orderers), *(member.host for member in description.members)):
        if not re.search(r"[a-z]", host):
            raise InputError(f"{host} is an address; describe every host by the name that its TLS certificate is issued for")
    written = []
    for name, text in _files(Network(Path(), description), target, fabric_version):
        path = out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        written.append(path)
    return written


def _files(network: Network, target: Target, fabric_version: str) -> Iterator[tuple[Path, str]]:
    orderers, channel = network.description.orderer_mspid, Path("channel")
    # Relative paths, which configtxgen reads from where the file lies.
    yield channel / "configtx.yaml", _yaml([configtx(network)])
    for folder in (network.orderer_msp(ORGANISATION), *(member.msp(ORGANISATION) for member in network.members)):
        yield channel / folder / NODE_OUS_FILE, node_ous_config()
    for mspid in (orderers, *(member.mspid for member in network.members)):
        yield Path(mspid, NODE_OUS_SOURCE), node_ous_config()
    for orderer in network.orderers:
        container = orderer_container(orderer, fabric_version)
        yield Path(orderers, f"{orderer.name}.{target}.yaml"), _manifest(target, f"{_label(orderers)}-{orderer.name}", [container])
    for member in network.members:
        containers = [peer_container(member, fabric_version), service_container(member)]
        yield Path(member.mspid, f"{target}.yaml"), _manifest(target, _label(member.mspid), containers)


def _manifest(target: Target, name: str, containers: Sequence[Container]) -> str:
    return _yaml([compose(name, containers)] if target == "compose" else manifests(name, containers))


def _label(mspid: str) -> str:
    """An MSP id as a name that Compose and Kubernetes allow."""
    return mspid.lower().replace(".", "-")


def _yaml(documents: Sequence[dict[str, Any]]) -> str:
    # Through JSON, so that objects which stand twice in a document are written twice rather than as references.
    plain = [json.loads(json.dumps(document)) for document in documents]
    return _HEAD + yaml.safe_dump_all(plain, sort_keys=False, width=140, default_flow_style=False)
