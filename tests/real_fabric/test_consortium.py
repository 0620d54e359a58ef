"""The consortium's own contract on real peers."""

import asyncio
import json
from pathlib import Path

import pytest

from fabric.client.errors import ContractRefused
from gateway.auditor.export import export_ledger
from gateway.auditor.verify import Recomputed, verify_file, verify_ledger
from tests.real_fabric.consortium import DATASET, MSPIDS, SPENDS, Consortium, digest, registered
from tests.support.fabric_network import FabricNetwork

pytestmark = pytest.mark.fabric

TOKENS = 1000 * 1_000_000  # micro-tokens minted for an organisation


@pytest.fixture
async def consortium(network: FabricNetwork, connect) -> Consortium:
    return await registered(network, connect)


async def test_anyone_may_ask_for_the_version(connect) -> None:
    for mspid in MSPIDS:
        version = json.loads(await connect(mspid, "user3", chaincode="consortium").evaluate("version"))
        assert version["contract"] == "consortium"


async def test_gateways_beat_and_everyone_hears_it(connect, consortium: Consortium) -> None:
    start = await connect().height()
    counts = await asyncio.gather(*(ledger.heartbeat() for ledger in consortium.hospitals.values()))
    events = connect(chaincode="consortium").chaincode_events(start_block=start)
    heard = [await anext(events) for _ in MSPIDS]
    await events.aclose()
    assert {event.name for event in heard} == {"heartbeat"}
    said = {payload["mspid"]: payload["count"] for payload in (json.loads(event.payload) for event in heard)}
    assert said == dict(zip(MSPIDS, counts, strict=True))


async def test_what_the_contract_forbids_is_refused_with_its_code(connect, consortium: Consortium) -> None:
    stranger = connect("AlphaMSP", "user3", chaincode="consortium")
    refusals = {"DENIED": stranger.submit("heartbeat"), "UNKNOWN_FUNCTION": stranger.evaluate("no_such_function")}
    admin = connect("AlphaMSP", "admin", chaincode="consortium")
    refusals["BAD_ARGUMENT"] = admin.submit("register_organisation", b"{")
    for code, call in refusals.items():
        with pytest.raises(ContractRefused) as refused:
            await call
        assert refused.value.code == code
        assert refused.value.sentence


async def test_a_task_from_submission_to_its_last_settlement(consortium: Consortium) -> None:
    await consortium.run("whole-task", rounds=2)
    task = await consortium.any.task("whole-task")
    assert (task.phase, task.round, task.escrow_micro) == ("finished", 2, 0)
    settlements = [await consortium.any.settlement("whole-task", number) for number in (1, 2)]
    assert [settlement.accepted for settlement in settlements] == [True, True]
    organisations = await consortium.any.organisations()
    remainder = sum(settlement.remainder_micro for settlement in settlements)
    held = sum(organisation.balance_micro + organisation.bond_micro + organisation.vesting_micro for organisation in organisations)
    assert held + remainder == TOKENS * len(MSPIDS)
    assert all(trust.trust_ppm > 0 for trust in await consortium.any.trust())


async def test_concurrent_debits_of_one_data_set_never_pass_its_cap(consortium: Consortium) -> None:
    """Two tasks of one hospital debit the same filter at once: both count, whichever came first."""
    tasks = ("debit-one", "debit-two")
    for task in tasks:
        await consortium.submit(task, rounds=1)
        await consortium.approve(task, rounds=1)
        await consortium.make_key(task)
    beta = consortium.hospitals["BetaMSP"]
    before = await beta.budget("BetaMSP", DATASET)
    await asyncio.gather(*(beta.debit(task_id=task, round_number=1, spends=SPENDS) for task in tasks))
    after = await beta.budget("BetaMSP", DATASET)
    for earlier, later in zip(before.filters, after.filters, strict=True):
        spent = [new - old for old, new in zip(earlier.spent_micro, later.spent_micro, strict=True)]
        assert all(amount % 2 == 0 for amount in spent)  # the same spend twice
        assert all(spent) == (earlier.partition in {spend.partition for spend in SPENDS})
    with pytest.raises(ContractRefused, match="ALREADY_DEBITED"):
        await beta.debit(task_id=tasks[0], round_number=1, spends=SPENDS)


async def test_a_foreign_digest_is_no_approval(consortium: Consortium) -> None:
    await consortium.submit("refused-task", rounds=1)
    with pytest.raises(ContractRefused, match="DIGEST_MISMATCH"):
        await consortium.any.reject_task(task_id="refused-task", digest=digest("another"), reason="not what was reviewed")


async def test_the_auditor_verifies_all_of_it_live_and_from_a_file(connect, consortium: Consortium, tmp_path: Path) -> None:
    client = connect(chaincode="consortium")
    live = await verify_ledger(client)
    assert (live.reason, live.problems) == ("", ())
    assert live.recomputed == Recomputed(trust=True, balances=True, budgets=True)
    file = tmp_path / "blocks.out"
    await export_ledger(client, file)
    offline = verify_file(file)
    assert (offline.height, offline.last_hash, offline.first_bad_block) == (live.height, live.last_hash, None)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert verify_file(file).first_bad_block is not None
