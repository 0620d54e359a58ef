"""Many callers at once."""

import asyncio

import pytest

from fabric.client.gateway import Gateway

pytestmark = pytest.mark.fabric

CALLERS = 32


async def test_callers_of_all_organisations_at_once(connect) -> None:
    clients = [connect(mspid) for mspid in ("AlphaMSP", "BetaMSP", "GammaMSP")]
    calls = [clients[i % 3].submit("put", f"many-{i}".encode(), str(i).encode()) for i in range(CALLERS)]
    committed = await asyncio.gather(*calls)
    assert len({one.tx_id for one in committed}) == CALLERS
    read = await asyncio.gather(*(clients[0].evaluate("get", f"many-{i}".encode()) for i in range(CALLERS)))
    assert read == [str(i).encode() for i in range(CALLERS)]


async def test_callers_that_collide_are_all_counted_exactly_once(probe: Gateway) -> None:
    committed = await asyncio.gather(*(probe.submit("increment", b"hot") for _ in range(CALLERS)))
    assert sorted(int(one.result) for one in committed) == list(range(1, CALLERS + 1))
    assert await probe.evaluate("get", b"hot") == str(CALLERS).encode()


async def test_phantoms_are_found_and_run_again(probe: Gateway) -> None:
    committed = await asyncio.gather(*(probe.submit("count", b"phantom-") for _ in range(8)))
    assert sorted(int(one.result) for one in committed) == list(range(8))


async def test_state_is_asked_for_by_many_running_calls_over_one_stream(probe: Gateway) -> None:
    """More calls than the service has threads, each with questions of its own to the peer."""
    await probe.submit("fill", b"shared", b"120")
    answers = await asyncio.gather(*(probe.evaluate("range", b"shared", b"shared9") for _ in range(CALLERS * 2)))
    assert len(set(answers)) == 1
