"""One real network for all tests here; they write under keys of their own."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from gateway.network.description import CHANNEL
from tests.support.fabric_network import FabricNetwork, running

Connect = Callable[..., Gateway]


@pytest.fixture(scope="session")
def fabric_home() -> Path:
    home = os.environ.get("FABRIC_HOME")
    if not home:
        pytest.skip("FABRIC_HOME is not set: it names the folder of the unpacked Fabric release (bin, config, builders)")
    return Path(home)


@pytest.fixture(scope="session")
def network(fabric_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricNetwork]:
    with running(fabric_home, tmp_path_factory.mktemp("network") / "fabric") as network:
        yield network


@pytest.fixture
async def connect(network: FabricNetwork) -> AsyncIterator[Connect]:
    """Clients of the network, closed with the test: connect("AlphaMSP"), connect("BetaMSP", "admin", chaincode="consortium")."""
    async with AsyncExitStack() as opened:

        def client(mspid: str = "AlphaMSP", user: str = "user1", *, chaincode: str = "probe", patience: Patience | None = None) -> Gateway:
            gateway = Gateway.connect(
                network.endpoint(mspid), network.tls_ca(mspid), CHANNEL, chaincode, network.identity(mspid, user), patience=patience
            )
            opened.push_async_callback(gateway.close)
            return gateway

        yield client


@pytest.fixture
async def probe(connect: Connect) -> Gateway:
    return connect()
