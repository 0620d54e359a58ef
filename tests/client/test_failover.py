"""Several gateway peers: the client goes on at another one, and nothing is lost, doubled or older than what it has already seen."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import grpc
import grpc.aio
import pytest
from fabric_protos.gateway import gateway_pb2

from fabric.client import connection
from fabric.client.errors import CommitUnknown, LedgerUnavailable, SubmitError
from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from tests.support import probe_contract
from tests.support.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.ledger import Network, RunningNetwork, dev_ledger, free_port, running
from tests.support.silent_line import silent_line

# Only one way round the peers, then no more: whoever gives up too early fails the test at once.
ONCE = Patience(pause_s=0.001, longest_pause_s=0.002, unavailable_s=0.0, unsure_s=0.2, status_s=5.0)
# For tests in which a peer needs time to come back.
STEADY = Patience(pause_s=0.01, longest_pause_s=0.02)
DOWN = Fault(grpc.StatusCode.UNAVAILABLE)
LOST_ANSWER = Fault(grpc.StatusCode.UNAVAILABLE, delivered=True)
TOO_LATE = Fault(grpc.StatusCode.DEADLINE_EXCEEDED, delivered=True)

Connect = Callable[..., Gateway]


@pytest.fixture
async def other(ledger: RunningNetwork) -> AsyncIterator[FaultyProxy]:
    """The second peer: another way to the same ledger."""
    async with faulty_proxy(ledger) as other:
        yield other


@pytest.fixture
async def connect(ledger: RunningNetwork) -> AsyncIterator[Connect]:
    """Clients of the endpoints given, closed with the test."""
    async with AsyncExitStack() as opened:

        def client(*endpoints: str, patience: Patience = ONCE) -> Gateway:
            identity = ledger.identity("AlphaMSP")
            gateway = Gateway.follow(
                endpoints, lambda: ledger.tls_ca, ledger.channel, ledger.chaincode, lambda: identity, patience=patience
            )
            opened.push_async_callback(gateway.close)
            return gateway

        yield client


@pytest.fixture
def client(connect: Connect, proxy: FaultyProxy, other: FaultyProxy) -> Gateway:
    return connect(proxy.endpoint, other.endpoint)


async def _take(stream, count):
    try:
        return [await anext(stream) for _ in range(count)]
    finally:
        await stream.aclose()


async def test_a_peer_that_is_dead_from_the_beginning_is_passed_over(connect, ledger, other) -> None:
    client = connect(f"localhost:{free_port()}", other.endpoint)
    assert await client.height() == ledger.server.height
    committed = await client.submit("announce", b"news")
    assert await client.evaluate("get", b"announced-news") == b"1"
    assert (await _take(client.chaincode_events(start_block=0), 1))[0].tx_id == committed.tx_id
    blocks = await _take(client.blocks(start=0, stop=committed.block_number), committed.block_number + 1)
    assert [block.header.number for block in blocks] == list(range(committed.block_number + 1))


async def test_it_stays_with_the_peer_that_answered_and_says_why_it_moved(client, proxy, other, caplog) -> None:
    proxy.faults["Evaluate"].append(DOWN)
    await client.submit("put", b"k", b"v")
    assert not other.seen
    assert await client.evaluate("get", b"k") == b"v"
    assert f"going on at {other.endpoint} instead of {proxy.endpoint}: UNAVAILABLE: lost" in caplog.text
    before = {method: len(calls) for method, calls in proxy.seen.items()}
    await client.submit("put", b"k", b"w")
    assert await client.evaluate("get", b"k") == b"w"
    assert {method: len(calls) for method, calls in proxy.seen.items()} == before


async def test_when_all_are_down_patience_ends_and_each_was_asked(client, proxy, other) -> None:
    for peer in (proxy, other):
        peer.faults["Endorse"].append(DOWN)
        peer.faults["Evaluate"].append(DOWN)
        peer.faults["Deliver"].append(DOWN)
    for call in (client.submit("put", b"k", b"v"), client.evaluate("get", b"k"), client.height()):
        with pytest.raises(LedgerUnavailable):
            await call
    assert not any(peer.faults[method] for peer in (proxy, other) for method in ("Endorse", "Evaluate", "Deliver"))


async def test_that_a_peer_is_down_is_said_once_and_again_only_after_it_answered(connect, proxy, other, caplog) -> None:
    client = connect(proxy.endpoint, other.endpoint, patience=STEADY)
    await client.submit("put", b"k", b"v")
    for said in (2, 3):  # of the two, one answers between the outages
        for peer in (proxy, other):
            peer.faults["Evaluate"].extend([DOWN] * 5)
        assert await client.evaluate("get", b"k") == b"v"
        assert caplog.text.count("going on at") == said


@pytest.mark.parametrize("function", ["crash", "refuse"])
async def test_what_the_contract_says_is_no_reason_to_ask_another_peer(client, other, function) -> None:
    with pytest.raises(Exception, match=r"^(INTERNAL|NOT_ALLOWED): "):
        await client.submit(function)
    assert not other.seen


async def test_an_unknown_status_is_asked_for_by_id_at_the_other_peer_and_nothing_is_done_again(client, proxy, other) -> None:
    proxy.faults["Submit"].append(LOST_ANSWER)
    proxy.faults["CommitStatus"].extend([DOWN] * 100)
    committed = await client.submit("increment", b"counter")
    assert (len(proxy.seen["Endorse"]), len(proxy.seen["Submit"]), len(other.seen["Endorse"]), len(other.seen["Submit"])) == (1, 1, 0, 0)
    asked = gateway_pb2.SignedCommitStatusRequest.FromString(other.seen["CommitStatus"][0])
    assert gateway_pb2.CommitStatusRequest.FromString(asked.request).transaction_id == committed.tx_id
    assert await client.evaluate("get", b"counter") == b"1"


async def test_a_peer_that_never_hears_of_a_commit_does_not_keep_the_caller_waiting(client, proxy, other) -> None:
    """It takes transactions and hands out no blocks: its status calls run out of time."""
    proxy.faults["CommitStatus"].append(TOO_LATE)
    assert (await client.submit("increment", b"counter")).result == b"1"
    assert (len(proxy.seen["Submit"]), len(other.seen["CommitStatus"])) == (1, 1)


async def test_every_sequence_of_losses_at_two_peers_counts_once(client, proxy, other) -> None:
    first = [(), (DOWN,), (LOST_ANSWER,), (TOO_LATE,)]
    cases = list(product(first, first, [(), (DOWN,)], [(), (DOWN,)]))
    for count, (here, there, status_here, status_there) in enumerate(cases, start=1):
        for peer, submits, statuses in ((proxy, here, status_here), (other, there, status_there)):
            peer.faults["Submit"].extend(submits)
            peer.faults["CommitStatus"].extend(statuses)
        assert (await client.submit("increment", b"counter")).result == str(count).encode()
        proxy.faults.clear()
        other.faults.clear()
    assert await client.evaluate("get", b"counter") == str(len(cases)).encode()


async def test_a_refusal_by_the_second_peer_does_not_hide_what_the_first_may_have_written(client, proxy, other) -> None:
    proxy.faults["Submit"].append(LOST_ANSWER)
    for peer in (proxy, other):
        peer.faults["CommitStatus"].append(DOWN)
    other.faults["Submit"].append(Fault(grpc.StatusCode.ALREADY_EXISTS))
    assert (await client.submit("increment", b"counter")).result == b"1"


async def test_a_refusal_by_the_first_is_final(client, proxy, other) -> None:
    proxy.faults["Submit"].append(Fault(grpc.StatusCode.ABORTED))
    with pytest.raises(SubmitError):
        await client.submit("increment", b"counter")
    assert "Submit" not in other.seen


async def test_an_outcome_that_no_peer_can_tell_is_said(connect, proxy, other) -> None:
    client = connect(proxy.endpoint, other.endpoint, patience=replace(ONCE, commit_s=0.05))
    proxy.faults["Submit"].append(LOST_ANSWER)
    for peer in (proxy, other):
        peer.faults["CommitStatus"].extend([DOWN] * 1000)
    with pytest.raises(CommitUnknown) as unknown:
        await client.submit("increment", b"counter")
    proxy.faults.clear()
    other.faults.clear()
    assert (await client.commit_status(unknown.value.tx_id, wait_s=5)).code_name == "VALID"


@pytest.mark.parametrize("messages", range(4))
async def test_events_go_on_at_the_other_peer_without_loss_or_repetition(client, proxy, messages) -> None:
    sent = [(await client.submit("announce", str(i).encode())).tx_id for i in range(4)]
    proxy.faults["ChaincodeEvents"].append(Fault(messages=messages))
    events = client.chaincode_events(start_block=0)
    received = [await anext(events) for _ in range(messages)]
    await proxy.kill()
    received += [await anext(events) for _ in range(4 - messages)]
    sent.append((await client.submit("announce", b"later")).tx_id)
    received.append(await anext(events))
    await events.aclose()
    assert [event.tx_id for event in received] == sent


async def test_a_stream_moves_on_with_the_calls_though_its_own_peer_is_only_silent(client, proxy, other) -> None:
    """Such a peer may have lost the ordering service: its stream stays open and tells nothing any more."""
    events = client.chaincode_events(start_block=0)
    first = await client.submit("announce", b"first")
    assert (await anext(events)).tx_id == first.tx_id
    coming = asyncio.create_task(anext(events))
    await proxy.until("ChaincodeEvents")
    proxy.faults["Evaluate"].append(DOWN)
    await client.evaluate("get", b"announced-first")
    await other.until("ChaincodeEvents")
    second = await client.submit("announce", b"second")
    assert (await coming).tx_id == second.tx_id
    await events.aclose()


async def test_a_cut_cable_is_noticed_and_the_stream_goes_on_elsewhere(connect, ledger, other, monkeypatch) -> None:
    """Nothing comes any more from the first peer, not even the end of the connection: only pings tell."""
    faster = [(name, value // 200 if "keepalive" in name or "ping" in name else value) for name, value in connection._OPTIONS]
    monkeypatch.setattr(connection, "_OPTIONS", faster)
    async with silent_line(int(ledger.endpoint.rpartition(":")[2])) as line:
        client = connect(f"localhost:{line.port}", other.endpoint)
        first = await client.submit("announce", b"first")
        events = client.chaincode_events(start_block=0)
        assert (await anext(events)).tx_id == first.tx_id
        line.swallow()
        coming = asyncio.create_task(anext(events))
        await other.until("ChaincodeEvents")
        second = await client.submit("announce", b"second")
        assert (await coming).tx_id == second.tx_id
        await events.aclose()


@pytest.mark.parametrize("messages", range(3))
async def test_blocks_go_on_at_the_other_peer(client, proxy, messages) -> None:
    for i in range(3):
        await client.submit("put", f"k{i}".encode(), b"v")
    height = await client.height()
    proxy.faults["Deliver"].append(Fault(messages=messages))
    blocks = client.blocks(start=0, stop=None)
    received = [await anext(blocks) for _ in range(messages)]
    await proxy.kill()
    received += [await anext(blocks) for _ in range(height - messages)]
    await blocks.aclose()
    assert [block.header.number for block in received] == list(range(height))


@dataclass(frozen=True)
class Pair:
    """Two peers of one channel behind proxies: `ahead` has what was written to it since the other got its blocks."""

    ahead: FaultyProxy
    behind: FaultyProxy
    ledger: RunningNetwork

    def connect(self, patience: Patience) -> Gateway:
        identity, tls_ca = self.ledger.identity("AlphaMSP"), self.ledger.tls_ca
        endpoints = [self.ahead.endpoint, self.behind.endpoint]
        return Gateway.follow(endpoints, lambda: tls_ca, self.ledger.channel, self.ledger.chaincode, lambda: identity, patience=patience)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Made by copying a ledger's data before it goes on."""
    folder = tmp_path / "pair"
    async with dev_ledger(folder, contract=probe_contract.invoke) as made:
        await _put(made, b"old")
    late_section = made.config.ledger.model_copy(update={"listen": f"localhost:{free_port()}", "data": folder / "late"})
    shutil.copytree(made.config.ledger.data, folder / "late")
    late = Network(made.config_file, made.config.model_copy(update={"ledger": late_section}), made.organisations)
    async with (
        running(made, contract=probe_contract.invoke) as first,
        running(late, contract=probe_contract.invoke) as second,
        faulty_proxy(first) as ahead,
        faulty_proxy(second) as behind,
    ):
        yield Pair(ahead, behind, first)


async def _put(ledger: RunningNetwork, value: bytes) -> None:
    client = Gateway.connect(ledger.endpoint, ledger.tls_ca, ledger.channel, ledger.chaincode, ledger.identity("AlphaMSP"))
    await client.submit("put", b"key", value)
    await client.close()


async def test_a_peer_that_is_behind_answers_nothing(pair: Pair) -> None:
    client = pair.connect(ONCE)
    await client.submit("put", b"key", b"new")
    await pair.ahead.kill()
    for call in (client.evaluate("get", b"key"), client.submit("increment", b"other"), client.height()):
        with pytest.raises(LedgerUnavailable, match=r"is behind|does not answer|cannot endorse|stopped delivering"):
            await call
    assert "Evaluate" not in pair.behind.seen
    assert "Endorse" not in pair.behind.seen
    await client.close()


async def test_it_answers_once_it_has_caught_up(pair: Pair) -> None:
    client = pair.connect(STEADY)
    await client.submit("put", b"key", b"new")
    await pair.ahead.kill()
    answer = asyncio.create_task(client.evaluate("get", b"key"))
    await pair.behind.until("Deliver")
    pair.behind.upstream = pair.ahead.upstream
    assert await answer == b"new"
    await client.close()


async def test_what_was_only_heard_of_in_an_event_counts_as_seen(pair: Pair) -> None:
    client, writer = pair.connect(ONCE), pair.connect(ONCE)
    events = client.chaincode_events()
    heard = asyncio.create_task(anext(events))
    await pair.ahead.until("ChaincodeEvents")
    await writer.submit("announce", b"news")
    await heard
    await events.aclose()
    await pair.ahead.kill()
    with pytest.raises(LedgerUnavailable):
        await client.evaluate("get", b"key")
    assert "Evaluate" not in pair.behind.seen
    await client.close()
    await writer.close()


async def test_a_client_that_has_seen_nothing_newer_is_content_with_it(pair: Pair) -> None:
    client = pair.connect(ONCE)
    pair.ahead.faults["Evaluate"].append(DOWN)
    assert await client.evaluate("get", b"key") == b"old"
    await client.close()
