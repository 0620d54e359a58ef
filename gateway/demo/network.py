"""What `consortium init --demo` makes: certificates, the ledger's configuration and one configuration for each client."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fabric.devledger.config import LedgerConfig, LedgerSection, OrdererSection, OrganisationSection
from fabric.devledger.config import write as write_ledger_config
from fabric.devpki import NodeOu, Organisation, create_organisation
from gateway.demo.hospitals import AUDIT, ORDERER, RESEARCH, DemoHospital
from gateway.errors import InputError
from gateway.network.create import create as create_fabric
from gateway.network.description import DESCRIPTION, Orderers, load
from gateway.network.status import running
from gateway.toml_file import render

# A demo's hospitals are small: with a smaller delta than one in a thousand no budget would teach a model anything.
BUDGET_EPSILON = 20.0
BUDGET_DELTA = 1e-3
MAX_TASK_EPSILON = 10.0
HEARTBEAT_SECONDS = 2.0
# A real peer of every organisation executes each beat, all on one machine: with 2 s, slow hospitals would count as silent.
FABRIC_HEARTBEAT_SECONDS = 10.0
MINIMUM_PATIENTS = 20
FABRIC_ORDERERS = Orderers(consensus="raft", count=3)


@dataclass(frozen=True)
class DemoNetwork:
    """Where things lie in a demo's folder."""

    folder: Path
    hospitals: tuple[str, ...]

    @property
    def ledger_config(self) -> Path:
        return self.folder / "ledger.toml"

    @property
    def fabric(self) -> Path:
        """The folder of the real Fabric network, where the demo runs on one."""
        return self.folder / "fabric"

    @property
    def researcher(self) -> Path:
        return self.folder / "researcher.toml"

    @property
    def auditor(self) -> Path:
        return self.folder / "auditor.toml"

    @property
    def organisations(self) -> tuple[str, ...]:
        return (*self.hospitals, RESEARCH, AUDIT)

    def gateway(self, mspid: str) -> Path:
        """A hospital's configuration."""
        return self.folder / f"{mspid}.toml"

    def admin(self, mspid: str) -> Path:
        """The configuration with which an organisation's administrator registers it and its identities."""
        return self.folder / "admins" / f"{mspid}.toml"

    def pki(self, mspid: str) -> Organisation:
        return Organisation(mspid, self.folder / "pki" / mspid)


@dataclass(frozen=True)
class LedgerAddress:
    """Where an organisation reaches the ledger, and whose TLS certificate it finds there."""

    endpoint: str
    tls_ca: Path


def create_network(folder: Path, hospitals: Sequence[DemoHospital], *, on_fabric: bool = False) -> DemoNetwork:
    """Make every organisation's certificates and all configuration files below `folder`, on ports that are free now.

    The ledger is the embedded one, or a real Fabric network with a peer of each organisation.
    """
    network = DemoNetwork(folder, tuple(hospital.mspid for hospital in hospitals))
    _create_certificates(network)
    ledger = _describe_fabric(network) if on_fabric else _describe_embedded(network)
    gateways = free_endpoints(len(hospitals))
    for mspid in network.organisations:
        _write(network.admin(mspid), _client(network, ledger, mspid, "admin"))
    _write(network.researcher, _client(network, ledger, RESEARCH, "researcher"))
    _write(network.auditor, _client(network, ledger, AUDIT, "auditor"))
    for hospital, endpoint in zip(hospitals, gateways, strict=True):
        _write(network.gateway(hospital.mspid), _gateway(network, ledger, hospital, endpoint))
    return network


def refuse_running_fabric(folder: Path) -> None:
    """Raise InputError if the real network of an earlier demo in `folder` was started again and still runs."""
    fabric = DemoNetwork(folder, ()).fabric
    if (fabric / DESCRIPTION).exists() and running(load(fabric)):
        raise InputError(f"a Fabric network runs in {fabric}; stop it first with `consortium network down`")


def free_endpoints(count: int) -> list[str]:
    """Addresses on this machine whose ports nothing listens on now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _create_certificates(network: DemoNetwork) -> None:
    clients = {RESEARCH: "researcher", AUDIT: "auditor"}
    for mspid in network.organisations:
        identities: dict[str, NodeOu] = {"admin": "admin", "peer": "peer", clients.get(mspid, "gateway"): "client"}
        create_organisation(network.pki(mspid).folder, mspid, identities=identities)
    create_organisation(network.pki(ORDERER).folder, ORDERER, identities={"orderer": "orderer"})


Ledger = dict[str, LedgerAddress]
"""Each organisation's way to the ledger, by MSP id."""


def _describe_fabric(network: DemoNetwork) -> Ledger:
    made = create_fabric(network.fabric, network.organisations, FABRIC_ORDERERS, pki="../pki", orderer_mspid=ORDERER)
    return {member.mspid: LedgerAddress(member.endpoint, member.organisation.tls_ca) for member in made.members}


def _describe_embedded(network: DemoNetwork) -> Ledger:
    (endpoint,) = free_endpoints(1)
    _write_ledger_config(network, endpoint)
    return dict.fromkeys(network.organisations, LedgerAddress(endpoint, network.pki(ORDERER).tls_ca))


def _write_ledger_config(network: DemoNetwork, endpoint: str) -> None:
    orderer = network.pki(ORDERER)
    files = orderer.files("orderer")
    config = LedgerConfig(
        ledger=LedgerSection(
            listen=endpoint, data=network.folder / "ledger", tls_certificate=files.tls_certificate, tls_private_key=files.tls_private_key
        ),
        orderer=OrdererSection(mspid=ORDERER, certificate=files.certificate, private_key=files.private_key, ca=orderer.ca),
        organisations=tuple(_endorser(network.pki(mspid)) for mspid in network.organisations),
    )
    write_ledger_config(config, network.ledger_config)


def _endorser(organisation: Organisation) -> OrganisationSection:
    peer = organisation.files("peer")
    return OrganisationSection(
        mspid=organisation.mspid,
        ca=organisation.ca,
        tls_ca=organisation.tls_ca,
        peer_certificate=peer.certificate,
        peer_private_key=peer.private_key,
    )


Sections = dict[str, dict[str, object]]


def _client(network: DemoNetwork, ledger: Ledger, mspid: str, name: str) -> Sections:
    files = network.pki(mspid).files(name)
    return {
        **_ledger_and_identity(network, ledger, mspid, name),
        "tls": {"certificate": files.tls_certificate, "private_key": files.tls_private_key},
    }


def _gateway(network: DemoNetwork, ledger: Ledger, hospital: DemoHospital, endpoint: str) -> Sections:
    files = network.pki(hospital.mspid).files("gateway")
    sections: Sections = {
        "": {"trial": True},
        **_ledger_and_identity(network, ledger, hospital.mspid, "gateway"),
        "gateway": {
            "listen": endpoint,
            "advertise": endpoint,
            "tls_certificate": files.tls_certificate,
            "tls_private_key": files.tls_private_key,
            "data": hospital.data,
            "state": network.folder / "state" / hospital.mspid,
            "heartbeat_seconds": FABRIC_HEARTBEAT_SECONDS if network.fabric.exists() else HEARTBEAT_SECONDS,
        },
        "policy": {
            "approve": "automatic",
            "max_epsilon": MAX_TASK_EPSILON,
            "purposes": [],
            "minimum_patients": MINIMUM_PATIENTS,
            "release_evaluation": True,
        },
        "budget": {"dataset": "records", "epsilon": BUDGET_EPSILON, "delta": BUDGET_DELTA},
    }
    if hospital.misbehaves:
        sections["misbehave"] = {"kind": hospital.misbehaves}
    return sections


def _ledger_and_identity(network: DemoNetwork, ledger: Ledger, mspid: str, name: str) -> Sections:
    files, address = network.pki(mspid).files(name), ledger[mspid]
    return {
        "ledger": {"endpoint": address.endpoint, "tls_ca": address.tls_ca, "channel": "consortium", "chaincode": "consortium"},
        "identity": {"mspid": mspid, "certificate": files.certificate, "private_key": files.private_key},
    }


def _write(path: Path, sections: Sections) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(sections, folder=path.parent), encoding="utf-8")
