"""What a network consists of, and where its files lie: written once into `network.json`, read by every verb after that.

The folder of a network:

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


class Orderers(Section):
    """How transactions are ordered, and by how many."""

    consensus: Consensus
    count: int


class OrdererPorts(Section):
    listen: Port
    admin: Port


class MemberPorts(Section):
    """The ports of an organisation: its peer's for clients, its peer's for chaincode, its chaincode service's."""

    mspid: MspId
    peer: Port
    peer_chaincode: Port
    service: Port


class Description(Section):
    """What `network.json` holds."""

    consensus: Consensus
    orderer_mspid: MspId
    orderers: Annotated[tuple[OrdererPorts, ...], Field(min_length=1)]
    members: Annotated[tuple[MemberPorts, ...], Field(min_length=1)]
    pki: str
    """The certificates' folder, relative to the network's."""


@dataclass(frozen=True)
class OrdererPlace:
    """An orderer: its name (also its identity's), its ports, and where its files lie."""

    name: str
    ports: OrdererPorts
    organisation: Organisation
    msp: Path

    @property
    def endpoint(self) -> str:
        return f"{HOST}:{self.ports.listen}"


@dataclass(frozen=True)
class MemberPlace:
    """An organisation with its peer and its chaincode service: names, addresses, and where the files lie."""

    mspid: str
    ports: MemberPorts
    organisation: Organisation
    folder: Path

    @property
    def peer(self) -> str:
        return f"peer-{self.mspid}"

    @property
    def service(self) -> str:
        return f"chaincode-{self.mspid}"

    @property
    def endpoint(self) -> str:
        """Where clients reach the peer."""
        return f"{HOST}:{self.ports.peer}"

    @property
    def service_endpoint(self) -> str:
        return f"{HOST}:{self.ports.service}"

    @property
    def service_config(self) -> Path:
        return self.folder / "chaincode" / f"{self.mspid}.toml"

    def msp(self, name: str) -> Path:
        return self.folder / "msp" / self.mspid / name


@dataclass(frozen=True)
class Network:
    """A network's description and its folder, from which every path follows."""

    folder: Path
    description: Description

    @cached_property
    def members(self) -> tuple[MemberPlace, ...]:
        return tuple(MemberPlace(ports.mspid, ports, self.organisation(ports.mspid), self.folder) for ports in self.description.members)

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
    (network.folder / DESCRIPTION).write_text(network.description.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Network:
    """Read the description of the network in `folder`; raise InputError if there is none."""
    path = folder / DESCRIPTION
    try:
        description = Description.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no network; make one with `consortium network up`") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error
    return Network(folder.resolve(), description)
