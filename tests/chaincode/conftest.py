"""A chaincode service with the probe contract on a free loopback port, without TLS."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fabric.chaincode.execution import Contract
from fabric.chaincode.server import ChaincodeService, ServiceSettings
from tests.support import probe_contract
from tests.support.fake_peer import FakePeer, fake_peer

PACKAGE_ID = "consortium:0123abcd"

Start = Callable[..., Awaitable[ChaincodeService]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts services that end with the test; keyword arguments go into ServiceSettings."""
    async with AsyncExitStack() as opened:

        async def service(
            contract: Contract = probe_contract.invoke, *, functions: Collection[str] = (), **settings: Any
        ) -> ChaincodeService:
            given = {"listen": "localhost:0", "package_id": PACKAGE_ID, "tls": None, "plain_on_loopback": True, **settings}
            running = ChaincodeService(contract, ServiceSettings(**given), functions)
            await running.start()
            opened.push_async_callback(running.stop, 0)
            return running

        yield service


@pytest.fixture
async def service(start: Start) -> ChaincodeService:
    return await start()


@pytest.fixture
async def peer(service: ChaincodeService) -> AsyncIterator[FakePeer]:
    async with fake_peer(service.port) as peer:
        yield peer
