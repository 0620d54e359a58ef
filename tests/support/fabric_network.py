"""The product's own network (`gateway.network`) of three organisations and one orderer, for tests on real peers.

Needs FABRIC_HOME: the unpacked official release (bin/, config/, builders/ccaas/bin/), 2.5 or 3.1. Beside the consortium's contract
every organisation serves the probe contract, which touches every call a contract may make.

    with running(home, folder) as network:
        Gateway.connect(network.endpoint("AlphaMSP"), network.tls_ca("AlphaMSP"), CHANNEL, "probe", network.identity("AlphaMSP", "user1"))
"""

import json
import os
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fabric.crypto import SigningIdentity
from fabric.devpki import Organisation, issue_identity
from fabric.lifecycle import Definition
from gateway.network import launches
from gateway.network.create import create
from gateway.network.description import CHANNEL, HOST, MemberPlace, Network, Orderers
from gateway.network.home import FabricHome, open_home
from gateway.network.lifecycle import deploy, write_packages
from gateway.network.msp_folders import SERVICE
from gateway.network.programs import Launch, Programs
from gateway.network.status import down
from gateway.network.tools import Tools
from gateway.network.up import up
from tests.support.ledger import free_port

MSPIDS = ("AlphaMSP", "BetaMSP", "GammaMSP")
USERS = ("user1", "user2", "user3")
PROBE = "probe"
_PROBE_CONTRACT = "tests.support.probe_contract:invoke"
_NEXT_CONTRACT = "tests.support.next_contract:invoke"
_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """Where a ledger listens, whom it trusts, and what is called on it."""

    endpoint: str
    tls_ca: bytes
    chaincode: str = PROBE
    channel: str = CHANNEL


class FabricNetwork:
    """A running network; its programs are `orderer-1`, and for each MSP id `peer-…`, `chaincode-…` and `probe-…`."""

    def __init__(self, network: Network, home: FabricHome) -> None:
        self._network = network
        self._home = home
        self._programs = Programs(network.folder)
        self._probes = {mspid: f"{HOST}:{free_port()}" for mspid in MSPIDS}
        self._probe_ids: dict[str, str] = {}

    def endpoint(self, mspid: str) -> str:
        return self._network.member(mspid).endpoint

    def place(self, mspid: str, chaincode: str = PROBE) -> Place:
        return Place(self.endpoint(mspid), self.tls_ca(mspid), chaincode)

    def organisation(self, mspid: str) -> Organisation:
        return self._network.organisation(mspid)

    @property
    def orderers(self) -> Organisation:
        """The organisation that runs the ordering service."""
        return self._network.orderers[0].organisation

    def tls_ca(self, mspid: str) -> bytes:
        return self.organisation(mspid).tls_ca.read_bytes()

    def identity(self, mspid: str, user: str = "user1") -> SigningIdentity:
        return self.organisation(mspid).identity(user)

    def log(self, name: str) -> str:
        return self._programs.log(name).read_text(errors="replace")

    def kill(self, name: str) -> None:
        """End a program without warning (SIGKILL); `start` brings it back."""
        self._programs.signal(name, signal.SIGKILL)
        while self._programs.pid(name) is not None:
            time.sleep(0.01)

    def stop(self, name: str) -> None:
        """End a program as `consortium network down` does."""
        self._programs.stop([name])

    def start(self, name: str) -> None:
        """Start a program (again) and wait until it takes connections."""
        self._start(self._launches()[name])

    def start_mortal(self, mspid: str, function: str) -> Path:
        """Start the organisation's service, which does not run, as one killed at each message of `function`; returns its book of deaths."""
        member = self._network.member(mspid)
        deaths = member.folder / "chaincode" / f"{mspid}.deaths"
        environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
        command = [sys.executable, "-m", "tests.support.mortal_service", member.service_config, function, deaths]
        self._start(Launch(member.service, command, environment, member.service_endpoint))
        return deaths

    def _start(self, launch: Launch) -> None:
        self._programs.start(launch)
        self._programs.until_listening(launch)

    def add_probe(self) -> None:
        """Put the probe contract on the channel and start its services."""
        self._probe_ids = write_packages(self._network, PROBE, self._probes)
        deploy(self._network, Tools(self._home, self._network), Definition(PROBE, "1", 1), self._probe_ids)
        for mspid in MSPIDS:
            self.start(f"{PROBE}-{mspid}")

    def stop_probe(self) -> None:
        self._programs.stop([f"{PROBE}-{mspid}" for mspid in MSPIDS])

    def _launches(self) -> dict[str, Launch]:
        own = launches.everything(self._home, self._network)
        probes = [self._probe(member) for member in self._network.members]
        return {launch.name: launch for launch in (*own, *probes)}

    def _probe(self, member: MemberPlace) -> Launch:
        listen, package_id = self._probes[member.mspid], self._probe_ids[member.mspid]
        return _service(member, f"{PROBE}-{member.mspid}", _PROBE_CONTRACT, listen, package_id)


def next_service(member: MemberPlace) -> Launch:
    """The organisation's chaincode service with the next version of the contract, where its own configuration would have it."""
    configured = tomllib.loads(member.service_config.read_text())["chaincode"]
    return _service(member, member.service, _NEXT_CONTRACT, configured["listen"], configured["package_id"])


def _service(member: MemberPlace, name: str, contract: str, listen: str, package_id: str) -> Launch:
    files = member.organisation.files(SERVICE)
    service = {
        "contract": contract,
        "listen": listen,
        "package_id": package_id,
        "certificate": str(files.tls_certificate),
        "private_key": str(files.tls_private_key),
        "client_ca": str(member.organisation.tls_ca),
    }
    file = member.folder / "chaincode" / f"{name}.json"
    file.write_text(json.dumps([service]))
    command: list[str | Path] = [sys.executable, "-m", "tests.support.chaincode_process", file]
    return Launch(name, command, {**os.environ, "PYTHONPATH": str(_REPOSITORY)}, listen)


@contextmanager
def running(home: Path, folder: Path, *, orderers: int = 1) -> Iterator[FabricNetwork]:
    """Bring the network up in `folder`, which does not exist yet; every program of it has ended afterwards."""
    release = open_home(home)
    made = create(folder, MSPIDS, Orderers(consensus="raft", count=orderers))
    for mspid in MSPIDS:
        for user in USERS:
            issue_identity(made.organisation(mspid), user, "client")
    network = FabricNetwork(made, release)
    try:
        up(made, release, print)
        network.add_probe()
        yield network
    finally:
        network.stop_probe()
        down(made)
