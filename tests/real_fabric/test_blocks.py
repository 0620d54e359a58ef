"""Blocks of a real network, read over Deliver and verified from nothing but the channel's configuration."""

import asyncio

import pytest
from fabric_protos.common import common_pb2

from fabric.client.errors import StreamError
from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from gateway.network.description import CHANNEL

pytestmark = pytest.mark.fabric


async def test_blocks_come_in_order_and_no_more_than_asked_for(probe: Gateway) -> None:
    height = await probe.height()
    numbers = [block.header.number async for block in probe.blocks(start=0, stop=height - 1)]
    assert numbers == list(range(height))


async def test_following_waits_for_blocks_to_come(probe: Gateway) -> None:
    height = await probe.height()
    following = probe.blocks(start=height, stop=None)
    next_block = asyncio.create_task(anext(following))
    committed = await probe.submit("put", b"follow", b"1")
    block = await next_block
    while block.header.number < committed.block_number:
        block = await anext(following)
    await following.aclose()
    assert committed.tx_id.encode() in block.SerializeToString()


async def test_a_stranger_reads_no_blocks(network) -> None:
    orderer_side = network.identity("BetaMSP")
    stranger = type(orderer_side)("NobodyMSP", orderer_side.certificate_pem, orderer_side.private_key)
    client = Gateway.connect(
        network.endpoint("AlphaMSP"), network.tls_ca("AlphaMSP"), CHANNEL, "probe", stranger, patience=Patience(unavailable_s=0.5)
    )
    with pytest.raises(StreamError, match="FORBIDDEN"):
        await client.height()
    with pytest.raises(StreamError):
        await anext(client.chaincode_events(start_block=0))
    await client.close()


async def test_the_whole_ledger_verifies(probe: Gateway) -> None:
    from fabric.verify import verify_blocks

    await asyncio.gather(*(probe.submit("increment", b"verified") for _ in range(8)))  # invalid transactions among them
    blocks = await _all_blocks(probe)
    verified = verify_blocks(blocks)
    assert verified.height == len(blocks)


async def test_a_changed_byte_is_found(probe: Gateway) -> None:
    from fabric.verify import VerificationError, verify_blocks

    await probe.submit("put", b"changed", b"1")
    blocks = await _all_blocks(probe)
    data = bytearray(blocks[-1].data.data[0])
    data[len(data) // 2] ^= 1
    blocks[-1].data.data[0] = bytes(data)
    with pytest.raises(VerificationError) as found:
        verify_blocks(blocks)
    assert found.value.block_number == len(blocks) - 1


async def _all_blocks(client: Gateway) -> list[common_pb2.Block]:
    return [block async for block in client.blocks(start=0, stop=await client.height() - 1)]
