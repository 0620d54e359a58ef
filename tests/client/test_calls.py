"""Calls that go well, calls that the contract or the ledger refuses."""

import asyncio

import grpc
import pytest

from fabric.client.errors import ContractRefused, EndorseError, EvaluateError, LedgerUnavailable
from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from tests.support.faulty_proxy import Fault
from tests.support.ledger import free_port
from tests.support.probe_contract import SECRET


async def test_a_value_is_written_once_and_read(client, proxy) -> None:
    committed = await client.submit("put", b"key", b"value")
    assert committed.result.decode() == committed.tx_id
    assert await client.evaluate("get", b"key") == b"value"
    status = await client.commit_status(committed.tx_id, wait_s=1)
    assert (status.code_name, status.block_number) == ("VALID", committed.block_number)
    assert {method: len(calls) for method, calls in proxy.seen.items()} == {"Endorse": 1, "Submit": 1, "Evaluate": 1, "CommitStatus": 2}


@pytest.mark.parametrize("ask", ["evaluate", "submit"])
async def test_a_refusal_surfaces_with_code_and_sentence(client, ask) -> None:
    with pytest.raises(ContractRefused) as refused:
        await getattr(client, ask)("refuse")
    assert (refused.value.code, refused.value.sentence) == ("NOT_ALLOWED", "you may not: ask your administrator")


@pytest.mark.parametrize("function", ["crash", "recurse"])
@pytest.mark.parametrize("ask", ["evaluate", "submit"])
async def test_a_contract_that_fails_is_answered_and_gives_nothing_away(client, ask, function) -> None:
    with pytest.raises(ContractRefused) as failed:
        await getattr(client, ask)(function)
    assert failed.value.code == "INTERNAL"
    assert SECRET not in str(failed.value)


async def test_a_peers_own_words_are_not_taken_for_a_refusal(client, proxy) -> None:
    proxy.faults["Endorse"].append(Fault(grpc.StatusCode.ABORTED, "TLS_FAILURE: something between peers"))
    with pytest.raises(EndorseError):
        await client.submit("put", b"k", b"v")


async def test_a_foreign_identity_is_refused_at_once(ledger, connect, proxy) -> None:
    beta = ledger.identity("BetaMSP")
    forged = connect(type(beta)("AlphaMSP", beta.certificate_pem, beta.private_key))
    with pytest.raises(EndorseError):
        await forged.submit("put", b"k", b"v")
    with pytest.raises(EvaluateError):
        await forged.evaluate("get", b"k")
    assert (len(proxy.seen["Endorse"]), len(proxy.seen["Evaluate"])) == (1, 1)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_a_ledger_that_cannot_answer_yet_is_asked_again(client, proxy, code) -> None:
    proxy.faults["Endorse"].extend([Fault(code)] * 3)
    proxy.faults["Evaluate"].extend([Fault(code)] * 3)
    await client.submit("put", b"key", b"value")
    assert await client.evaluate("get", b"key") == b"value"


async def test_patience_ends(connect, proxy) -> None:
    client = connect(patience=Patience(pause_s=0.001, unavailable_s=0.0))
    for method in ("Endorse", "Evaluate", "Deliver"):
        proxy.faults[method].append(Fault())
    for call in (client.submit("put", b"k", b"v"), client.evaluate("get", b"k"), client.height()):
        with pytest.raises(LedgerUnavailable):
            await call


async def test_nobody_listening_is_said_in_a_sentence_with_the_address(ledger) -> None:
    endpoint = f"localhost:{free_port()}"
    patience = Patience(pause_s=0.001, unavailable_s=0.01)
    client = Gateway.connect(endpoint, ledger.tls_ca, ledger.channel, ledger.chaincode, ledger.identity("AlphaMSP"), patience=patience)
    with pytest.raises(LedgerUnavailable, match=endpoint):
        await client.evaluate("get", b"k")
    await client.close()


async def test_many_callers_that_collide_are_each_counted_once(client) -> None:
    committed = await asyncio.gather(*(client.submit("increment", b"hot") for _ in range(32)))
    assert sorted(int(one.result) for one in committed) == list(range(1, 33))
    assert await client.evaluate("get", b"hot") == b"32"


async def test_phantoms_are_run_again(client) -> None:
    committed = await asyncio.gather(*(client.submit("count", b"phantom-") for _ in range(8)))
    assert sorted(int(one.result) for one in committed) == list(range(8))
