"""Programs killed under a running call: it ends once, with its effect exactly once."""

import asyncio

import pytest

from fabric.client.endorse import endorse
from fabric.client.errors import CommitUnknown, LedgerUnavailable
from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from fabric.client.submit import submit

pytestmark = pytest.mark.fabric


async def test_a_chaincode_service_killed_while_it_runs_a_call(network, probe: Gateway) -> None:
    await probe.submit("put", b"fault-service", b"0")  # the peer is connected
    running = asyncio.create_task(probe.submit("wait", b"1500"))
    answered = asyncio.create_task(probe.submit("increment", b"fault-service-counter"))
    await answered
    network.kill("probe-AlphaMSP")
    network.start("probe-AlphaMSP")
    assert (await running).result == b""
    assert (await probe.submit("increment", b"fault-service-counter")).result == b"2"


async def test_the_orderer_killed_under_submitting_callers(network, probe: Gateway) -> None:
    calls = [asyncio.create_task(probe.submit("increment", f"fault-orderer-{i}".encode())) for i in range(8)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    network.kill("orderer-1")
    calls += [asyncio.create_task(probe.submit("increment", f"fault-orderer-{i}".encode())) for i in range(8, 12)]
    network.start("orderer-1")
    await asyncio.gather(*calls)
    values = await asyncio.gather(*(probe.evaluate("get", f"fault-orderer-{i}".encode()) for i in range(12)))
    assert values == [b"1"] * 12


async def test_a_transaction_handed_in_many_times_takes_effect_once(probe: Gateway) -> None:
    connection = probe._connection
    endorsed = await endorse(connection, "increment", [b"fault-duplicate"], None)
    statuses = await asyncio.gather(*(submit(connection, endorsed) for _ in range(5)))
    statuses.append(await submit(connection, endorsed))
    assert {(status.code_name, status.block_number) for status in statuses} == {("VALID", statuses[0].block_number)}
    assert (await probe.submit("increment", b"fault-duplicate")).result == b"2"


async def test_without_an_orderer_the_outcome_is_unknown_and_is_found_later(network, connect) -> None:
    client = connect(patience=Patience(call_s=2.0, status_s=1.0, commit_s=2.0))
    network.kill("orderer-1")
    with pytest.raises(CommitUnknown) as unknown:
        await client.submit("put", b"fault-unknown", b"1")
    network.start("orderer-1")
    assert await client.commit_status(unknown.value.tx_id, wait_s=0.5) is None  # it never left: doing it again is right
    assert (await connect().submit("put", b"fault-unknown", b"2")).block_number > 0


async def test_a_peer_that_is_down_is_said_to_be(network, connect) -> None:
    client = connect("BetaMSP", patience=Patience(unavailable_s=0.5))
    network.kill("peer-BetaMSP")
    try:
        for call in (client.submit("put", b"k", b"v"), client.evaluate("get", b"k"), client.height()):
            with pytest.raises(LedgerUnavailable):
                await call
    finally:
        network.start("peer-BetaMSP")
    await connect("BetaMSP").submit("put", b"fault-peer", b"back")
