"""A client, through a proxy that can fail, of an embedded ledger that runs the probe contract."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from fabric.crypto import SigningIdentity
from tests.support import probe_contract
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.ledger import RunningNetwork, dev_ledger

Connect = Callable[..., Gateway]

# Short pauses, because the faults of these tests are over at once; long limits, because machines may be slow.
QUICK = Patience(pause_s=0.001, longest_pause_s=0.01, status_s=2.0)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[RunningNetwork]:
    async with dev_ledger(tmp_path, contract=probe_contract.invoke) as network:
        yield network


@pytest.fixture
async def proxy(ledger: RunningNetwork) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(ledger) as proxy:
        yield proxy


@pytest.fixture
async def connect(ledger: RunningNetwork, proxy: FaultyProxy) -> AsyncIterator[Connect]:
    """Clients through the proxy, closed with the test."""
    async with AsyncExitStack() as opened:

        def client(identity: SigningIdentity | None = None, *, patience: Patience = QUICK) -> Gateway:
            signer = identity or ledger.identity("AlphaMSP")
            gateway = Gateway.connect(proxy.endpoint, ledger.tls_ca, ledger.channel, ledger.chaincode, signer, patience=patience)
            opened.push_async_callback(gateway.close)
            return gateway

        yield client


@pytest.fixture
def client(connect: Connect) -> Gateway:
    return connect()
