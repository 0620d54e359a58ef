"""Keys with an endorsement policy of their own on the embedded ledger: who endorses, what is valid, and that the auditor agrees."""

import sqlite3
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.contract.key_policies import owner_policy
from fabric.verify import verify_blocks
from fabric.worldstate import Space
from tests.support import probe_contract
from tests.support.ledger import RunningNetwork, dev_ledger
from tests.support.raw_client import RawClient, raw_client

MSPIDS = ("AlphaMSP", "BetaMSP", "GammaMSP", "DeltaMSP")
VALID, POLICY_FAILURE = int(transaction_pb2.VALID), int(transaction_pb2.ENDORSEMENT_POLICY_FAILURE)


def policy(owner: str) -> bytes:
    return owner_policy(owner, MSPIDS)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningNetwork]:
    async with dev_ledger(tmp_path_factory.mktemp("guarded"), mspids=MSPIDS, contract=probe_contract.invoke) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(network: RunningNetwork) -> AsyncIterator[RawClient]:
    async with raw_client(network, network.identity("DeltaMSP")) as raw:
        yield raw


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def called(client: RawClient, *args: bytes, by: Sequence[str] = ()) -> int:
    """Validation code of a call that the peers of `by` endorsed, or those that the ledger chooses."""
    proposal = client.proposal(*args)
    await client.send(proposal.tx_id, client.envelope(await client.endorse(proposal, organisations=by)))
    return (await client.status(proposal.tx_id))[0]


async def endorsers(client: RawClient, *args: bytes) -> list[str]:
    payload = common_pb2.Payload.FromString(await client.endorse(client.proposal(*args)))
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction_pb2.Transaction.FromString(payload.data).actions[0].payload)
    return [endorsement.endorser[2 : 2 + endorsement.endorser[1]].decode() for endorsement in action.action.endorsements]


async def guarded(client: RawClient, name: bytes, owner: str) -> None:
    assert await called(client, b"guard", name, b"1", policy(owner).hex().encode()) == VALID


@pytest.mark.parametrize("by", [("AlphaMSP", "BetaMSP", "GammaMSP"), ("DeltaMSP",), ("DeltaMSP", "AlphaMSP"), ("AlphaMSP",)], ids="-".join)
async def test_without_the_owner_or_a_majority_it_is_invalid(client: RawClient, by: Sequence[str]) -> None:
    await guarded(client, b"budget", "DeltaMSP")
    foreign = policy("AlphaMSP").hex().encode()
    for call in ((b"put", b"budget", b"2"), (b"delete", b"budget"), (b"guard", b"budget", b"1", foreign)):
        assert await called(client, *call, by=by) == POLICY_FAILURE
    assert await client.evaluate(client.proposal(b"get", b"budget")) == b"1"
    assert await client.evaluate(client.proposal(b"policy", b"budget")) == policy("DeltaMSP").hex().encode()
    assert await called(client, b"put", b"budget", b"1", by=("DeltaMSP", "AlphaMSP", "GammaMSP")) == VALID


async def test_the_ledger_chooses_as_few_endorsers_as_the_keys_need(client: RawClient) -> None:
    await guarded(client, b"own", "DeltaMSP")
    await guarded(client, b"first", "AlphaMSP")
    assert await endorsers(client, b"put", b"free", b"1") == ["AlphaMSP", "BetaMSP", "GammaMSP"]
    assert await endorsers(client, b"put", b"first", b"1") == ["AlphaMSP", "BetaMSP", "GammaMSP"]
    assert await endorsers(client, b"put", b"own", b"1") == ["DeltaMSP", "AlphaMSP", "BetaMSP"]
    await guarded(client, b"beta", "BetaMSP")
    await guarded(client, b"gamma", "GammaMSP")
    assert set(await endorsers(client, b"put", b"gamma", b"1")) >= {"GammaMSP"}


async def test_a_policy_nobody_here_can_satisfy_is_refused_before_anything_is_submitted(client: RawClient) -> None:
    elsewhere = owner_policy("OmegaMSP", ("OmegaMSP", "AlphaMSP", "BetaMSP")).hex().encode()
    assert await called(client, b"guard", b"elsewhere", b"1", elsewhere) == VALID
    with pytest.raises(Exception, match="no combination of peers"):
        await client.endorse(client.proposal(b"put", b"elsewhere", b"2"))


async def test_the_auditor_finds_the_same_codes(client: RawClient, network: RunningNetwork) -> None:
    await guarded(client, b"audited", "GammaMSP")
    assert await called(client, b"put", b"audited", b"2", by=("AlphaMSP", "BetaMSP", "DeltaMSP")) == POLICY_FAILURE
    store = sqlite3.connect(f"file:{network.config.ledger.data / 'ledger.sqlite'}?mode=ro", uri=True)
    blocks = [common_pb2.Block.FromString(row[0]) for row in store.execute("SELECT block FROM blocks ORDER BY number")]
    store.close()
    verified = verify_blocks(blocks)
    assert verified.codes["ENDORSEMENT_POLICY_FAILURE"] >= 1
    assert verified.state.validation_parameter(Space(network.chaincode), "audited") == policy("GammaMSP")
