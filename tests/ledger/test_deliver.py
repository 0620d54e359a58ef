"""The Deliver service: which blocks come, in which form, and the status that ends a stream."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import transaction_pb2

from fabric.verify import verify_blocks
from tests.support.ledger import RunningNetwork
from tests.support.raw_client import NEWEST, OLDEST, RawClient, position, raw_client

pytestmark = pytest.mark.asyncio(loop_scope="module")
FAIL = ab_pb2.SeekInfo.FAIL_IF_NOT_READY


async def responses(method: Any, *envelopes: Any) -> list[Any]:
    """Everything the stream sends until it ends or has answered every request."""
    call, received, due = method(iter(envelopes)), [], len(envelopes)
    async for response in call:
        received.append(response)
        due -= response.WhichOneof("Type") == "status"
        if not due:
            break
    call.cancel()
    return received


def numbers(received: list[Any]) -> list[int]:
    return [response.block.header.number for response in received if response.WhichOneof("Type") == "block"]


async def test_the_whole_chain_verifies(client: RawClient, network: RunningNetwork) -> None:
    await client.submit(b"put", b"k", b"v")
    proposals = [client.proposal(b"increment", b"k2") for _ in range(4)]
    payloads = [await client.endorse(proposal) for proposal in proposals]
    await asyncio.gather(*(client.send(p.tx_id, client.envelope(payload)) for p, payload in zip(proposals, payloads, strict=True)))
    received = await responses(client.deliver.Deliver, client.seek(OLDEST, NEWEST))
    assert numbers(received) == list(range(network.server.height))
    assert received[-1].status == common_pb2.SUCCESS
    verified = verify_blocks(response.block for response in received[:-1])
    assert verified.codes["MVCC_READ_CONFLICT"] == 3
    assert verified.state.public(network.chaincode) == {"k": b"v", "k2": b"1"}


async def test_newest_is_one_block_and_several_seeks_share_a_stream(client: RawClient, network: RunningNetwork) -> None:
    received = await responses(client.deliver.Deliver, client.seek(NEWEST, NEWEST), client.seek(position(0), position(1)))
    assert numbers(received) == [network.server.height - 1, 0, 1]
    assert [r.status for r in received if r.WhichOneof("Type") == "status"] == [common_pb2.SUCCESS] * 2


async def test_a_follower_gets_blocks_as_they_are_written(client: RawClient, network: RunningNetwork) -> None:
    next_number = network.server.height
    following = asyncio.ensure_future(responses(client.deliver.Deliver, client.seek(position(next_number), position(next_number + 1))))
    await client.submit(b"put", b"f1", b"v")
    await client.submit(b"put", b"f2", b"v")
    assert numbers(await following) == [next_number, next_number + 1]


async def test_what_does_not_exist_is_not_waited_for_on_request(client: RawClient, network: RunningNetwork) -> None:
    height = network.server.height
    beyond = await responses(client.deliver.Deliver, client.seek(position(height), position(height), behavior=FAIL))
    assert [response.status for response in beyond] == [common_pb2.NOT_FOUND]
    partly = await responses(client.deliver.Deliver, client.seek(position(height - 1), position(height), behavior=FAIL))
    assert numbers(partly) == [height - 1]
    assert partly[-1].status == common_pb2.NOT_FOUND


async def test_filtered_blocks_tell_ids_codes_and_events_only(client: RawClient) -> None:
    tx_id, code, number = await client.submit(b"put", b"filtered", b"secret-value")
    received = await responses(client.deliver.DeliverFiltered, client.seek(position(number), position(number)))
    block = received[0].filtered_block
    assert (block.channel_id, block.number) == ("consortium", number)
    transaction = block.filtered_transactions[0]
    assert (transaction.txid, transaction.tx_validation_code) == (tx_id, code)
    event = transaction.transaction_actions.chaincode_actions[0].chaincode_event
    assert (event.event_name, event.tx_id, event.payload) == ("put", tx_id, b"")
    assert b"secret-value" not in block.SerializeToString()
    config = (await responses(client.deliver.DeliverFiltered, client.seek(position(0), position(0))))[0].filtered_block
    assert [(t.type, t.tx_validation_code) for t in config.filtered_transactions] == [(common_pb2.CONFIG, transaction_pb2.VALID)]


async def test_requests_that_are_refused(client: RawClient, network: RunningNetwork) -> None:
    first = position(0)
    stale = time.time_ns() - 16 * 60 * 10**9
    broken = common_pb2.Envelope(payload=b"\xff", signature=b"s")
    forged = client.seek(first, first)
    forged.signature = network.identity("BetaMSP").sign(forged.payload)
    cases = [
        (client.seek(first, first, time_ns=stale), common_pb2.BAD_REQUEST),
        (client.seek(first, first, channel="elsewhere"), common_pb2.NOT_FOUND),
        (client.seek(position(1), first), common_pb2.BAD_REQUEST),
        (client.seek(None, None), common_pb2.BAD_REQUEST),
        (broken, common_pb2.BAD_REQUEST),
        (forged, common_pb2.FORBIDDEN),
    ]
    for envelope, status in cases:
        received = await responses(client.deliver.Deliver, envelope)
        assert [response.status for response in received] == [status]
    async with raw_client(network, replace(network.identity("BetaMSP"), mspid="AlphaMSP")) as stranger:
        received = await responses(stranger.deliver.Deliver, stranger.seek(first, first))
        assert [response.status for response in received] == [common_pb2.FORBIDDEN]
