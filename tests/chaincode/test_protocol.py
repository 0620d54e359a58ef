"""The chaincode protocol as a peer sees it."""

import asyncio
import json
import threading
from collections.abc import Sequence

import grpc
import grpc.aio
import pytest
from fabric_protos.peer import proposal_response_pb2

from fabric.canonical import dumps
from fabric.chaincode.messages import Message
from fabric.contract.stub import Stub
from tests.chaincode.conftest import PACKAGE_ID
from tests.support.fake_peer import CHANNEL, fake_peer
from tests.support.probe_contract import SECRET
from tests.support.silent_line import silent_line


def _response(message):
    assert message.type == Message.COMPLETED
    return proposal_response_pb2.Response.FromString(message.payload)


async def test_it_registers_the_package_it_runs(peer) -> None:
    assert await peer.registered == PACKAGE_ID


async def test_reads_and_writes_go_to_the_peer(peer) -> None:
    peer.state["key"] = b"value"
    assert _response(await peer.invoke("tx1", "get", b"key")).payload == b"value"
    assert _response(await peer.invoke("tx2", "put", b"key", b"other")).payload == b"tx2"
    await peer.invoke("tx3", "delete", b"key")
    assert peer.writes == {"tx2": {"key": b"other"}, "tx3": {"key": None}}


async def test_a_keys_own_policy_is_read_from_its_metadata_and_written_there(peer) -> None:
    peer.metadata["key"] = {"another entry": b"\x01", "VALIDATION_PARAMETER": b"\x0a\x0b"}
    assert _response(await peer.invoke("tx1", "policy", b"key")).payload == b"0a0b"
    assert _response(await peer.invoke("tx2", "policy", b"other")).payload == b""
    await peer.invoke("tx3", "guard", b"other", b"value", b"0c")
    assert peer.metadata_writes == {"tx3": {"other": ("VALIDATION_PARAMETER", b"\x0c")}}
    assert peer.writes == {"tx3": {"other": b"value"}}


@pytest.mark.parametrize("count", range(6))
async def test_ranges_are_fetched_page_by_page(peer, count) -> None:
    peer.state = {f"k{i}": str(i).encode() for i in range(count)} | {"l": b"outside"}
    result = _response(await peer.invoke("tx", "range", b"k", b"l")).payload
    assert json.loads(result) == [[f"k{i}", str(i)] for i in range(count)]


async def test_an_event_leaves_with_the_answer(peer) -> None:
    message = await peer.invoke("tx", "announce", b"news")
    assert (message.chaincode_event.event_name, message.chaincode_event.payload) == ("announced", b"news")
    assert not (await peer.invoke("tx2", "put", b"k", b"v")).HasField("chaincode_event")


async def test_caller_and_transient_data_are_readable(peer) -> None:
    caller = json.loads(_response(await peer.invoke("tx1", "caller")).payload)
    assert caller == {"mspid": "AlphaMSP", "certificate": "a certificate"}
    transient = json.loads(_response(await peer.invoke("tx2", "transient", transient={"b": b"22", "a": b""})).payload)
    assert transient == [["a", 0], ["b", 2]]


async def test_a_refusal_carries_code_and_sentence_and_no_event(peer) -> None:
    response = _response(await peer.invoke("tx", "refuse"))
    assert (response.status, response.message) == (500, "NOT_ALLOWED: you may not: ask your administrator")


@pytest.mark.parametrize("function", ["crash", "exit", "recurse", "text"])
async def test_a_failing_contract_is_answered_and_logged_without_values(peer, caplog, function) -> None:
    response = _response(await peer.invoke("tx-failed", function))
    assert response.status == 500
    assert response.message.startswith("INTERNAL: ")
    assert "tx-failed" in caplog.text
    assert SECRET not in response.message + caplog.text
    assert _response(await peer.invoke("tx-next", "put", b"k", b"v")).status == 200


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (Message.GET_STATE, ("get", b"k")),
        (Message.PUT_STATE, ("put", b"k", b"v")),
        (Message.DEL_STATE, ("delete", b"k")),
        (Message.GET_STATE_BY_RANGE, ("range", b"a", b"z")),
        (Message.QUERY_STATE_NEXT, ("range", b"a", b"z")),
        (Message.QUERY_STATE_NEXT, ("swallow",)),
    ],
)
async def test_a_peers_error_ends_the_call_and_is_never_a_value(peer, caplog, kind, call) -> None:
    peer.state = {f"k{i}": b"" for i in range(5)}
    peer.broken = {kind}
    message = await peer.invoke("tx", *call)
    assert message.type == Message.ERROR
    assert SECRET not in message.payload.decode() + caplog.text


@pytest.mark.parametrize(
    "step",
    [
        *(["get", ""], ["put", "", "v"], ["put", "k", ""], ["delete", ""], ["event", "", "payload"]),
        *(["policy", ""], ["set_policy", "", "0a"], ["set_policy", "k", ""], ["set_policy", "no value put", "0a"]),
    ],
    ids=str,
)
async def test_what_fabric_misreads_fails_the_call_as_on_the_embedded_ledger(peer, step) -> None:
    response = _response(await peer.invoke("tx", "script", dumps([step])))
    assert (response.status, response.message.partition(":")[0]) == (500, "INTERNAL")
    assert (peer.writes, peer.metadata_writes) == ({}, {})


async def test_calls_run_side_by_side_over_one_stream(peer) -> None:
    peer.mute = {Message.GET_STATE}
    stuck = asyncio.create_task(peer.invoke("stuck", "get", b"k"))
    await peer.asked.wait()
    peer.mute = set()
    peer.state["k"] = b"v"
    answers = await asyncio.gather(*(peer.invoke(f"tx{i}", "get", b"k") for i in range(40)))
    assert {_response(answer).payload for answer in answers} == {b"v"}
    await peer.tell(Message(type=Message.RESPONSE, channel_id=CHANNEL, txid="stuck", payload=b"late"))
    assert _response(await stuck).payload == b"late"


async def test_one_transaction_on_two_channels_is_two_calls(peer) -> None:
    """Answers are told apart by channel and transaction, so one for another channel is not taken."""
    peer.mute = {Message.GET_STATE}
    waiting = asyncio.create_task(peer.invoke("tx", "get", b"k"))
    await peer.asked.wait()
    await peer.tell(Message(type=Message.RESPONSE, channel_id="another", txid="tx", payload=b"wrong"))
    await peer.tell(Message(type=Message.RESPONSE, channel_id=CHANNEL, txid="tx", payload=b"right"))
    assert _response(await waiting).payload == b"right"


async def test_a_peer_that_leaves_frees_the_threads_that_waited_for_it(start) -> None:
    service = await start(running=1)
    async with fake_peer(service.port) as leaving:
        leaving.mute = {Message.GET_STATE}
        waiting = asyncio.create_task(leaving.invoke("tx", "get", b"k"))
        await leaving.asked.wait()
        waiting.cancel()
    async with fake_peer(service.port) as next_peer:
        assert _response(await next_peer.invoke("tx", "put", b"k", b"v")).status == 200


async def test_several_peers_are_served_at_once(service) -> None:
    async with fake_peer(service.port) as one, fake_peer(service.port) as other:
        one.state["k"], other.state["k"] = b"one", b"other"
        answers = await asyncio.gather(one.invoke("tx", "get", b"k"), other.invoke("tx", "get", b"k"))
    assert [_response(answer).payload for answer in answers] == [b"one", b"other"]


async def test_calls_beyond_the_limit_are_turned_away_and_places_come_free_again(start) -> None:
    service = await start(running=1, admitted=2)
    async with fake_peer(service.port) as peer:
        peer.mute = {Message.GET_STATE}
        admitted = [asyncio.create_task(peer.invoke(f"tx{i}", "get", b"k")) for i in range(2)]
        await peer.asked.wait()
        turned_away = await peer.invoke("tx2", "get", b"k")
        assert turned_away.type == Message.ERROR
        assert b"busy" in turned_away.payload
        peer.mute, peer.state["k"] = set(), b"v"
        await peer.tell(Message(type=Message.RESPONSE, channel_id=CHANNEL, txid="tx0", payload=b"v"))
        assert [_response(await call).payload for call in admitted] == [b"v", b"v"]
        assert _response(await peer.invoke("tx3", "get", b"k")).payload == b"v"


@pytest.mark.parametrize(
    "message",
    [
        Message(type=Message.TRANSACTION, channel_id=CHANNEL, txid="tx", payload=b"\xff"),
        Message(type=Message.TRANSACTION, channel_id=CHANNEL, txid="tx", payload=b""),
        Message(type=Message.TRANSACTION, channel_id=CHANNEL, txid="tx", payload=b"\x0a\x01\xff"),
        Message(type=Message.INIT, channel_id=CHANNEL, txid="tx"),
    ],
)
async def test_what_is_no_invocation_is_answered_all_the_same(peer, message) -> None:
    assert (await peer.send(message)).type == Message.ERROR
    assert _response(await peer.invoke("next", "put", b"k", b"v")).status == 200


async def test_messages_that_ask_for_nothing_are_passed_over(peer) -> None:
    for kind in (Message.KEEPALIVE, Message.UNDEFINED, Message.RESPONSE, Message.ERROR, Message.REGISTERED):
        await peer.tell(Message(type=kind, channel_id=CHANNEL, txid="nobody's"))
    assert _response(await peer.invoke("tx", "put", b"k", b"v")).status == 200


async def test_no_value_of_a_call_is_logged(peer, caplog) -> None:
    caplog.set_level(0)
    await peer.invoke("tx", "put", SECRET.encode(), SECRET.encode(), transient={"salt": SECRET.encode()})
    assert SECRET not in caplog.text


async def test_values_far_beyond_grpcs_own_limit_pass_both_ways(peer) -> None:
    value = b"v" * (5 * 1024 * 1024)
    assert _response(await peer.invoke("tx1", "put", b"k", value)).status == 200
    assert peer.writes["tx1"]["k"] == value
    peer.state["k"] = value
    assert _response(await peer.invoke("tx2", "get", b"k")).payload == value


async def test_an_answer_too_large_for_the_stream_fails_alone(start) -> None:
    """gRPC would end the stream with every call on it."""
    service = await start(largest_message=50_000)
    async with fake_peer(service.port) as peer:
        peer.state = {f"k{i}": b"v" * 20_000 for i in range(3)}
        answer = await peer.invoke("tx1", "range", b"k", b"l")
        assert answer.type == Message.ERROR
        assert b"over 50000 bytes" in answer.payload
        assert _response(await peer.invoke("tx2", "put", b"k", b"v")).status == 200


async def test_a_write_too_large_for_the_stream_fails_alone(start) -> None:
    def contract(stub: Stub, function: str, _args: Sequence[bytes]) -> bytes:
        stub.put_state("k", b"v" * int(function))
        return b""

    service = await start(contract, largest_message=50_000)
    async with fake_peer(service.port) as peer:
        assert (await peer.invoke("tx1", "60000")).type == Message.ERROR
        assert _response(await peer.invoke("tx2", "40000")).status == 200
    assert list(peer.writes) == ["tx2"]


async def test_a_peers_message_over_the_limit_ends_its_stream_and_no_other(start) -> None:
    service = await start(largest_message=50_000)
    async with fake_peer(service.port) as other:
        async with fake_peer(service.port) as peer:
            await peer.tell(Message(type=Message.TRANSACTION, channel_id=CHANNEL, txid="tx", payload=b"x" * 60_000))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await peer.serving
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert _response(await other.invoke("tx", "put", b"k", b"v")).status == 200


async def test_a_peer_that_went_away_without_a_word_is_noticed(start) -> None:
    """Its machine lost power, or the cable was cut: nothing comes any more, not even the end of the connection."""
    freed = threading.Event()

    def contract(stub: Stub, _function: str, _args: Sequence[bytes]) -> bytes:
        try:
            return stub.get_state("k") or b""
        finally:
            freed.set()

    service = await start(contract, keepalive_s=(0.05, 0.05))
    async with silent_line(service.port) as line, fake_peer(line.port) as peer:
        peer.mute = {Message.GET_STATE}
        calling = asyncio.create_task(peer.invoke("tx", "get"))
        await peer.asked.wait()
        line.swallow()
        assert await asyncio.to_thread(freed.wait, 30)
        calling.cancel()
