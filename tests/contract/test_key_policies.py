"""What only a hospital itself may change: which keys those are, what their policies ask for, and that nobody else writes them."""

from itertools import combinations
from typing import Any

import pytest
from fabric_protos.common import policies_pb2

from fabric import canonical
from fabric.contract.key_policies import owner_policy
from fabric.contract.keys import key
from fabric.msp import Member
from fabric.policies import signature_policy_satisfied
from tests.support.chain import Org, org
from tests.support.consortium import DIGEST, TASK, TRAIN, VALIDATION, Consortium, hospital_names, refused

OWNED = ("dataset", "filter", "task_filter", "decision", "statement")

# Of hospitals A, B and C, owned by B: two of [signed by 0, one of [signed by 1, signed by 2]], where 0, 1, 2 are the peers of B, A, C.
GOLDEN = "12161214080212020800120c120a080112020801120208021a0712050a014210031a0712050a014110031a0712050a01431003"


@pytest.fixture(scope="module")
def orgs() -> list[Org]:
    return [org(mspid) for mspid in hospital_names(5)]


def signers(orgs: list[Org], numbers: tuple[int, ...], role: str = "peer") -> list[Member]:
    return [orgs[number].msp.member(getattr(orgs[number], role).certificate_pem, None) for number in numbers]


def satisfied(policy: bytes, members: list[Member]) -> bool:
    return signature_policy_satisfied(policies_pb2.SignaturePolicyEnvelope.FromString(policy), members)


@pytest.mark.parametrize("hospitals", [3, 4, 5])
def test_it_takes_the_owner_and_a_majority_with_it(orgs: list[Org], hospitals: int) -> None:
    """Every set of organisations, in both orders: enough if and only if the owner is one of more than half."""
    mspids = hospital_names(hospitals)
    for owner in range(hospitals):
        policy = owner_policy(mspids[owner], mspids)
        for size in range(len(orgs) + 1):
            for chosen in combinations(range(len(orgs)), size):
                inside = [number for number in chosen if number < hospitals]
                enough = owner in inside and 2 * len(inside) > hospitals
                assert satisfied(policy, signers(orgs, chosen)) == enough
                assert satisfied(policy, signers(orgs, chosen[::-1])) == enough


def test_only_peers_count_and_each_organisation_once(orgs: list[Org]) -> None:
    policy = owner_policy("H01MSP", hospital_names(3))
    for role in ("client", "admin", "orderer"):
        assert not satisfied(policy, signers(orgs, (0, 1, 2), role))
    assert not satisfied(policy, signers(orgs, (0,)) + signers(orgs, (1,), "client"))
    assert not satisfied(policy, signers(orgs, (0, 0)))
    assert not satisfied(policy, signers(orgs, (1, 2, 2)))


def test_there_is_none_where_one_organisation_alone_could_be_enough() -> None:
    assert owner_policy("H01MSP", ["H01MSP"]) == owner_policy("H01MSP", ["H01MSP", "H02MSP"]) == b""
    assert owner_policy("LabMSP", hospital_names(3)) == b""


def test_there_is_one_however_many_hospitals_there_are() -> None:
    for many in (10, 11, 64):
        policy = policies_pb2.SignaturePolicyEnvelope.FromString(owner_policy("H01MSP", hospital_names(many)))
        own, others = policy.rule.n_out_of.rules
        assert (policy.rule.n_out_of.n, own.signed_by, len(policy.identities)) == (2, 0, many)
        assert (others.n_out_of.n, len(others.n_out_of.rules)) == (many // 2, many - 1)


def test_the_bytes_are_those_of_the_golden_vector_whatever_the_order() -> None:
    expected = bytes.fromhex(GOLDEN)
    assert owner_policy("B", ["A", "B", "C"]) == owner_policy("B", ["C", "A", "B", "A"]) == expected
    envelope = policies_pb2.SignaturePolicyEnvelope.FromString(expected)
    assert envelope.SerializeToString(deterministic=True) == expected


def guarded(consortium: Consortium) -> dict[str, bytes]:
    return consortium.ledger.policies


def owner_of(name: str) -> str:
    kind, *attributes = name.strip("\x00").split("\x00")
    return attributes[0] if kind in ("dataset", "filter") else attributes[1]


def test_budgets_and_decisions_are_guarded_and_nothing_else(started: Consortium) -> None:
    started.play_round()
    hospitals = started.hospitals
    latest = {owner: owner_policy(owner, hospitals) for owner in hospitals}
    for name in started.ledger.keys:
        kind = name.split("\x00")[1]
        if kind in ("task_filter", "decision") or (kind == "filter" and name in spent(started)):
            assert guarded(started)[name] == latest[owner_of(name)]
        elif kind not in OWNED:
            assert name not in guarded(started)


def spent(consortium: Consortium) -> set[str]:
    names = [name for name in consortium.ledger.keys if name.startswith(key("filter"))]
    return {name for name in names if any(canonical.loads(consortium.ledger.state[name][0])["spent_micro"])}


@pytest.fixture
def started() -> Consortium:
    consortium = Consortium(4)
    consortium.start()
    return consortium


def test_nobody_but_its_owner_ever_writes_a_guarded_key() -> None:
    """Two rounds, every call: whoever's peer need not endorse it, writes none of them."""
    consortium = Consortium(4)
    wrong: list[tuple[str, str]] = []
    plain = consortium.ledger.contract

    def watching(stub: Any, function: str, args: Any) -> bytes:
        answer = plain(stub, function, args)
        written = (stub.writes.keys() | stub.policies.keys()) & guarded(consortium).keys()
        wrong.extend((function, name) for name in written if owner_of(name) != stub.mspid)
        return answer

    consortium.ledger.contract = watching
    consortium.start()
    consortium.play_round()
    consortium.play_round()
    assert wrong == []
    assert consortium.task()["phase"] == "finished"


def test_a_data_set_of_early_days_is_guarded_from_its_first_spend_on(started: Consortium) -> None:
    """The first two hospitals registered when there were fewer than three."""
    name = key("filter", "H01MSP", "patients", "train")
    assert name not in guarded(started)
    assert key("filter", "H03MSP", "patients", "train") in guarded(started)
    started.by("H01MSP", "debit", task_id=TASK, round=1, spends=[TRAIN])
    assert guarded(started)[name] == owner_policy("H01MSP", started.hospitals)


def test_a_policy_follows_the_hospitals_that_join_with_the_next_write(started: Consortium) -> None:
    name, joined = key("task_filter", TASK, "H01MSP", "train"), [*started.hospitals, "H09MSP"]
    before = owner_policy("H01MSP", started.hospitals)
    started.register_hospital("H09MSP")
    assert guarded(started)[name] == before
    started.by("H01MSP", "debit", task_id=TASK, round=1, spends=[TRAIN])
    assert guarded(started)[name] == owner_policy("H01MSP", joined) != before
    assert guarded(started)[key("task_filter", TASK, "H01MSP", "validation")] == before


def test_after_somebody_joined_all_may_debit_in_one_block(started: Consortium) -> None:
    started.register_hospital("H09MSP")
    debits = [started.endorse(mspid, "debit", task_id=TASK, round=1, spends=[TRAIN, VALIDATION]) for mspid in started.hospitals]
    assert all(started.ledger.block(debits))


def test_a_place_is_kept_for_every_decision_and_shown_to_nobody() -> None:
    consortium = Consortium(3)
    consortium.propose()
    for mspid in consortium.hospitals:
        assert guarded(consortium)[key("decision", TASK, mspid)] == owner_policy(mspid, consortium.hospitals)
    assert consortium.task()["decisions"] == []
    consortium.approve("H02MSP")
    assert [decision["mspid"] for decision in consortium.task()["decisions"]] == ["H02MSP"]
    with refused("ALREADY_DECIDED"):
        consortium.by("H02MSP", "reject_task", task_id=TASK, digest=DIGEST, reason="changed its mind")


def test_who_registers_after_a_task_was_submitted_is_neither_asked_nor_waited_for() -> None:
    consortium = Consortium(3)
    consortium.propose()
    consortium.register_hospital("H09MSP")
    assert consortium.task()["hospitals"] == consortium.hospitals
    for call in ("approve_task", "reject_task"):
        with refused("NOT_ASKED"):
            decide(consortium, "H09MSP", call)
    for mspid in consortium.hospitals:
        consortium.approve(mspid)
    consortium.advance()
    assert consortium.task()["participants"] == consortium.hospitals


def decide(consortium: Consortium, mspid: str, call: str) -> None:
    if call == "approve_task":
        consortium.approve(mspid)
    else:
        consortium.by(mspid, "reject_task", task_id=TASK, digest=DIGEST, reason="came too late")


def test_a_debit_that_others_wrote_spends_nothing_and_lets_nobody_commit(started: Consortium) -> None:
    """A majority of peers can write keys that have no policy: a record of a debit is one, and counts for nothing."""
    record = {"mspid": "H01MSP", "dataset": "patients", "spends": [TRAIN, VALIDATION], "schema": 1}
    started.ledger._write(key("debit", TASK, 1, "H01MSP"), canonical.dumps(record))
    with refused("NOT_DEBITED"):
        started.by("H01MSP", "commit", task_id=TASK, round=1, digest=started.commitment("H01MSP", 1))
    before = spent(started)
    started.by("H01MSP", "debit", task_id=TASK, round=1, spends=[TRAIN])
    assert spent(started) - before == {key("filter", "H01MSP", "patients", "train")}
    started.by("H01MSP", "commit", task_id=TASK, round=1, digest=started.commitment("H01MSP", 1))
