"""One real network for all tests here; they write under keys of their own."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from tests.support.fabric_network import FabricNetwork

CONTRACTS = {"consortium": "fabric.contract.entry:invoke", "probe": "tests.support.probe_contract:invoke"}

Connect = Callable[..., Gateway]


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricNetwork]:
    home = os.environ.get("FABRIC_HOME")
    if not home:
        pytest.skip("FABRIC_HOME is not set: it names the folder of the unpacked Fabric release (bin, config, builders)")
    with FabricNetwork(Path(home), tmp_path_factory.mktemp("network") / "fabric", CONTRACTS) as network:
        yield network


@pytest.fixture
async def connect(network: FabricNetwork) -> AsyncIterator[Connect]:
    """Clients of the network, closed with the test: connect("AlphaMSP"), connect("BetaMSP", "Admin", chaincode="consortium")."""
    async with AsyncExitStack() as opened:

        def client(mspid: str = "AlphaMSP", user: str = "User1", *, chaincode: str = "probe", patience: Patience | None = None) -> Gateway:
            gateway = Gateway.connect(
                network.endpoint(mspid), network.tls_ca(mspid), network.channel, chaincode, network.identity(mspid, user), patience=patience
            )
            opened.push_async_callback(gateway.close)
            return gateway

        yield client


@pytest.fixture
async def probe(connect: Connect) -> Gateway:
    return connect()
