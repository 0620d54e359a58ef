"""A client of several peers: one is killed, and the client goes on at another with nothing lost, doubled or older."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fabric.client.gateway import Gateway
from gateway.network.description import CHANNEL
from tests.support.fabric_network import FabricNetwork

pytestmark = pytest.mark.fabric

FIRST, SECOND = "AlphaMSP", "BetaMSP"


@pytest.fixture
async def client(network: FabricNetwork) -> AsyncIterator[Gateway]:
    """Alpha's client; its fallback is Beta's peer."""
    tls_ca, identity = network.tls_ca(FIRST) + network.tls_ca(SECOND), network.identity(FIRST)
    endpoints = [network.endpoint(FIRST), network.endpoint(SECOND)]
    client = Gateway.follow(endpoints, lambda: tls_ca, CHANNEL, "probe", lambda: identity)
    yield client
    await client.close()


async def test_calls_events_and_blocks_go_on_at_another_peer(network: FabricNetwork, client: Gateway) -> None:
    start = await client.height()
    events, blocks = client.chaincode_events(start_block=start), client.blocks(start=start, stop=None)
    first = await client.submit("announce", b"failover-first")
    heard, read = [await anext(events)], [await anext(blocks)]
    counted = [asyncio.create_task(client.submit("increment", b"failover")) for _ in range(4)]
    await asyncio.wait(counted, return_when=asyncio.FIRST_COMPLETED)
    network.kill(f"peer-{FIRST}")
    try:
        counted += [asyncio.create_task(client.submit("increment", b"failover")) for _ in range(4)]
        results = [int((await call).result) for call in counted]
        assert sorted(results) == list(range(1, 9))
        assert await client.evaluate("get", b"failover") == b"8"
        second = await client.submit("announce", b"failover-second")
        heard.append(await anext(events))
        while read[-1].header.number < second.block_number:
            read.append(await anext(blocks))
    finally:
        network.start(f"peer-{FIRST}")
    await events.aclose()
    await blocks.aclose()
    assert [event.tx_id for event in heard] == [first.tx_id, second.tx_id]
    assert [block.header.number for block in read] == list(range(start, second.block_number + 1))


async def test_a_peer_that_comes_back_is_not_asked_before_it_has_caught_up(network: FabricNetwork, client: Gateway) -> None:
    await client.submit("put", b"failover-value", b"old")
    network.kill(f"peer-{FIRST}")
    try:
        await client.submit("put", b"failover-value", b"new")
    finally:
        network.start(f"peer-{FIRST}")
    network.kill(f"peer-{SECOND}")
    try:
        assert await client.evaluate("get", b"failover-value") == b"new"
    finally:
        network.start(f"peer-{SECOND}")
