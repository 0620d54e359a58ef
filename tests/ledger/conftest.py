"""A running ledger with the key-value contract, shared by the tests of a module, and a raw client of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support import key_value_contract
from tests.support.ledger import RunningNetwork, dev_ledger
from tests.support.raw_client import RawClient, raw_client


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningNetwork]:
    async with dev_ledger(tmp_path_factory.mktemp("network"), contract=key_value_contract.invoke) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(network: RunningNetwork) -> AsyncIterator[RawClient]:
    async with raw_client(network, network.identity("AlphaMSP")) as raw:
        yield raw
