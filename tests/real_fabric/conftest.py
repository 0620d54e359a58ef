"""One real network for all tests here; they write under keys of their own."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fabric.client.gateway import Gateway
from gateway.cli.main import run
from gateway.errors import ExitCode
from gateway.network.description import CHANNEL, DESCRIPTION, load
from gateway.network.status import down
from tests.support.fabric_network import FabricNetwork, running

Connect = Callable[..., Gateway]
Type = Callable[..., Any]


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
    """Clients of the network, closed with the test: connect("AlphaMSP"), connect("BetaMSP", "admin", chaincode="consortium").

    Other keywords are Gateway.connect's; an `endpoint` is a proxy's before the peer.
    """
    async with AsyncExitStack() as opened:

        def client(mspid: str = "AlphaMSP", user: str = "user1", *, chaincode: str = "probe", **more: Any) -> Gateway:
            endpoint = more.pop("endpoint", network.endpoint(mspid))
            gateway = Gateway.connect(endpoint, network.tls_ca(mspid), CHANNEL, chaincode, network.identity(mspid, user), **more)
            opened.push_async_callback(gateway.close)
            return gateway

        yield client


@pytest.fixture
async def probe(connect: Connect) -> Gateway:
    return connect()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Type:
    """Type a verb; gives what a program gets."""

    def typed(*words: str | Path) -> Any:
        ended = run([*map(str, words), "--format", "json"])
        answer = json.loads(capsys.readouterr().out)
        assert ended is ExitCode.OK, answer
        return answer["data"]

    return typed


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a network is made; whatever runs of it is ended."""
    folder = tmp_path / "net"
    yield folder
    if (folder / DESCRIPTION).exists():
        down(load(folder))
