"""Every call a contract may make, on real peers."""

import json

import pytest

from fabric.client.errors import ContractRefused
from fabric.client.gateway import Gateway

pytestmark = pytest.mark.fabric


async def test_a_value_is_written_read_and_deleted(probe: Gateway) -> None:
    committed = await probe.submit("put", b"calls-key", b"value")
    assert committed.result.decode() == committed.tx_id
    assert await probe.evaluate("get", b"calls-key") == b"value"
    await probe.submit("delete", b"calls-key")
    with pytest.raises(ContractRefused) as refused:
        await probe.evaluate("get", b"calls-key")
    assert (refused.value.code, refused.value.sentence) == ("NOT_FOUND", "there is no calls-key")


async def test_ranges_come_whole_and_in_order_though_the_peer_sends_them_in_pages(probe: Gateway) -> None:
    await probe.submit("fill", b"page", b"250")
    entries = json.loads(await probe.evaluate("range", b"page", b"page\xef\xbf\xbf"))
    assert entries == [[f"page{number:04}", str(number)] for number in range(250)]


async def test_the_end_of_a_range_is_left_out_and_an_iterator_may_be_left_halfway(probe: Gateway) -> None:
    await probe.submit("fill", b"half", b"150")
    assert json.loads(await probe.evaluate("range", b"half0003", b"half0005")) == [["half0003", "3"], ["half0004", "4"]]
    assert await probe.evaluate("first", b"half0003", b"half9999") == b"half0003"
    assert (await probe.submit("first", b"half0003", b"half9999")).result == b"half0003"


async def test_the_contract_sees_who_calls(network, connect) -> None:
    for mspid, user in (("AlphaMSP", "user1"), ("BetaMSP", "admin"), ("GammaMSP", "user2")):
        caller = json.loads(await connect(mspid, user).evaluate("caller"))
        assert caller == {"mspid": mspid, "certificate": network.identity(mspid, user).certificate_pem.decode()}


async def test_transient_data_reaches_the_contract_and_no_block(probe: Gateway) -> None:
    secret = b"only for the contract's eyes"
    committed = await probe.submit("transient", transient={"salt": secret, "empty": b""})
    assert json.loads(committed.result) == [["empty", 0], ["salt", len(secret)]]
    async for block in probe.blocks(start=committed.block_number, stop=committed.block_number):
        assert secret not in block.SerializeToString()


async def test_a_large_value_passes(probe: Gateway) -> None:
    value = b"x" * (4 * 1024 * 1024)  # twice in the transaction, as argument and as write; a block holds 10 MB
    await probe.submit("put", b"calls-large", value)
    assert await probe.evaluate("get", b"calls-large") == value
