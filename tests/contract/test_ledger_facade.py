"""fabric.ledger against the contract itself: every method sends what the contract takes and decodes what it answers."""

import inspect
from dataclasses import dataclass
from typing import Any

import pytest

from fabric import canonical
from fabric.contract import access
from fabric.contract.commitments import commitment, finding_commitment, score_commitment
from fabric.contract.release import RELEASE
from fabric.decoding import DecodeError, decode
from fabric.ledger import Ledger
from fabric.ledger_views import GroupScore, KeyAccusation, OrganisationView, Scores, ShareObjection, Spend, Sum, VersionView
from tests.support.consortium import DIGEST, LAB, TASK, Behaviour, Consortium, digest, refused
from tests.support.stub import MemoryLedger, Person, person


@dataclass(frozen=True)
class Committed:
    tx_id: str
    block_number: int
    result: bytes


class MemoryClient:
    """The two calls of the Fabric client, on the in-memory ledger; notes which functions were called."""

    called: set[str] = set()  # noqa: RUF012 (shared by all clients of a test on purpose)

    def __init__(self, ledger: MemoryLedger, caller: Person) -> None:
        self.ledger, self.caller = ledger, caller

    async def evaluate(self, function: str, *args: bytes) -> bytes:
        self.called.add(function)
        return self.ledger.endorse(self.caller, function, *args).result

    async def submit(self, function: str, *args: bytes) -> Committed:
        self.called.add(function)
        endorsed = self.ledger.endorse(self.caller, function, *args)
        assert self.ledger.block([endorsed]) == [True]
        return Committed(endorsed.simulation.tx_id, len(self.ledger.events), endorsed.result)


ACCOUNTABILITY = {
    "attest_fairness",
    "open_dispute",
    "take_seat",
    "share_disputed",
    "commit_finding",
    "reveal_finding",
    "advance_dispute",
    "disputes",
}


async def test_a_dispute_from_accusation_to_verdict_and_an_attestation() -> None:
    consortium = Consortium(6)
    consortium.start()
    accused, *near = consortium.play_round()["groups"][0]["members"]
    gateways = {mspid: Ledger(MemoryClient(consortium.ledger, consortium.gateway(mspid))) for mspid in consortium.hospitals}
    accuser = gateways[near[0]]
    place: Any = {"task_id": TASK, "round_number": 1, "accused": accused}
    await accuser.open_dispute(**place, reason="points elsewhere")
    (dispute,) = (await accuser.task(TASK)).disputes
    assert (dispute.phase, dispute.accuser, len(dispute.committee)) == ("seating", near[0], 3)
    with refused("NOT_DUE"):
        await accuser.try_advance_dispute(**place)
    for judge in dispute.committee:
        await gateways[judge].take_seat(**place, sealing_key=digest(judge))
    await accuser.advance_dispute(**place)
    for holder in dispute.quorum:
        await gateways[holder].share_disputed(**place, digest=digest(holder))
    await accuser.advance_dispute(**place)
    found = {"finding": "sound", "nonce": digest("nonce"), "opened_digest": digest("opened")}
    for judge in dispute.committee:
        await gateways[judge].commit_finding(**place, digest=finding_commitment(TASK, 1, accused, {"mspid": judge, **found}))
    await accuser.advance_dispute(**place)
    for judge in dispute.committee:
        await gateways[judge].reveal_finding(**place, **found)
    await accuser.advance_dispute(**place)
    (closed,) = await accuser.disputes(TASK)
    assert (closed.phase, closed.outcome, len(closed.findings)) == ("closed", "unfounded", 3)
    auditor, admin = person("AuditMSP", "auditor"), Ledger(MemoryClient(consortium.ledger, person("AuditMSP", "admin", "admin")))
    await admin.register_organisation(name="Audit", kind="audit")
    await admin.register_identity(role="auditor", fingerprint=auditor.fingerprint, endpoint="")
    await Ledger(MemoryClient(consortium.ledger, auditor)).attest_fairness(mspid=accused, fairness_ppm=900_000, evidence_digest=DIGEST)
    lender = Ledger(MemoryClient(consortium.ledger, person(near[0], "admin", "admin")))
    await lender.delegate_stake(mspid=accused, amount_micro=5)
    rated = await accuser.organisation(accused)
    assert (rated.fairness_ppm, rated.delegated_micro) == (900_000, 5)
    assert MemoryClient.called >= ACCOUNTABILITY


async def test_a_task_from_registration_to_the_end() -> None:
    memory = MemoryLedger()
    names = [f"H{number}MSP" for number in range(4)]

    def ledger(mspid: str, name: str = "gateway", unit: str = "client") -> Ledger:
        return Ledger(MemoryClient(memory, person(mspid, name, unit)))

    lab, admin = ledger(LAB, "researcher"), ledger(LAB, "admin", "admin")
    await admin.register_organisation(name="Lab", kind="research")
    await admin.register_identity(role="researcher", fingerprint=person(LAB, "researcher").fingerprint, endpoint="")
    gateways = {name: ledger(name) for name in names}
    for name in names:
        admin = ledger(name, "admin", "admin")
        await admin.register_organisation(name=f"Hospital {name}", kind="hospital")
        await admin.register_identity(role="gateway", fingerprint=person(name, "gateway").fingerprint, endpoint="localhost:7001")
        await admin.register_identity(role="auditor", fingerprint=digest("old"), endpoint="")
        await admin.revoke_identity(fingerprint=digest("old"))
        await gateways[name].register_dataset(dataset="patients", epsilon_micro=8_000_000, delta_inverse=100_000)
        assert await gateways[name].heartbeat() == 1

    held_out = Spend("test", "gaussian", 20_000_000, 1_000_000, 1)
    everybody = [Spend(partition, "gaussian", 20_000_000, 1_000_000, 1) for partition in ("train", "validation", "test")]
    for name in names:
        listing = f"offer-of-{name.lower()}"
        await gateways[name].debit_listing(listing_id=listing, dataset="patients", spends=everybody)
        await gateways[name].publish_listing(
            listing_id=listing,
            dataset="patients",
            digest=digest(name),
            description="{}",
            price_micro=7,
            purposes=["p"],
            legal_bases=["GDPR 9(2)(j)"],
            permit_required=True,
        )
    listings = [view.listing_id for view in await lab.listings()]
    await lab.submit_task(
        order={"listings": listings, "legal_basis": "GDPR 9(2)(j)"},
        mode="local",
        task_id=TASK,
        digest=DIGEST,
        title="t",
        purpose="p",
        permit="x",
        rounds=2,
        min_hospitals=3,
        group_size=3,
        reward_micro=1_000_000,
        epsilon_micro=6_000_000,
        delta_inverse=100_000,
        score_epsilon_micro=2_000_000,
        score_clip_micro=20_000,
        heartbeat_limit=1,
        parameters=31,
    )
    await gateways[names[0]].close_listing(listing_id=listings[0])
    assert [view.closed for view in await lab.listings()] == [True, False, False, False]
    for name in names[:3]:
        await gateways[name].debit_release(task_id=TASK, release="quality", dataset="patients", spends=[held_out])
        await gateways[name].approve_task(
            task_id=TASK,
            digest=DIGEST,
            dataset="patients",
            epsilon_micro=6_000_000,
            score_epsilon_micro=2_000_000,
            delta_inverse=100_000,
            batch=5,
            patients=10,
            quality_ppm=1_000_000,
            last_round=2,
            views_digest=digest("sql"),
            cohort_digest=digest(name, "cohort"),
        )
    await gateways[names[3]].reject_task(task_id=TASK, digest=DIGEST, reason="no consent")
    assert (await lab.advance(TASK)).result["phase"] == "keys_commit"
    names = names[:3]
    for name in names:
        await gateways[name].commit_key_share(task_id=TASK, attempt=1, digest=digest(name), sealing_key=digest(name, "seal"))
    await lab.advance(TASK)
    task = await lab.task(TASK)
    assert (task.phase, task.participants, task.threshold, task.holder_index(names[2])) == ("keys_share", tuple(names), 2, 3)
    assert task.key_shares[0].sealing_key == digest(names[0], "seal") and set(task.endpoints.values()) == {"localhost:7001"}
    for name in names:
        await gateways[name].confirm_key(task_id=TASK, attempt=1, key_digest=digest("key"))
    await gateways[names[0]].accuse_dealer(task_id=TASK, attempt=1, accused=names[1], evidence=digest("nobody joins"))
    assert (await lab.task(TASK)).accusations == (KeyAccusation(names[0], names[1], digest("nobody joins")),)
    assert (await lab.try_advance(TASK))["phase"] == "commit"
    assert (await lab.task(TASK)).phase == "keys_share"  # asking wrote nothing
    await lab.advance(TASK)

    with refused("NOT_DUE"):
        await lab.try_advance(TASK)
    for name in names:
        spends = [Spend(partition, "gaussian", 20_000_000, 1_000_000, 1) for partition in ("train", "validation")]
        await gateways[name].debit(task_id=TASK, round_number=1, spends=spends)
        await gateways[name].commit(task_id=TASK, round_number=1, digest=commitment(TASK, 1, name, digest(name), digest(name, 1)))
    await lab.advance(TASK)
    for name in names:
        await gateways[name].reveal(task_id=TASK, round_number=1, nonce=digest(name), ciphertext_digest=digest(name, 1), size=77)
    await lab.advance(TASK)
    record = await lab.round(TASK, 1)
    assert record.groups == (tuple(names),) and record.group_of(names[1]) == 0 and record.reveals[0].size == 77
    sums = [Sum(0, record.groups[0], digest("sum"))]
    await gateways[record.aggregator].post_sums(task_id=TASK, round_number=1, sums=sums)
    await gateways[record.quorum[0]].object_sums(task_id=TASK, round_number=1, reason="not the sum")
    record = await lab.round(TASK, 1)
    await gateways[record.aggregator].post_sums(task_id=TASK, round_number=1, sums=sums)
    record = await lab.round(TASK, 1)
    assert (record.sums, record.objections[0].reason, record.pinned) == (tuple(sums), "not the sum", {"0": tuple(names)})
    for name in record.quorum:
        await gateways[name].post_share(task_id=TASK, round_number=1, attempt=record.attempt, digest=digest("share", name))
    await gateways[names[0]].object_shares(task_id=TASK, round_number=1, attempt=record.attempt, accused=None)
    assert (await lab.round(TASK, 1)).share_objections == (ShareObjection(names[0], ""),)
    await gateways[record.aggregator].post_candidate(task_id=TASK, round_number=1, digest=digest("model"), rejected_groups=[])
    scores = Scores(digest("model"), 5, ())
    record = await lab.round(TASK, 1)
    for name in record.committee:
        committed = score_commitment(TASK, 1, name, digest(name), scores.to_json())
        await gateways[name].commit_scores(task_id=TASK, round_number=1, digest=committed)
    await lab.advance(TASK)
    for name in record.committee:
        await gateways[name].reveal_scores(task_id=TASK, round_number=1, nonce=digest(name), scores=scores)
    await lab.advance(TASK)

    settlement = await lab.settlement(TASK, 1)
    assert settlement.accepted and settlement.next is not None and settlement.next.round == 2
    assert (await lab.round(TASK, 1)).score_reveals[0].scores == scores
    assert {view.mspid: view.trust_ppm for view in await lab.trust()}[names[0]] == settlement.hospitals[0].trust.trust_ppm > 0
    budget = await lab.budget(names[0], "patients")
    assert budget.filters[0].epsilon_spent_micro > 0
    assert {(each.mspid, each.dataset) for each in await lab.datasets()} == {(f"H{number}MSP", "patients") for number in range(4)}
    assert {each.task_id for each in await lab.spends(names[0], "patients")} == {TASK, f"listing {listings[0]}"}
    assert [summary.phase for summary in await lab.tasks()] == ["rounds"]
    assert len(await lab.organisations()) == 5 and (await lab.organisation(LAB)).kind == "research"
    assert sum(identity.revoked for identity in await lab.identities()) == 4
    assert (await lab.version()).schema == RELEASE.schema

    await gateways[names[0]].declare_leave(on=True)
    late = names[1]
    for name in names:
        if name != late:
            await gateways[name].debit(task_id=TASK, round_number=2, spends=spends)
            await gateways[name].commit(task_id=TASK, round_number=2, digest=digest(name))
    with refused("NOT_ABSENT"):
        await gateways[late].rejoin(TASK)
    await gateways[late].record_withdrawals(task_id=TASK, digest=digest("withdrawn"))
    await lab.abort_task(task_id=TASK, reason="enough")
    await lab.settle_order(task_id=TASK)
    (order,) = await lab.orders()
    assert (order.outcome, set(order.paid_micro)) == ("aborted", {offer.mspid for offer in order.offers})
    ended = await lab.task(TASK)
    assert ended.over and ended.terms.mode == "local" and ended.withdrawals[0].round == 2
    assert {each.mspid for each in ended.statements} == {each.mspid for each in ended.releases} == set(names)
    assert MemoryClient.called | ACCOUNTABILITY == access.TABLE.keys()


def test_there_is_a_method_for_every_function() -> None:
    methods = {name for name, _ in inspect.getmembers(Ledger, inspect.iscoroutinefunction) if not name.startswith("_")}
    assert methods == access.TABLE.keys() | {"try_advance", "try_advance_dispute"}


def test_scores_are_sent_exactly_as_committed() -> None:
    scores = Scores(DIGEST, -3, (GroupScore(1, 7),))
    expected = {"candidate_digest": DIGEST, "candidate_micro": -3, "groups": [{"group": 1, "utility_micro": 7}]}
    assert scores.to_json() == expected
    assert canonical.loads(canonical.dumps(scores.to_json())) == expected


async def test_a_newer_contract_may_answer_more() -> None:
    consortium = Consortium(3)
    view = consortium.view("organisation", mspid="H01MSP") | {"new_field": [1]}
    assert decode(OrganisationView, view, strict=False).mspid == "H01MSP"


def test_an_answer_of_another_shape_is_an_error() -> None:
    with pytest.raises(DecodeError, match="the answer lacks schema, version"):
        decode(VersionView, {"contract": "consortium"}, strict=False)
    with pytest.raises(DecodeError, match="schema must be an integer"):
        decode(VersionView, {"contract": "c", "version": "1", "schema": "1"}, strict=False)


async def test_every_view_of_a_round_in_every_phase_decodes() -> None:
    consortium = Consortium(6)
    consortium.start()
    ledger = Ledger(MemoryClient(consortium.ledger, consortium.researcher))
    seen = set()
    while (record := await ledger.round(TASK, 1)).phase != "settled":
        seen.add(record.phase)
        assert (await ledger.task(TASK)).phase == "rounds"
        consortium.play_phase(consortium.round(1), Behaviour())
    assert seen == {"commit", "reveal", "sum", "decrypt", "score_commit", "score_reveal"}
    assert len((await ledger.settlement(TASK, 1)).groups) == 2
