"""Events and blocks: each once and in order, wherever the connection breaks."""

import asyncio

import grpc
import pytest

from fabric.client.errors import StreamError
from tests.support.faulty_proxy import Fault

COUNT = 10  # half of them one after the other, in blocks of their own: enough for a stream to break in


@pytest.fixture
async def announced(client) -> list[str]:
    """Transaction ids of COUNT events, in ledger order; two of them share a block with others when the ledger likes."""
    first = [await client.submit("announce", str(i).encode()) for i in range(COUNT // 2)]
    rest = await asyncio.gather(*(client.submit("announce", str(i).encode()) for i in range(COUNT // 2)))
    blocks = await _take(client.blocks(start=0, stop=await client.height() - 1), 100)
    order = b"".join(block.SerializeToString() for block in blocks)
    return sorted((one.tx_id for one in [*first, *rest]), key=lambda tx_id: order.index(tx_id.encode()))


async def _take(stream, count):
    taken = []
    try:
        while len(taken) < count:
            taken.append(await anext(stream))
    except StopAsyncIteration:
        pass
    finally:
        await stream.aclose()
    return taken


@pytest.mark.parametrize("messages", range(4))
async def test_events_are_whole_wherever_the_stream_breaks(client, proxy, announced, messages) -> None:
    proxy.faults["ChaincodeEvents"].extend([Fault(messages=messages), Fault(messages=1), Fault(grpc.StatusCode.ABORTED)])
    events = await _take(client.chaincode_events(start_block=0), COUNT)
    assert [event.tx_id for event in events] == announced
    assert not proxy.faults["ChaincodeEvents"]


async def test_following_goes_on_after_any_event(client, announced) -> None:
    events = await _take(client.chaincode_events(start_block=0), COUNT)
    for position, event in enumerate(events[:-1]):
        rest = await _take(client.chaincode_events(after=event.checkpoint), COUNT - 1 - position)
        assert rest == events[position + 1 :]


async def test_from_now_loses_nothing_when_the_connection_breaks_before_the_first_event(client, proxy, announced) -> None:
    proxy.faults["ChaincodeEvents"].append(Fault(messages=0))
    events = client.chaincode_events()
    first = asyncio.create_task(anext(events))
    await proxy.until("ChaincodeEvents")
    committed = await client.submit("announce", b"new")
    assert (await first).tx_id == committed.tx_id
    await events.aclose()


@pytest.mark.parametrize("messages", range(4))
async def test_blocks_are_whole_wherever_the_stream_breaks(client, proxy, announced, messages) -> None:
    height = await client.height()
    proxy.faults["Deliver"].extend([Fault(messages=messages), Fault(messages=1), Fault()])
    blocks = await _take(client.blocks(start=0, stop=height - 1), height + 1)
    assert [block.header.number for block in blocks] == list(range(height))


async def test_following_blocks_waits_for_those_to_come(client) -> None:
    height = await client.height()
    following = client.blocks(start=height, stop=None)
    coming = asyncio.create_task(anext(following))
    await client.submit("put", b"k", b"v")
    assert (await coming).header.number == height
    await following.aclose()


async def test_an_empty_range_of_blocks_is_empty(client) -> None:
    assert await _take(client.blocks(start=3, stop=2), 1) == []


async def test_a_stranger_is_refused_and_does_not_try_for_ever(ledger, connect) -> None:
    beta = ledger.identity("BetaMSP")
    stranger = connect(type(beta)("NobodyMSP", beta.certificate_pem, beta.private_key))
    with pytest.raises(StreamError):
        await stranger.height()
    with pytest.raises(StreamError):
        await anext(stranger.blocks(start=0, stop=None))
    with pytest.raises(StreamError):
        await anext(stranger.chaincode_events(start_block=0))


async def test_a_block_left_out_is_noticed(client, proxy) -> None:
    for key in (b"a", b"b"):
        await client.submit("put", key, b"v")
    proxy.faults["Deliver"].append(Fault(skip=1, messages=1))
    with pytest.raises(StreamError, match="delivered block 1 where 0 was due"):
        await anext(client.blocks(start=0, stop=2))
