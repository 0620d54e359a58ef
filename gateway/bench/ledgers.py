"""The ledgers that are compared: the embedded one and real Fabric networks, each with the same registered hospitals, for a while."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from fabric.client.gateway import Gateway
from fabric.crypto import SigningIdentity
from fabric.devledger.config import LedgerConfig, LedgerSection, OrdererSection, OrganisationSection
from fabric.devledger.config import write as write_ledger_config
from fabric.devpki import Organisation, create_organisation
from fabric.ledger import Ledger
from fabric.lifecycle import Definition
from gateway.channel.organisations import read_organisations
from gateway.demo.network import free_endpoints
from gateway.demo.processes import Processes, until_serving
from gateway.network.create import ORDERER_MSPID, create
from gateway.network.description import CHAINCODE, CHANNEL, Network, Orderers
from gateway.network.home import FabricHome
from gateway.network.lifecycle import deploy, write_packages
from gateway.network.package import write_service_config
from gateway.network.programs import Launch, Programs
from gateway.network.status import down, running
from gateway.network.tools import Tools
from gateway.network.up import up

ONE_KEY = "one-key"
LARGEST_FABRIC = 16
"""Hospitals with a peer and a chaincode service each that one machine is asked to carry."""
_CLIENT, _ADMIN = "client", "admin"
_ORDERERS = Orderers(consensus="raft", count=3)


@dataclass(frozen=True)
class Registered:
    """A ledger that serves: its hospitals' gateways and one researcher; `one_key` are clients of the baseline, where it runs.

    `reader` is the researcher's client, for whoever wants the blocks themselves.
    """

    name: str
    hospitals: Mapping[str, Ledger]
    researcher: Ledger
    reader: Gateway
    one_key: Sequence[Gateway] = ()


@dataclass(frozen=True)
class _Place:
    """Where one organisation's clients find the ledger."""

    organisation: Organisation
    endpoint: str
    tls_ca: bytes


@asynccontextmanager
async def embedded(folder: Path, name: str, hospitals: int) -> AsyncIterator[Registered]:
    """The embedded ledger in a process of its own, with the given number of hospitals."""
    organisations = [
        create_organisation(folder / "pki" / mspid, mspid, identities={_ADMIN: "admin", "peer": "peer", _CLIENT: "client"})
        for mspid in _mspids(hospitals)
    ]
    orderer = create_organisation(folder / "pki" / ORDERER_MSPID, ORDERER_MSPID, identities={"orderer": "orderer"})
    (endpoint,) = free_endpoints(1)
    config = folder / "ledger.toml"
    write_ledger_config(_ledger_config(folder, endpoint, orderer, organisations), config)
    tls_ca = orderer.tls_ca.read_bytes()
    async with Processes(folder / "logs") as processes:
        ledger = await processes.start("ledger", "the embedded ledger", "ledger", "dev", "--config", config)
        await until_serving(ledger, grpc.aio.secure_channel(endpoint, grpc.ssl_channel_credentials(tls_ca)))
        async with _registered(name, [_Place(each, endpoint, tls_ca) for each in organisations]) as registered:
            yield registered


@asynccontextmanager
async def fabric(folder: Path, name: str, hospitals: int, home: FabricHome, *, baseline: bool) -> AsyncIterator[Registered]:
    """A Fabric network with a peer of each hospital and three Raft orderers; with `baseline`, the contract of one key beside ours."""
    network = create(folder, _mspids(hospitals), _ORDERERS, client=_CLIENT)
    services: list[str] = []
    async with Processes(folder / "logs") as processes:
        try:
            await asyncio.to_thread(up, network, home, lambda _: None)
            if baseline:
                services = await asyncio.to_thread(_add_one_key, network, home)
            for group in _process_ids(network, services):
                processes.adopt(group)
            places = [_Place(member.organisation, member.endpoint, member.organisation.tls_ca.read_bytes()) for member in network.members]
            async with _registered(name, places, baseline=baseline) as registered:
                yield registered
        finally:
            Programs(folder).stop(services)
            down(network)


def _process_ids(network: Network, services: Sequence[str]) -> list[int]:
    own = [Programs(network.folder).pid(name) for name in services]
    return [*running(network).values(), *(pid for pid in own if pid is not None)]


def _mspids(hospitals: int) -> list[str]:
    return [f"Hospital{number:02d}MSP" for number in range(1, hospitals + 1)]


def _ledger_config(folder: Path, endpoint: str, orderer: Organisation, organisations: Sequence[Organisation]) -> LedgerConfig:
    files = orderer.files("orderer")
    section = LedgerSection(
        listen=endpoint, data=folder / "ledger", tls_certificate=files.tls_certificate, tls_private_key=files.tls_private_key
    )
    return LedgerConfig(
        ledger=section,
        orderer=OrdererSection(mspid=orderer.mspid, certificate=files.certificate, private_key=files.private_key, ca=orderer.ca),
        organisations=tuple(
            OrganisationSection(
                mspid=each.mspid,
                ca=each.ca,
                tls_ca=each.tls_ca,
                peer_certificate=each.files("peer").certificate,
                peer_private_key=each.files("peer").private_key,
            )
            for each in organisations
        ),
    )


@asynccontextmanager
async def _registered(name: str, places: Sequence[_Place], *, baseline: bool = False) -> AsyncIterator[Registered]:
    """Register every organisation as a hospital with a gateway; the first one's administrator is the researcher too."""
    async with AsyncExitStack() as opened:

        def client(place: _Place, identity: str, chaincode: str = CHAINCODE) -> Gateway:
            made = Gateway.connect(place.endpoint, place.tls_ca, CHANNEL, chaincode, place.organisation.identity(identity))
            opened.push_async_callback(made.close)
            if chaincode == CHAINCODE:
                made.name_endorsers(read_organisations)
            return made

        clients = [client(place, _ADMIN) for place in places]
        admins = [Ledger(each) for each in clients]
        for admin, place in zip(admins, places, strict=True):
            await _register(admin, place)
        await admins[0].register_identity(role="researcher", fingerprint=places[0].organisation.identity(_ADMIN).fingerprint, endpoint="")
        yield Registered(
            name,
            {place.organisation.mspid: Ledger(client(place, _CLIENT)) for place in places},
            admins[0],
            clients[0],
            [client(place, _CLIENT, ONE_KEY) for place in places] if baseline else (),
        )


async def _register(admin: Ledger, place: _Place) -> None:
    gateway: SigningIdentity = place.organisation.identity(_CLIENT)
    await admin.register_organisation(name=place.organisation.mspid, kind="hospital")
    # No gateway listens there: the contract elects aggregators only among those that say where they accept connections.
    await admin.register_identity(role="gateway", fingerprint=gateway.fingerprint, endpoint="gateway.invalid:443")


def _add_one_key(network: Network, home: FabricHome) -> list[str]:
    """Put the baseline's contract on the channel and start its services; returns the programs' names."""
    addresses = dict(zip((member.mspid for member in network.members), free_endpoints(len(network.members)), strict=True))
    ids = write_packages(network, ONE_KEY, addresses)
    deploy(network, Tools(home, network), Definition(ONE_KEY, "1.0", 1), ids)
    programs = Programs(network.folder)
    launches = [_one_key_service(network, mspid, address, ids[mspid]) for mspid, address in addresses.items()]
    for launch in launches:
        programs.start(launch)
    for launch in launches:
        programs.until_listening(launch)
    return [launch.name for launch in launches]


def _one_key_service(network: Network, mspid: str, address: str, package_id: str) -> Launch:
    config = network.folder / "chaincode" / f"{ONE_KEY}-{mspid}.toml"
    write_service_config(network.organisation(mspid), address, package_id, config)
    return Launch(f"{ONE_KEY}-{mspid}", [sys.executable, "-m", "gateway.bench.one_key", config], os.environ, address)
