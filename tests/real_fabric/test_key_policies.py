"""Endorsements that are not enough, on real peers: what they give is in the block, invalid, and the verifier says so too."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from typing import Any

import grpc
import grpc.aio
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2

from fabric import canonical
from fabric.client.gateway import Gateway
from fabric.contract.key_policies import owner_policy
from fabric.contract.keys import key
from fabric.crypto import SigningIdentity
from fabric.rwset import MetadataWrite, NamespaceRwset, Write, build_rwset, parse_rwset
from fabric.transactions import EndorserTransaction, parse_envelope
from fabric.verify import verify_blocks
from tests.real_fabric.consortium import CATCH_UP_SECONDS, CATCH_UP_TRIES, DATASET, GATEWAY, MSPIDS, SPENDS, Consortium, digest, registered
from tests.support.fabric_network import FabricNetwork
from tests.support.raw_client import RawClient, raw_client

pytestmark = pytest.mark.fabric

VALID, POLICY_FAILURE = transaction_pb2.VALID, transaction_pb2.ENDORSEMENT_POLICY_FAILURE
OWNER, OTHERS = MSPIDS[0], MSPIDS[1:]
POLICY = owner_policy(OWNER, MSPIDS)
NOT_ENOUGH = (OTHERS, (OWNER,), OTHERS[:1])
Raw = Callable[..., Any]


@pytest.fixture
async def raw(network: FabricNetwork) -> AsyncIterator[Raw]:
    """Clients of the owner that choose their endorsers themselves: await raw("probe")."""
    async with AsyncExitStack() as opened:

        async def client(chaincode: str, user: str = GATEWAY) -> RawClient:
            return await opened.enter_async_context(raw_client(network.place(OWNER, chaincode), network.identity(OWNER, user)))

        yield client


@pytest.fixture
async def consortium(network: FabricNetwork, connect) -> Consortium:
    return await registered(network, connect)


async def called(client: RawClient, *args: bytes, by: Sequence[str]) -> int:
    """Validation code of a call that the peers of `by` endorsed."""
    tries = CATCH_UP_TRIES
    while True:
        proposal = client.proposal(*args)
        try:
            payload = await client.endorse(proposal, organisations=by)
            break
        except grpc.aio.AioRpcError as error:
            # A peer of `by` may be a block behind what the call builds on.
            tries -= 1
            if error.code() is not grpc.StatusCode.ABORTED or not tries:
                raise
            await asyncio.sleep(CATCH_UP_SECONDS)
    return await handed_in(client, proposal.tx_id, payload)


async def handed_in(client: RawClient, tx_id: str, payload: bytes) -> int:
    await client.send(tx_id, client.envelope(payload))
    return (await client.status(tx_id))[0]


async def verified(client: Gateway) -> None:
    """The verifier finds the codes that the peers gave."""
    blocks = [block async for block in client.blocks(start=0, stop=await client.height() - 1)]
    assert verify_blocks(blocks).height == len(blocks)


async def test_a_guarded_key_needs_its_owner_and_a_majority(raw: Raw, probe: Gateway) -> None:
    client = await raw("probe")
    await probe.submit("guard", b"guarded", b"1", POLICY.hex().encode())
    assert await probe.evaluate("policy", b"guarded") == POLICY.hex().encode()
    for endorsers in NOT_ENOUGH:
        assert await called(client, b"put", b"guarded", b"2", by=endorsers) == POLICY_FAILURE, endorsers
        assert await called(client, b"delete", b"guarded", by=endorsers) == POLICY_FAILURE, endorsers
        foreign = owner_policy(OTHERS[0], MSPIDS).hex().encode()
        assert await called(client, b"guard", b"guarded", b"3", foreign, by=endorsers) == POLICY_FAILURE, endorsers
    assert await probe.evaluate("get", b"guarded") == b"1"
    for endorsers in ((OWNER, OTHERS[0]), (OTHERS[1], OWNER), MSPIDS):
        assert await called(client, b"put", b"guarded", b"4", by=endorsers) == VALID, endorsers
    assert await called(client, b"put", b"another", b"1", by=OTHERS) == VALID  # no policy of its own: the majority
    await verified(probe)


async def test_peers_ask_whomever_a_guarded_key_needs(connect, probe: Gateway) -> None:
    """Whoever calls, through whichever peer: the owner's peer endorses."""
    await probe.submit("guard", b"planned", b"1", POLICY.hex().encode())
    for mspid in MSPIDS:
        committed = await connect(mspid).submit("put", b"planned", mspid.encode())
        transactions = await endorsed_in(probe, committed.block_number)
        (transaction,) = [one for one in transactions if one.tx_id == committed.tx_id]
        assert any(OWNER.encode() in endorsement.endorser for endorsement in transaction.endorsements)


async def endorsed_in(client: Gateway, number: int) -> list[EndorserTransaction]:
    (block,) = [block async for block in client.blocks(start=number, stop=number)]
    return [one for one in map(parse_envelope, block.data.data) if isinstance(one, EndorserTransaction)]


async def test_a_policy_that_changes_makes_later_writers_of_its_block_invalid(raw: Raw, probe: Gateway) -> None:
    """Sent together, so that most come to stand in one block; what stands in another, or before the change, is valid."""
    client = await raw("probe")
    names = [f"changing-{number}".encode() for number in range(10)]
    calls = [call for name in names for call in ((b"guard", name, b"1", POLICY.hex().encode()), (b"put", name, b"2"))]
    proposals = [client.proposal(*call) for call in calls]
    payloads = [await client.endorse(proposal, organisations=MSPIDS) for proposal in proposals]
    await asyncio.gather(
        *(client.send(proposal.tx_id, client.envelope(payload)) for proposal, payload in zip(proposals, payloads, strict=True))
    )
    fates = [await client.status(proposal.tx_id) for proposal in proposals]
    judged_late = 0
    for name, (guard, guarded_in), (put, put_in) in zip(names, fates[::2], fates[1::2], strict=True):
        first = next(one.function for one in await endorsed_in(probe, put_in) if one.args[1] == name)
        overtaken = guarded_in == put_in and first == "guard"
        assert (guard, put) == (VALID, POLICY_FAILURE if overtaken else VALID)
        judged_late += overtaken
    assert judged_late
    await verified(probe)


async def test_an_approval_needs_the_hospitals_own_peer(raw: Raw, connect, consortium: Consortium) -> None:
    task_id = "approved-by-itself"
    await consortium.submit(task_id, rounds=1)
    client = await raw("consortium")
    refusal = canonical.dumps({"task_id": task_id, "digest": digest(task_id), "reason": "not in this hospital's name"})
    for endorsers in NOT_ENOUGH:
        assert await called(client, b"reject_task", refusal, by=endorsers) == POLICY_FAILURE, endorsers
    assert (await consortium.any.task(task_id)).decisions == ()
    await consortium.approve(task_id, rounds=1)
    await consortium.researcher.abort_task(task_id=task_id, reason="the approvals were all that was wanted")
    await verified(connect(chaincode="consortium"))


async def test_a_debit_needs_the_hospitals_own_peer(raw: Raw, connect, consortium: Consortium) -> None:
    task_id = "debited-by-itself"
    await consortium.submit(task_id, rounds=1)
    await consortium.approve(task_id, rounds=1)
    await consortium.make_key(task_id)
    client = await raw("consortium")
    before = await consortium.any.budget(OWNER, DATASET)
    debit = canonical.dumps({"task_id": task_id, "round": 1, "spends": [asdict(spend) for spend in SPENDS]})
    for endorsers in NOT_ENOUGH:
        assert await called(client, b"debit", debit, by=endorsers) == POLICY_FAILURE, endorsers
    assert await consortium.any.budget(OWNER, DATASET) == before
    assert await called(client, b"debit", debit, by=(OTHERS[1], OWNER)) == VALID
    await consortium.researcher.abort_task(task_id=task_id, reason="the debit was all that was wanted")
    await verified(connect(chaincode="consortium"))


async def test_forged_results_change_no_budget(raw: Raw, network: FabricNetwork, connect, consortium: Consortium) -> None:
    """Peers that sign what no contract gave them: a budget with more left, a key without its policy, a budget that is gone."""
    client, name = await raw("consortium"), key("filter", OWNER, DATASET, "train")
    before = await consortium.any.budget(OWNER, DATASET)
    raised = {"epsilon_micro": 10**9, "delta_inverse": 10, "caps_micro": [10**9] * 15, "spent_micro": [0] * 15, "schema": 1}
    forgeries = (
        NamespaceRwset("consortium", writes=(Write(name, canonical.dumps(raised)),)),
        NamespaceRwset("consortium", metadata_writes=(MetadataWrite(name, ()),)),
        NamespaceRwset("consortium", writes=(Write(name, None),)),
    )
    for rwset in forgeries:
        for signers in (
            [network.identity(OWNER, "peer")],
            [network.identity(mspid, "peer") for mspid in OTHERS],
            [network.identity(mspid, GATEWAY) for mspid in MSPIDS],
            [replace(network.identity(OWNER, "peer"), private_key=network.identity(OTHERS[0], "peer").private_key)]
            + [network.identity(mspid, "peer") for mspid in OTHERS],
        ):
            proposal = client.proposal(b"heartbeat")
            payload = forged(await client.endorse(proposal), rwset, signers)
            assert await handed_in(client, proposal.tx_id, payload) == POLICY_FAILURE
    assert await consortium.any.budget(OWNER, DATASET) == before
    await verified(connect(chaincode="consortium"))


def forged(payload: bytes, rwset: NamespaceRwset, signers: Sequence[SigningIdentity]) -> bytes:
    """The transaction with other writes of the contract, and endorsed by these."""
    message = common_pb2.Payload.FromString(payload)
    transaction = transaction_pb2.Transaction.FromString(message.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    response = proposal_response_pb2.ProposalResponsePayload.FromString(action.action.proposal_response_payload)
    result = proposal_pb2.ChaincodeAction.FromString(response.extension)
    others = [one for one in parse_rwset(result.results) if one.namespace != rwset.namespace]
    result.results = build_rwset([*others, rwset])
    response.extension = result.SerializeToString()
    signed = action.action.proposal_response_payload = response.SerializeToString()
    del action.action.endorsements[:]
    for signer in signers:
        action.action.endorsements.add(endorser=signer.serialized, signature=signer.sign(signed + signer.serialized))
    transaction.actions[0].payload = action.SerializeToString()
    message.data = transaction.SerializeToString()
    data: bytes = message.SerializeToString()
    return data
