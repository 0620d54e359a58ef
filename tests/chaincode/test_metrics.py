"""What the service counts, and that no caller can make it count without end or show what it was called with."""

import asyncio

import pytest
from prometheus_client import generate_latest

from fabric.chaincode.messages import Message
from tests.support.fake_peer import CHANNEL, fake_peer
from tests.support.probe_contract import SECRET

FUNCTIONS = ("get", "put", "crash", "refuse")


def count(service, name: str, **labels: str) -> float:
    return service.metrics.registry.get_sample_value(f"consortium_chaincode_{name}", labels) or 0.0


@pytest.fixture
async def service(start):
    return await start(functions=FUNCTIONS)


@pytest.mark.parametrize(
    ("call", "function", "outcome"),
    [
        (("put", b"k", b"v"), "put", "completed"),
        (("refuse",), "other", "refused"),
        (("crash",), "crash", "crashed"),
        (("get", b"k"), "get", "peer_failed"),
        ((SECRET,), "other", "refused"),
    ],
)
async def test_calls_are_counted_by_function_and_outcome_and_timed(start, call, function, outcome) -> None:
    service = await start(functions=("get", "put", "crash"))
    async with fake_peer(service.port) as peer:
        peer.broken = {Message.GET_STATE}
        await peer.invoke("tx", *call)
    assert count(service, "calls_total", function=function, outcome=outcome) == 1
    assert count(service, "call_seconds_count", function=function) == 1


async def test_what_cannot_be_read_is_counted_too(service, peer) -> None:
    await peer.send(Message(type=Message.TRANSACTION, channel_id=CHANNEL, txid="tx", payload=b"\xff"))
    assert count(service, "calls_total", function="other", outcome="unreadable") == 1


async def test_streams_and_calls_in_flight_go_up_and_down(start) -> None:
    service = await start(running=1, admitted=2)
    async with fake_peer(service.port) as peer, fake_peer(service.port):
        peer.mute = {Message.GET_STATE}
        calls = [asyncio.create_task(peer.invoke(f"tx{i}", "get", b"k")) for i in range(2)]
        await peer.asked.wait()
        await peer.invoke("tx2", "get", b"k")
        assert (count(service, "streams"), count(service, "calls_in_flight")) == (2, 2)
        assert count(service, "calls_total", function="other", outcome="turned_away") == 1
        peer.mute, peer.state["k"] = set(), b"v"
        await peer.tell(Message(type=Message.RESPONSE, channel_id=CHANNEL, txid="tx0", payload=b"v"))
        await asyncio.gather(*calls)
        assert count(service, "calls_in_flight") == 0
    await service.stop(0)
    assert count(service, "streams") == 0


async def test_names_of_functions_come_from_the_contract_and_never_from_callers(service, peer) -> None:
    for number in range(20):
        await peer.invoke(f"tx{number}", f"{SECRET}-{number}", SECRET.encode())
    text = generate_latest(service.metrics.registry).decode()
    assert SECRET not in text
    assert count(service, "calls_total", function="other", outcome="refused") == 20
