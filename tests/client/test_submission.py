"""Whatever is lost between client and ledger, a transaction takes effect exactly once or the client says that it does not know."""

import asyncio
from itertools import product

import grpc
import pytest
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import transaction_pb2

from fabric.client.endorse import endorse
from fabric.client.errors import CommitError, CommitStatusError, CommitUnknown, EndorseError, SubmitError
from fabric.client.patience import Patience
from fabric.client.submit import submit
from tests.support.faulty_proxy import Fault

LOST_REQUEST = Fault(grpc.StatusCode.UNAVAILABLE)
LOST_ANSWER = Fault(grpc.StatusCode.UNAVAILABLE, delivered=True)
TOO_LATE = Fault(grpc.StatusCode.DEADLINE_EXCEEDED, delivered=True)
REFUSED = Fault(grpc.StatusCode.ABORTED)

# The status of a transaction that never reached the ledger is waited for in vain, so these waits are short.
BRIEF = Patience(pause_s=0.001, longest_pause_s=0.002, unsure_s=0.05)


async def test_a_lost_answer_is_asked_for_and_nothing_is_done_again(client, proxy) -> None:
    proxy.faults["Submit"].append(LOST_ANSWER)
    assert (await client.submit("increment", b"counter")).result == b"1"
    assert (len(proxy.seen["Endorse"]), len(proxy.seen["Submit"])) == (1, 1)
    assert await client.evaluate("get", b"counter") == b"1"


async def test_a_lost_request_is_handed_in_again_unchanged(connect, proxy) -> None:
    client = connect(patience=BRIEF)
    proxy.faults["Submit"].append(LOST_REQUEST)
    assert (await client.submit("increment", b"counter")).result == b"1"
    assert len(proxy.seen["Endorse"]) == 1
    assert len(proxy.seen["Submit"]) == 2
    assert len(set(proxy.seen["Submit"])) == 1
    assert await client.evaluate("get", b"counter") == b"1"


async def test_every_sequence_of_losses_counts_once(connect, proxy) -> None:
    client = connect(patience=BRIEF)
    nothing: tuple[Fault, ...] = ()
    submits = [nothing, *((fault,) for fault in (LOST_ANSWER, TOO_LATE)), *product((LOST_REQUEST, LOST_ANSWER, TOO_LATE), repeat=2)]
    statuses = [nothing, (LOST_REQUEST,), (TOO_LATE, LOST_REQUEST)]
    cases = list(product(submits, statuses))
    for count, (submit_faults, status_faults) in enumerate(cases, start=1):
        proxy.faults["Submit"].extend(submit_faults)
        proxy.faults["CommitStatus"].extend(status_faults)
        assert (await client.submit("increment", b"counter")).result == str(count).encode()
        proxy.faults.clear()
    assert await client.evaluate("get", b"counter") == str(len(cases)).encode()


async def test_a_transaction_handed_in_many_times_takes_effect_once(client) -> None:
    connection = client._connection
    endorsed = await endorse(connection, "increment", [b"counter"], None)
    statuses = await asyncio.gather(*(submit(connection, endorsed) for _ in range(5)))
    statuses.append(await submit(connection, endorsed))
    assert {(status.code_name, status.block_number) for status in statuses} == {("VALID", statuses[0].block_number)}
    assert (await client.submit("increment", b"counter")).result == b"2"


async def test_a_refusal_after_a_lost_answer_does_not_hide_that_it_was_written(client, proxy) -> None:
    proxy.faults["Submit"].extend([LOST_ANSWER, REFUSED])
    proxy.faults["CommitStatus"].append(LOST_REQUEST)
    assert (await client.submit("increment", b"counter")).result == b"1"
    assert len(proxy.seen["Submit"]) == 2


async def test_a_refusal_at_once_is_final_and_writes_nothing(client, proxy) -> None:
    proxy.faults["Submit"].append(REFUSED)
    with pytest.raises(SubmitError):
        await client.submit("increment", b"counter")
    assert (await client.submit("increment", b"counter")).result == b"1"


async def test_an_unknown_outcome_is_said_and_found_later(connect, proxy) -> None:
    client = connect(patience=Patience(pause_s=0.001, commit_s=0.05))
    proxy.faults["Submit"].append(LOST_ANSWER)
    proxy.faults["CommitStatus"].extend([LOST_REQUEST] * 1000)
    with pytest.raises(CommitUnknown) as unknown:
        await client.submit("increment", b"counter")
    proxy.faults.clear()
    status = await client.commit_status(unknown.value.tx_id, wait_s=5)
    assert status.code_name == "VALID"
    assert await client.evaluate("get", b"counter") == b"1"


async def test_a_status_that_is_refused_is_an_error_of_its_own_stage_and_names_the_transaction(client, proxy) -> None:
    proxy.faults["CommitStatus"].append(Fault(grpc.StatusCode.PERMISSION_DENIED, "no reader of the channel"))
    with pytest.raises(CommitStatusError, match="no reader of the channel") as refused:
        await client.submit("increment", b"counter")
    status = await client.commit_status(refused.value.tx_id, wait_s=5)
    assert status.code_name == "VALID"


@pytest.mark.parametrize("code", ["MVCC_READ_CONFLICT", "ENDORSEMENT_POLICY_FAILURE"])
async def test_a_conflict_beyond_patience_names_code_and_transaction(connect, proxy, code) -> None:
    client = connect(patience=Patience(conflict_s=0.0))
    conflict = gateway_pb2.CommitStatusResponse(result=transaction_pb2.TxValidationCode.Value(code), block_number=3)
    proxy.faults["CommitStatus"].append(Fault(answer=conflict.SerializeToString()))
    with pytest.raises(CommitError) as invalid:
        await client.submit("put", b"k", b"v")
    assert invalid.value.code_name == code
    assert len(invalid.value.tx_id) == 64


async def test_a_key_whose_policy_changed_meanwhile_is_endorsed_anew(client, proxy) -> None:
    """Who must endorse a key may change between endorsement and commit; then others are asked."""
    policy_failure = gateway_pb2.CommitStatusResponse(result=transaction_pb2.ENDORSEMENT_POLICY_FAILURE, block_number=3)
    proxy.faults["CommitStatus"].append(Fault(answer=policy_failure.SerializeToString()))
    await client.submit("put", b"k", b"v")
    assert len(proxy.seen["Endorse"]) == 2


async def test_an_invalid_transaction_is_not_tried_again(client, proxy) -> None:
    forged = gateway_pb2.CommitStatusResponse(result=transaction_pb2.BAD_CREATOR_SIGNATURE, block_number=3)
    proxy.faults["CommitStatus"].append(Fault(answer=forged.SerializeToString()))
    with pytest.raises(CommitError, match="BAD_CREATOR_SIGNATURE"):
        await client.submit("put", b"k", b"v")
    assert len(proxy.seen["Endorse"]) == 1


async def test_a_code_that_this_release_does_not_know_is_an_error_and_not_a_crash(client, proxy) -> None:
    future = gateway_pb2.CommitStatusResponse(result=200, block_number=3)
    proxy.faults["CommitStatus"].append(Fault(answer=future.SerializeToString()))
    with pytest.raises(CommitError, match="200"):
        await client.submit("put", b"k", b"v")


async def test_another_transaction_than_the_proposed_one_is_not_signed(client, proxy) -> None:
    """A gateway peer that would have the client sign somebody else's call."""
    await client.submit("put", b"k", b"v")
    submitted = gateway_pb2.SubmitRequest.FromString(proxy.seen["Submit"][0])
    foreign = gateway_pb2.EndorseResponse(prepared_transaction=submitted.prepared_transaction)
    proxy.faults["Endorse"].append(Fault(answer=foreign.SerializeToString()))
    with pytest.raises(EndorseError, match="not signed"):
        await client.submit("put", b"other", b"v")
    assert len(proxy.seen["Submit"]) == 1


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\x0a\x00\x12\x00"])
async def test_what_is_no_transaction_is_not_signed(client, proxy, payload) -> None:
    garbage = gateway_pb2.EndorseResponse()
    garbage.prepared_transaction.payload = payload
    proxy.faults["Endorse"].append(Fault(answer=garbage.SerializeToString()))
    with pytest.raises(EndorseError):
        await client.submit("put", b"k", b"v")
    assert "Submit" not in proxy.seen
