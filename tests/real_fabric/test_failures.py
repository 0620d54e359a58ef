"""How refusals, failing contracts and peers' errors reach the caller, and what stands in the service's log."""

import pytest

from fabric.client.errors import CommitError, ContractRefused, EndorseError, EvaluateError, LedgerUnavailable
from fabric.client.gateway import Gateway
from fabric.client.patience import Patience
from gateway.network.description import CHANNEL
from tests.support.probe_contract import SECRET

pytestmark = pytest.mark.fabric

IMPATIENT = Patience(unavailable_s=1.0, conflict_s=0.0)


@pytest.mark.parametrize("ask", ["evaluate", "submit"])
async def test_a_refusal_surfaces_with_code_and_sentence(probe: Gateway, ask: str) -> None:
    with pytest.raises(ContractRefused) as refused:
        await getattr(probe, ask)("refuse")
    assert (refused.value.code, refused.value.sentence) == ("NOT_ALLOWED", "you may not: ask your administrator")
    with pytest.raises(ContractRefused, match="NOT_FOUND"):
        await probe.evaluate("get", b"refused")


@pytest.mark.parametrize("ask", ["evaluate", "submit"])
@pytest.mark.parametrize("function", ["crash", "exit", "recurse", "text"])
async def test_a_failing_contract_is_answered_and_gives_nothing_away(network, probe: Gateway, function: str, ask: str) -> None:
    with pytest.raises(ContractRefused) as failed:
        await getattr(probe, ask)(function)
    assert failed.value.code == "INTERNAL"
    log = network.log("probe-AlphaMSP") + network.log("probe-BetaMSP") + network.log("probe-GammaMSP")
    assert "failed with" in log
    assert SECRET not in str(failed.value) + log


@pytest.mark.parametrize("function", ["peer_error", "swallow"])
async def test_a_peers_error_fails_the_call_even_if_the_contract_goes_on(probe: Gateway, function: str) -> None:
    with pytest.raises(EvaluateError, match="the peer could not answer"):
        await probe.evaluate(function)
    with pytest.raises(EndorseError, match="the peer could not answer"):
        await probe.submit(function)


async def test_peers_that_answer_differently_endorse_nothing(connect) -> None:
    with pytest.raises(EndorseError, match="ProposalResponsePayloads do not match"):
        # With the usual patience: peers that a test before this one restarted may not have found each other yet.
        await connect().submit("differ")


async def test_an_unknown_function_and_a_missing_chaincode(connect, probe: Gateway) -> None:
    with pytest.raises(ContractRefused, match="UNKNOWN_FUNCTION"):
        await probe.submit("no-such-function")
    with pytest.raises(LedgerUnavailable, match="nowhere"):
        await connect(chaincode="nowhere", patience=IMPATIENT).submit("put", b"k", b"v")


async def test_a_foreign_identity_is_refused(network, connect) -> None:
    beta = network.identity("BetaMSP")
    forged = type(beta)("AlphaMSP", beta.certificate_pem, beta.private_key)
    client = Gateway.connect(network.endpoint("AlphaMSP"), network.tls_ca("AlphaMSP"), CHANNEL, "probe", forged, patience=IMPATIENT)
    try:
        with pytest.raises(EndorseError):
            await client.submit("put", b"forged", b"v")
        with pytest.raises(EvaluateError):
            await client.evaluate("get", b"forged")
    finally:
        await client.close()


async def test_a_conflict_that_may_not_be_retried_names_its_code(connect) -> None:
    import asyncio

    client = connect(patience=IMPATIENT)
    results = await asyncio.gather(*(client.submit("increment", b"conflict") for _ in range(8)), return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    assert failures
    assert {failure.code_name for failure in failures if isinstance(failure, CommitError)} == {"MVCC_READ_CONFLICT"}
    assert all(isinstance(failure, CommitError) for failure in failures)
    assert await client.evaluate("get", b"conflict") == str(8 - len(failures)).encode()
