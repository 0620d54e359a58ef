"""Start a real embedded ledger with development organisations, in this process or in one of its own.

async with dev_ledger(tmp_path) as ledger:             # three organisations; in this process
    Gateway.connect(ledger.endpoint, ledger.tls_ca, ledger.channel, ledger.chaincode, ledger.identity("AlphaMSP", "gateway"))
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fabric.contract.entry import invoke
from fabric.contract.release import RELEASE
from fabric.crypto import SigningIdentity
from fabric.devledger.config import LedgerConfig, LedgerSection, OrdererSection, OrganisationSection, load, write
from fabric.devledger.server import Contract, DevLedger, serve, start
from fabric.devpki import Organisation, create_organisation
from tests.support import key_value_contract

MSPIDS = ("AlphaMSP", "BetaMSP", "GammaMSP")
CLIENTS = ("gateway", "researcher", "auditor")
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Network:
    """What a client needs of a ledger: where it listens, whom it trusts, and the organisations' identities."""

    config_file: Path
    config: LedgerConfig
    organisations: dict[str, Organisation]

    @property
    def endpoint(self) -> str:
        return self.config.ledger.listen

    @property
    def tls_ca(self) -> bytes:
        return self.organisations[self.config.organisations[0].mspid].tls_ca.read_bytes()

    @property
    def channel(self) -> str:
        return self.config.ledger.channel

    @property
    def chaincode(self) -> str:
        return self.config.ledger.chaincode

    def identity(self, mspid: str, name: str = "gateway") -> SigningIdentity:
        return self.organisations[mspid].identity(name)


@dataclass(frozen=True)
class RunningNetwork(Network):
    """A network whose ledger runs in this process."""

    server: DevLedger


def prepare(folder: Path, *, mspids: Sequence[str] = MSPIDS, clients: Sequence[str] = CLIENTS) -> Network:
    """Make certificates and `ledger.toml` in `folder`; each organisation has `admin`, `peer` and the clients named."""
    organisations = {
        mspid: create_organisation(folder / mspid, mspid, identities={"admin": "admin", "peer": "peer", **dict.fromkeys(clients, "client")})
        for mspid in mspids
    }
    orderer = create_organisation(folder / "OrdererMSP", "OrdererMSP", identities={"orderer": "orderer"})
    first_peer, signer = organisations[mspids[0]].files("peer"), orderer.files("orderer")
    config = LedgerConfig(
        ledger=LedgerSection(
            listen=f"localhost:{free_port()}",
            data=folder / "ledger",
            tls_certificate=first_peer.tls_certificate,
            tls_private_key=first_peer.tls_private_key,
        ),
        orderer=OrdererSection(mspid="OrdererMSP", certificate=signer.certificate, private_key=signer.private_key, ca=orderer.ca),
        organisations=sections(organisations),
    )
    write(config, folder / "ledger.toml")
    return Network(folder / "ledger.toml", config, organisations)


def sections(organisations: Mapping[str, Organisation]) -> tuple[OrganisationSection, ...]:
    """The configuration's part about the organisations, by MSP id, each with its identity `peer`."""
    return tuple(
        OrganisationSection(
            mspid=mspid,
            ca=organisation.ca,
            tls_ca=organisation.tls_ca,
            peer_certificate=organisation.files("peer").certificate,
            peer_private_key=organisation.files("peer").private_key,
        )
        for mspid, organisation in organisations.items()
    )


@asynccontextmanager
async def running(network: Network, *, contract: Contract = invoke, rules: str = RELEASE.rules) -> AsyncIterator[RunningNetwork]:
    """Run the network's ledger in this process."""
    server = await start(network.config, contract=contract, rules=rules)
    try:
        yield RunningNetwork(network.config_file, network.config, network.organisations, server)
    finally:
        await server.stop()


@asynccontextmanager
async def dev_ledger(
    folder: Path, *, mspids: Sequence[str] = MSPIDS, clients: Sequence[str] = CLIENTS, contract: Contract = invoke
) -> AsyncIterator[RunningNetwork]:
    """`prepare` and `running` in one."""
    async with running(prepare(folder, mspids=mspids, clients=clients), contract=contract) as network:
        yield network


@asynccontextmanager
async def ledger_process(network: Network, *, key_value: bool = False) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the network's ledger as a process of its own, so that a test can kill it; yields once it answers.

    `key_value` runs tests/support/key_value_contract.py in the place of the consortium's contract.
    """
    arguments = ["-m", "tests.support.ledger", str(network.config_file), *(["key_value"] if key_value else [])]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=REPOSITORY)
    try:
        await _until_serving(network, process)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _until_serving(network: Network, process: asyncio.subprocess.Process) -> None:
    async with grpc.aio.secure_channel(network.endpoint, grpc.ssl_channel_credentials(network.tls_ca)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answered = asyncio.ensure_future(health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30))
        ended = asyncio.ensure_future(process.wait())
        await asyncio.wait({ended, answered}, return_when=asyncio.FIRST_COMPLETED)
        if process.returncode is not None:
            answered.cancel()
            raise RuntimeError(f"the ledger process ended with {process.returncode} before it served")
        ended.cancel()
        await answered


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    asyncio.run(serve(load(Path(sys.argv[1])), contract=key_value_contract.invoke if "key_value" in sys.argv else invoke))
