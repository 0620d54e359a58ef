"""The Gateway service: good calls, and each bad one with the status, message and detail that a Fabric peer gives."""

import asyncio
import datetime
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2

from fabric.client.proposal import build
from fabric.crypto import SigningIdentity
from fabric.devpki import issue_identity
from fabric.transactions import EndorserTransaction, parse_envelope
from fabric.verify import verify_blocks
from tests.support.ledger import RunningNetwork
from tests.support.raw_client import NEWEST, OLDEST, RawClient, details, position, raw_client

pytestmark = pytest.mark.asyncio(loop_scope="module")
CODES = grpc.StatusCode


async def test_what_is_submitted_can_be_read(client: RawClient) -> None:
    tx_id, code, number = await client.submit(b"put", b"greeting", b"hello")
    assert code == transaction_pb2.VALID
    assert await client.evaluate(client.proposal(b"get", b"greeting")) == b"hello"
    assert await client.status(tx_id) == (code, number)


async def test_the_contract_learns_who_calls(client: RawClient) -> None:
    answer = await client.evaluate(client.proposal(b"whoami"))
    assert answer == b"AlphaMSP " + client.identity.certificate_pem


async def test_an_evaluation_writes_nothing(client: RawClient, network: RunningNetwork) -> None:
    height = network.server.height
    assert await client.evaluate(client.proposal(b"put", b"ghost", b"1")) == b"ok"
    assert await client.evaluate(client.proposal(b"get", b"ghost")) == b""
    assert network.server.height == height


async def test_a_majority_endorses_in_the_order_of_the_configuration(client: RawClient) -> None:
    transaction = parsed(client, await client.endorse(client.proposal(b"put", b"k", b"v")))
    assert [mspid_of(e.endorser) for e in transaction.endorsements] == ["AlphaMSP", "BetaMSP"]


async def test_a_client_may_name_the_endorsers(client: RawClient) -> None:
    payload = await client.endorse(client.proposal(b"put", b"k", b"v"), organisations=["GammaMSP", "BetaMSP", "GammaMSP"])
    transaction = parsed(client, payload)
    assert [mspid_of(e.endorser) for e in transaction.endorsements] == ["GammaMSP", "BetaMSP"]
    with pytest.raises(grpc.aio.AioRpcError, match="DeltaMSP") as caught:
        await client.endorse(client.proposal(b"put", b"k", b"v"), organisations=["DeltaMSP"])
    assert caught.value.code() is CODES.UNAVAILABLE


async def test_a_client_may_name_who_evaluates(client: RawClient) -> None:
    request = gateway_pb2.EvaluateRequest(
        channel_id="consortium", proposed_transaction=client.proposal(b"whoami").signed, target_organizations=["DeltaMSP", "BetaMSP"]
    )
    assert (await client.gateway.Evaluate(request)).result.payload.startswith(b"AlphaMSP ")
    del request.target_organizations[1]
    with pytest.raises(grpc.aio.AioRpcError, match="DeltaMSP") as caught:
        await client.gateway.Evaluate(request)
    assert caught.value.code() is CODES.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((b"nothing",), "chaincode response 500, UNKNOWN_FUNCTION: there is no function 'nothing'"),
        ((b"crash",), "chaincode response 500, INTERNAL: the contract failed on this call; the ledger's log names the error"),
        ((b"put", b"k", b""), "chaincode response 500, INTERNAL: the contract failed on this call; the ledger's log names the error"),
    ],
)
async def test_a_refusal_arrives_whole(client: RawClient, call: tuple[bytes, ...], message: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.evaluate(client.proposal(*call))
    assert caught.value.code() is CODES.UNKNOWN
    assert caught.value.details() == f"evaluate call to endorser returned error: {message}"
    assert details(caught.value) == [("AlphaMSP", message)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.endorse(client.proposal(*call))
    assert caught.value.code() is CODES.ABORTED
    assert caught.value.details() == "failed to endorse transaction, see attached details for more info"
    assert details(caught.value) == [("AlphaMSP", message)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.endorse(client.proposal(*call), organisations=["AlphaMSP", "BetaMSP"])
    assert caught.value.details() == "failed to collect enough transaction endorsements, see attached details for more info"


async def refused_proposal(client: RawClient, signed: object, reason: str) -> None:
    """Both Evaluate and Endorse refuse, with the peer's codes and the reason in the detail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.gateway.Evaluate(gateway_pb2.EvaluateRequest(channel_id="consortium", proposed_transaction=signed))
    assert caught.value.code() is CODES.FAILED_PRECONDITION
    assert reason in details(caught.value)[0][1]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.gateway.Endorse(gateway_pb2.EndorseRequest(channel_id="consortium", proposed_transaction=signed))
    assert caught.value.code() is CODES.ABORTED
    assert reason in details(caught.value)[0][1]


async def test_a_signature_of_another_key_is_refused(client: RawClient, network: RunningNetwork) -> None:
    proposal = client.proposal(b"get", b"k")
    forged = network.identity("AlphaMSP", "researcher").sign(proposal.signed.proposal_bytes)
    await refused_proposal(
        client, proposal_pb2.SignedProposal(proposal_bytes=proposal.signed.proposal_bytes, signature=forged), "signature does not match"
    )


async def test_a_changed_proposal_is_refused(client: RawClient) -> None:
    proposal = client.proposal(b"put", b"key", b"amount-1")
    changed = proposal.signed.proposal_bytes.replace(b"amount-1", b"amount-9")
    await refused_proposal(
        client, proposal_pb2.SignedProposal(proposal_bytes=changed, signature=proposal.signed.signature), "signature does not match"
    )


async def test_a_certificate_under_another_organisations_name_is_refused(client: RawClient, network: RunningNetwork) -> None:
    stranger = replace(network.identity("BetaMSP"), mspid="AlphaMSP")
    unknown = replace(network.identity("BetaMSP"), mspid="DeltaMSP")
    for identity, reason in ((stranger, "not issued by a certificate authority"), (unknown, "'DeltaMSP' is not an organisation")):
        await refused_proposal(client, client.proposal(b"get", b"k", identity=identity).signed, reason)


async def test_an_expired_certificate_is_refused(client: RawClient, network: RunningNetwork) -> None:
    organisation, day = network.organisations["AlphaMSP"], datetime.timedelta(days=1)
    issue_identity(organisation, "expired", "client", now=datetime.datetime.now(datetime.UTC) - 2 * day, lifetime=day)
    await refused_proposal(client, client.proposal(b"get", b"k", identity=organisation.identity("expired")).signed, "expired on")


async def test_an_id_that_is_not_the_digest_is_refused(client: RawClient) -> None:
    proposal = client.proposal(b"get", b"k")
    changed = proposal.signed.proposal_bytes.replace(proposal.tx_id.encode(), b"0" * 64)
    signed = proposal_pb2.SignedProposal(proposal_bytes=changed, signature=client.identity.sign(changed))
    await refused_proposal(client, signed, "transaction id is not the digest")


async def test_another_channel_or_chaincode_is_refused(client: RawClient) -> None:
    await refused_proposal(client, client.proposal(b"get", b"k", channel="elsewhere").signed, "channel 'elsewhere' not found")
    await refused_proposal(client, client.proposal(b"get", b"k", chaincode="other").signed, "chaincode other not found")


async def test_a_used_id_is_refused(client: RawClient) -> None:
    proposal = client.proposal(b"put", b"k", b"v")
    await client.send(proposal.tx_id, client.envelope(await client.endorse(proposal)))
    await refused_proposal(client, proposal.signed, f"duplicate transaction found [{proposal.tx_id}]")


@pytest.mark.parametrize("noise", [b"", b"\xff\xff", b"\x0a\x03abc\x12\x03abc"])
async def test_bytes_that_are_no_proposal_are_invalid(client: RawClient, noise: bytes) -> None:
    signed = proposal_pb2.SignedProposal(proposal_bytes=noise, signature=b"s")
    for method, request in ((client.gateway.Evaluate, gateway_pb2.EvaluateRequest), (client.gateway.Endorse, gateway_pb2.EndorseRequest)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(request(proposed_transaction=signed))
        assert caught.value.code() in (CODES.INVALID_ARGUMENT, CODES.FAILED_PRECONDITION, CODES.ABORTED)


async def test_the_same_envelope_twice_takes_effect_once(client: RawClient) -> None:
    proposal = client.proposal(b"increment", b"once")
    envelope = client.envelope(await client.endorse(proposal))
    await client.send(proposal.tx_id, envelope)
    first = await client.status(proposal.tx_id)
    await asyncio.gather(client.send(proposal.tx_id, envelope), client.send(proposal.tx_id, envelope))
    assert await client.status(proposal.tx_id) == first
    assert first[0] == transaction_pb2.VALID
    assert await client.evaluate(client.proposal(b"get", b"once")) == b"1"


async def test_of_colliding_transactions_one_wins(client: RawClient) -> None:
    await client.submit(b"put", b"counter", b"0")
    proposals = [client.proposal(b"increment", b"counter") for _ in range(8)]
    payloads = [await client.endorse(proposal) for proposal in proposals]
    await asyncio.gather(*(client.send(p.tx_id, client.envelope(payload)) for p, payload in zip(proposals, payloads, strict=True)))
    codes = [(await client.status(proposal.tx_id))[0] for proposal in proposals]
    assert sorted(codes) == [transaction_pb2.VALID] + [transaction_pb2.MVCC_READ_CONFLICT] * 7
    assert await client.evaluate(client.proposal(b"get", b"counter")) == b"1"


async def test_a_phantom_in_a_range_is_a_conflict(client: RawClient) -> None:
    await client.submit(b"put", b"range/1", b"x")
    counting = client.proposal(b"count", b"range/", b"range0", b"total")
    payload = await client.endorse(counting)
    await client.submit(b"put", b"range/2", b"x")
    await client.send(counting.tx_id, client.envelope(payload))
    assert (await client.status(counting.tx_id))[0] == transaction_pb2.PHANTOM_READ_CONFLICT
    assert await client.evaluate(client.proposal(b"get", b"total")) == b""


def parsed(client: RawClient, payload: bytes) -> EndorserTransaction:
    transaction = parse_envelope(client.envelope(payload).SerializeToString())
    assert isinstance(transaction, EndorserTransaction)
    return transaction


def mspid_of(endorser: bytes) -> str:
    return endorser[2 : 2 + endorser[1]].decode()


def with_action(payload: bytes, change: object) -> bytes:
    """The transaction with its ChaincodeActionPayload changed by `change(action)`."""
    outer = common_pb2.Payload.FromString(payload)
    transaction = transaction_pb2.Transaction.FromString(outer.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    change(action)  # type: ignore[operator] # a plain function of the test
    transaction.actions[0].payload = action.SerializeToString()
    outer.data = transaction.SerializeToString()
    data: bytes = outer.SerializeToString()
    return data


def drop_second(action: transaction_pb2.ChaincodeActionPayload) -> None:
    del action.action.endorsements[1]


def repeat_first(action: transaction_pb2.ChaincodeActionPayload) -> None:
    action.action.endorsements[1].CopyFrom(action.action.endorsements[0])


def spoil_signature(action: transaction_pb2.ChaincodeActionPayload) -> None:
    first = action.action.endorsements[0]
    first.signature = first.signature[:-1] + bytes([first.signature[-1] ^ 1])


def change_results(action: transaction_pb2.ChaincodeActionPayload) -> None:
    response = proposal_response_pb2.ProposalResponsePayload.FromString(action.action.proposal_response_payload)
    response.extension = response.extension.replace(b"one-token", b"two-token")
    action.action.proposal_response_payload = response.SerializeToString()


@pytest.mark.parametrize("change", [drop_second, repeat_first, spoil_signature, change_results])
async def test_a_tampered_endorsement_is_recorded_as_invalid(client: RawClient, change: object) -> None:
    proposal = client.proposal(b"put", b"tampered", b"one-token")
    await client.send(proposal.tx_id, client.envelope(with_action(await client.endorse(proposal), change)))
    assert (await client.status(proposal.tx_id))[0] == transaction_pb2.ENDORSEMENT_POLICY_FAILURE
    assert await client.evaluate(client.proposal(b"get", b"tampered")) == b""


async def test_one_organisation_alone_cannot_endorse(client: RawClient) -> None:
    proposal = client.proposal(b"put", b"alone", b"1")
    await client.send(proposal.tx_id, client.envelope(await client.endorse(proposal, organisations=["GammaMSP"])))
    assert (await client.status(proposal.tx_id))[0] == transaction_pb2.ENDORSEMENT_POLICY_FAILURE


async def test_only_peers_endorse(client: RawClient, network: RunningNetwork) -> None:
    """Signatures of clients over the right bytes count for nothing."""
    proposal = client.proposal(b"put", b"clients", b"1")

    def by_clients(action: transaction_pb2.ChaincodeActionPayload) -> None:
        signed = action.action.proposal_response_payload
        for endorsement, mspid in zip(action.action.endorsements, ("AlphaMSP", "BetaMSP"), strict=True):
            identity: SigningIdentity = network.identity(mspid)
            endorsement.endorser, endorsement.signature = identity.serialized, identity.sign(signed + identity.serialized)

    await client.send(proposal.tx_id, client.envelope(with_action(await client.endorse(proposal), by_clients)))
    assert (await client.status(proposal.tx_id))[0] == transaction_pb2.ENDORSEMENT_POLICY_FAILURE


async def refused_submission(client: RawClient, network: RunningNetwork, envelope: object, status: str, reason: str) -> None:
    height = network.server.height
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.send("any", envelope)
    assert caught.value.code() is CODES.ABORTED
    message = caught.value.details() or ""
    assert message.startswith(f"received unsuccessful response from orderer: status={status}, info=")
    assert reason in message
    assert network.server.height == height


async def test_an_envelope_signed_by_another_is_forbidden(client: RawClient, network: RunningNetwork) -> None:
    payload = await client.endorse(client.proposal(b"put", b"k", b"v"))
    forged = common_pb2.Envelope(payload=payload, signature=network.identity("AlphaMSP", "researcher").sign(payload))
    await refused_submission(client, network, forged, "FORBIDDEN", "signature does not match")


async def test_endorsements_of_another_proposal_are_refused(client: RawClient, network: RunningNetwork) -> None:
    endorsed = await client.endorse(client.proposal(b"put", b"k", b"cheap"))
    action = with_action(
        endorsed,
        lambda action: setattr(action, "chaincode_proposal_payload", action.chaincode_proposal_payload.replace(b"cheap", b"steal")),
    )
    await refused_submission(client, network, client.envelope(action), "BAD_REQUEST", "proposal hash does not match")


async def test_a_foreign_configuration_is_refused(client: RawClient, network: RunningNetwork) -> None:
    channel = common_pb2.ChannelHeader(type=common_pb2.CONFIG, channel_id=network.channel)
    signer = common_pb2.SignatureHeader(creator=client.identity.serialized, nonce=b"n")
    header = common_pb2.Header(channel_header=channel.SerializeToString(), signature_header=signer.SerializeToString())
    envelope = client.envelope(common_pb2.Payload(header=header).SerializeToString())
    await refused_submission(client, network, envelope, "BAD_REQUEST", "configuration cannot be changed")


async def test_noise_is_refused(client: RawClient, network: RunningNetwork) -> None:
    await refused_submission(client, network, client.envelope(b"\xff\xfe"), "BAD_REQUEST", "envelope")


async def test_an_unsigned_transaction_is_invalid(client: RawClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="must be signed") as caught:
        await client.send("any", common_pb2.Envelope(payload=await client.endorse(client.proposal(b"put", b"k", b"v"))))
    assert caught.value.code() is CODES.INVALID_ARGUMENT


async def test_an_oversized_message_is_refused_before_it_is_read(client: RawClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.evaluate(client.proposal(b"put", b"k", bytes(11 * 1024 * 1024)))
    assert caught.value.code() is CODES.RESOURCE_EXHAUSTED


async def test_commit_status_waits_for_the_transaction(client: RawClient) -> None:
    proposal = client.proposal(b"put", b"later", b"1")
    envelope = client.envelope(await client.endorse(proposal))
    waiting = asyncio.ensure_future(client.status(proposal.tx_id))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.status(proposal.tx_id, timeout_s=0.2)
    assert caught.value.code() is CODES.DEADLINE_EXCEEDED
    assert not waiting.done()
    await client.send(proposal.tx_id, envelope)
    assert (await waiting)[0] == transaction_pb2.VALID


async def test_status_and_events_are_for_members(client: RawClient, network: RunningNetwork) -> None:
    stranger = replace(network.identity("BetaMSP"), mspid="AlphaMSP")
    async with raw_client(network, stranger) as raw:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw.status("any")
        assert caught.value.code() is CODES.PERMISSION_DENIED
    request = gateway_pb2.ChaincodeEventsRequest(channel_id=network.channel, chaincode_id="consortium", identity=client.identity.serialized)
    data = request.SerializeToString()
    call = client.gateway.ChaincodeEvents(gateway_pb2.SignedChaincodeEventsRequest(request=data, signature=stranger.sign(data)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is CODES.PERMISSION_DENIED


async def events(client: RawClient, count: int, **request: object) -> list[tuple[str, bytes]]:
    """The first `count` events of a stream: transaction id and payload."""
    data = gateway_pb2.ChaincodeEventsRequest(
        channel_id=client.network.channel,
        chaincode_id=client.network.chaincode,
        identity=client.identity.serialized,
        **request,
    ).SerializeToString()
    call = client.gateway.ChaincodeEvents(gateway_pb2.SignedChaincodeEventsRequest(request=data, signature=client.identity.sign(data)))
    found: list[tuple[str, bytes]] = []
    async for response in call:
        found += [(event.tx_id, event.payload) for event in response.events]
        if len(found) >= count:
            break
    call.cancel()
    return found


async def test_events_from_a_block_after_a_transaction_and_from_now(client: RawClient) -> None:
    one, _, number = await client.submit(b"put", b"event-1", b"x")
    await client.submit(b"increment", b"silent")
    two, _, _ = await client.submit(b"put", b"event-2", b"x")
    assert await events(client, 2, start_position=position(number)) == [(one, b"event-1"), (two, b"event-2")]
    assert await events(client, 1, start_position=position(0), after_transaction_id=one) == [(two, b"event-2")]
    following = asyncio.ensure_future(events(client, 1, after_transaction_id=two))
    three, _, _ = await client.submit(b"put", b"event-3", b"x")
    assert await following == [(three, b"event-3")]


async def test_an_invalid_transaction_sends_no_event(client: RawClient) -> None:
    _, _, number = await client.submit(b"put", b"before", b"x")
    proposal = client.proposal(b"put", b"never", b"x")
    await client.send(proposal.tx_id, client.envelope(await client.endorse(proposal, organisations=["BetaMSP"])))
    await client.submit(b"put", b"after", b"x")
    assert [payload for _, payload in await events(client, 2, start_position=position(number))] == [b"before", b"after"]


async def test_transient_values_reach_no_block(client: RawClient, network: RunningNetwork) -> None:
    proposal = build(
        client.identity,
        network.channel,
        network.chaincode,
        [b"put", b"k", b"v"],
        {"secret": b"canary-value"},
        nonce=b"n" * 24,
        time_ns=time.time_ns(),
    )
    assert b"canary-value" in proposal.signed.proposal_bytes
    assert b"canary-value" not in await client.endorse(proposal)


async def test_the_chain_of_all_these_tests_verifies(client: RawClient, network: RunningNetwork) -> None:
    """Runs last in this module: an auditor recomputes every code that the tests above caused."""
    call = client.deliver.Deliver(iter([client.seek(OLDEST, NEWEST)]))
    blocks = [response.block async for response in call_until_status(call)]
    verified = verify_blocks(blocks)
    assert verified.height == network.server.height
    assert set(verified.codes) == {"VALID", "DUPLICATE_TXID", "MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT", "ENDORSEMENT_POLICY_FAILURE"}


async def call_until_status(call: Any) -> AsyncIterator[Any]:
    async for response in call:
        if response.WhichOneof("Type") == "status":
            break
        yield response
    call.cancel()
