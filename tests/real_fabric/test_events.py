"""Chaincode events: in order, each once, from any place, across a peer's restart."""

import asyncio
from itertools import pairwise

import pytest

from fabric.client.events import ChaincodeEvent
from fabric.client.gateway import Gateway

pytestmark = pytest.mark.fabric


async def _take(client: Gateway, count: int, **position: object) -> list[ChaincodeEvent]:
    events = client.chaincode_events(**position)
    try:
        return [await anext(events) for _ in range(count)]
    finally:
        await events.aclose()


async def test_events_arrive_in_order_and_go_on_after_any_of_them(probe: Gateway) -> None:
    start = await probe.height()
    sent = await asyncio.gather(*(probe.submit("announce", f"order-{i}".encode()) for i in range(12)))
    events = await _take(probe, 12, start_block=start)
    assert {(event.tx_id, event.block_number) for event in events} == {(one.tx_id, one.block_number) for one in sent}
    assert all(before.block_number <= after.block_number for before, after in pairwise(events))
    assert {event.name for event in events} == {"announced"}
    for position in (0, 5, 10):  # within a block and at its end
        after = events[position]
        assert await _take(probe, 11 - position, after=after.checkpoint) == events[position + 1 :]


async def test_without_a_place_only_what_comes_now(probe: Gateway) -> None:
    await probe.submit("announce", b"past")
    waiting = asyncio.create_task(_take(probe, 1))
    await asyncio.sleep(0)
    while not waiting.done():
        await probe.submit("announce", b"now")
    assert (await waiting)[0].payload == b"now"


async def test_nothing_is_lost_or_doubled_when_the_peer_restarts(network, connect) -> None:
    listener, caller = connect("GammaMSP"), connect("AlphaMSP")
    start = await caller.height()
    events = listener.chaincode_events(start_block=start)
    first = await caller.submit("announce", b"before")
    received = [await anext(events)]
    network.kill("peer-GammaMSP")
    others = [await caller.submit("announce", f"while down {i}".encode()) for i in range(3)]
    network.start("peer-GammaMSP")
    others.append(await caller.submit("announce", b"after"))
    received += [await anext(events) for _ in others]
    await events.aclose()
    assert [event.tx_id for event in received] == [first.tx_id, *(one.tx_id for one in others)]
