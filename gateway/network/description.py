"""What a network consists of, and where its files lie: written once into `network.json`, read by every verb after that.

The same description serves a network of processes on this machine, where every host is 127.0.0.1, and one of real machines, for which
`gateway.network.render` writes the manifests. The folder of a network on this machine:

    DIR/network.json                description: organisations, orderers, ports
    DIR/pki/<mspid>/                certificates and keys in the layout of fabric.devpki
    DIR/msp/<mspid>/<name>/         the same in Fabric's MSP layout
    DIR/config/                     configuration files of Fabric's programs
    DIR/chaincode/<mspid>.toml      configuration of each organisation's chaincode service
    DIR/clients/, DIR/admins/       configuration files for the verbs of `consortium`, by MSP id
    DIR/data/ DIR/logs/ DIR/run/    of the running processes, by their names
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from fabric.devpki import Organisation
from gateway.config import MspId
from gateway.errors import InputError
from gateway.toml_file import Section, first_problem

CHANNEL = "consortium"
CHAINCODE = "consortium"
HOST = "127.0.0.1"
DESCRIPTION = "network.json"
RAFT_SIZES = (1, 3, 5)
BFT_SIZES = (4, 7)
Consensus = Literal["raft", "bft"]
Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,252}$")]


class Orderers(Section):
    """How transactions are ordered, and by how many."""

    consensus: Consensus
    count: int


class OrdererPorts(Section):
    host: Host = HOST
    listen: Port
    admin: Port


class MemberPorts(Section):
    """The ports of an organisation: its peer's for clients, its peer's for chaincode, its chaincode service's; `host` is the peer's."""

    mspid: MspId
    host: Host = HOST
    peer: Port
    peer_chaincode: Port
    service: Port


class Upgrade(Section):
    """The next definition of the contract, and the ports of its services, one an organisation."""

    contract: str
    services: tuple[Port, ...]


class Description(Section):
    """What `network.json` holds."""

    consensus: Consensus
    orderer_mspid: MspId
    orderers: Annotated[tuple[OrdererPorts, ...], Field(min_length=1)]
    members: Annotated[tuple[MemberPorts, ...], Field(min_length=1)]
    pki: str
    """The certificates' folder, relative to the network's."""
    contract: str = "1.0"
    """The version of the contract on the channel, as its definition names it; networks made before contract 1.1 do not say."""
    sequence: Annotated[int, Field(ge=1)] = 1
    """Which definition of the contract that is, counted from 1."""
    upgrade: Upgrade | None = None
    """The upgrade that is under way: both versions' services run."""


@dataclass(frozen=True)
class OrdererPlace:
    """An orderer: its name (also its identity's), its ports, and where its files lie."""

    name: str
    ports: OrdererPorts
    organisation: Organisation
    msp: Path

    @property
    def endpoint(self) -> str:
        return f"{self.ports.host}:{self.ports.listen}"


@dataclass(frozen=True)
class MemberPlace:
    """An organisation with its peer and its chaincode service: names, addresses, and where the files lie."""

    mspid: str
    ports: MemberPorts
    organisation: Organisation
    folder: Path
    sequence: int = 1
    """Of the definition of the contract that its chaincode service serves."""

    @property
    def peer(self) -> str:
        return f"peer-{self.mspid}"

    @property
    def service(self) -> str:
        return f"chaincode-{self.mspid}{self._numbered}"

    @property
    def endpoint(self) -> str:
        """Where clients reach the peer."""
        return f"{self.ports.host}:{self.ports.peer}"

    @property
    def service_endpoint(self) -> str:
        return f"{HOST}:{self.ports.service}"

    @property
    def service_config(self) -> Path:
        return self.folder / "chaincode" / f"{self.mspid}{self._numbered}.toml"

    @property
    def _numbered(self) -> str:
        return "" if self.sequence == 1 else f"-{self.sequence}"

    def msp(self, name: str) -> Path:
        return self.folder / "msp" / self.mspid / name


@dataclass(frozen=True)
class Network:
    """A network's description and its folder, from which every path follows."""

    folder: Path
    description: Description

    @cached_property
    def members(self) -> tuple[MemberPlace, ...]:
        return self._members(self.description.members, self.description.sequence)

    @cached_property
    def upcoming(self) -> tuple[MemberPlace, ...]:
        """The organisations with the chaincode services of the next definition, while an upgrade is under way; else nobody."""
        upgrade = self.description.upgrade
        if upgrade is None:
            return ()
        pairs = zip(self.description.members, upgrade.services, strict=True)
        return self._members([ports.model_copy(update={"service": port}) for ports, port in pairs], self.description.sequence + 1)

    def _members(self, members: Sequence[MemberPorts], sequence: int) -> tuple[MemberPlace, ...]:
        return tuple(MemberPlace(ports.mspid, ports, self.organisation(ports.mspid), self.folder, sequence) for ports in members)

    @cached_property
    def orderers(self) -> tuple[OrdererPlace, ...]:
        mspid = self.description.orderer_mspid
        return tuple(
            OrdererPlace(f"orderer-{number}", ports, self.organisation(mspid), self.orderer_msp(f"orderer-{number}"))
            for number, ports in enumerate(self.description.orderers, 1)
        )

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def genesis(self) -> Path:
        return self.folder / "genesis.block"

    @property
    def made(self) -> Path:
        """Exists once channel and chaincode are set up: the next start only starts processes."""
        return self.folder / "run" / "made"

    @property
    def elsewhere(self) -> list[str]:
        """Hosts of the description that are not this machine's loopback."""
        hosts = [*(orderer.host for orderer in self.description.orderers), *(member.host for member in self.description.members)]
        return [host for host in hosts if host != HOST]

    def organisation(self, mspid: str) -> Organisation:
        return Organisation(mspid, Path(os.path.normpath(self.folder / self.description.pki / mspid)))

    def orderer_msp(self, name: str) -> Path:
        return self.folder / "msp" / self.description.orderer_mspid / name

    def member(self, mspid: str) -> MemberPlace:
        return next(member for member in self.members if member.mspid == mspid)


def parse_orderers(text: str) -> Orderers:
    """Read `raft:N` or `bft:N`; raise InputError saying which there are."""
    found = re.fullmatch(r"(raft|bft):([1-9][0-9]?)", text)
    sizes = {"raft": RAFT_SIZES, "bft": BFT_SIZES}.get(found[1], ()) if found else ()
    if found is None or int(found[2]) not in sizes:
        known = ", ".join(f"{kind}:{size}" for kind, several in (("raft", RAFT_SIZES), ("bft", BFT_SIZES)) for size in several)
        raise InputError(f"--orderers {text}: write one of {known}")
    return Orderers.model_validate({"consensus": found[1], "count": int(found[2])})


def save(network: Network) -> None:
    path = network.folder / DESCRIPTION
    partial = path.with_suffix(".new")
    partial.write_text(network.description.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(path)  # as a whole: an upgrade changes it while others read it


def load(folder: Path) -> Network:
    """Read the description of the network in `folder`; raise InputError if there is none."""
    if not (folder / DESCRIPTION).exists():
        raise InputError(f"{folder} holds no network; make one with `consortium network up`")
    return Network(folder.resolve(), read_description(folder / DESCRIPTION))


def read_description(path: Path) -> Description:
    """Read a description; raise InputError naming the file and what is wrong with it."""
    try:
        return Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error
