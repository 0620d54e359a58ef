"""Tasks before their first round: submission, decisions, keys, refusals."""

import re

import pytest

from fabric.contract.errors import ContractError
from tests.support.consortium import LAB, TASK, TRAIN, VALIDATION, Behaviour, Consortium, digest, refused
from tests.support.stub import person


@pytest.fixture
def consortium() -> Consortium:
    return Consortium(4)


def test_submitting_escrows_the_reward(consortium: Consortium) -> None:
    consortium.propose(reward_micro=400_000_000)
    assert consortium.view("organisation", mspid=LAB)["balance_micro"] == 600_000_000
    with refused("INSUFFICIENT_BALANCE"):
        consortium.propose(task_id="second", reward_micro=600_000_001)
    with refused("TASK_EXISTS"):
        consortium.propose()
    assert consortium.tokens() == consortium.minted()


@pytest.mark.parametrize(
    "changes",
    [
        {"task_id": "../etc"},
        {"task_id": "Big"},
        {"task_id": "ab"},
        {"task_id": "task\x00id"},
        {"digest": "A" * 64},
        {"title": ""},
        {"title": "a\nb"},
        {"title": "x" * 201},
        {"rounds": 0},
        {"rounds": True},
        {"min_hospitals": 2},
        {"group_size": 2},
        {"reward_micro": -1},
        {"reward_micro": 10**15 + 1},
        {"epsilon_micro": 0},
        {"score_epsilon_micro": 0},
        {"delta_inverse": 1},
        {"heartbeat_limit": 0},
        {"parameters": 0},
        {"surprise": 1},
    ],
)
def test_bad_terms_are_refused(consortium: Consortium, changes: dict[str, object]) -> None:
    with refused("BAD_ARGUMENT"):
        consortium.propose(**changes)


def test_a_task_needs_enough_registered_hospitals(consortium: Consortium) -> None:
    with refused("TOO_FEW_HOSPITALS"):
        consortium.propose(min_hospitals=5)


def test_a_decision_is_bound_to_the_digest_and_stands(consortium: Consortium) -> None:
    consortium.propose()
    first, second = consortium.hospitals[:2]
    with refused("DIGEST_MISMATCH"):
        consortium.approve(first, digest=digest("another document"))
    consortium.approve(first)
    with refused("ALREADY_DECIDED"):
        consortium.approve(first)
    with refused("ALREADY_DECIDED"):
        consortium.by(first, "reject_task", task_id=TASK, digest=consortium.task()["terms"]["digest"], reason="changed our mind")
    consortium.by(second, "reject_task", task_id=TASK, digest=consortium.task()["terms"]["digest"], reason="no consent")
    assert [decision["approved"] for decision in consortium.task()["decisions"]] == [True, False]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"epsilon_micro": 6_000_001}, "CAP_TOO_HIGH"),
        ({"score_epsilon_micro": 2_000_001}, "CAP_TOO_HIGH"),
        ({"delta_inverse": 99_999}, "CAP_TOO_HIGH"),
        ({"epsilon_micro": 50_000}, "BUDGET_TOO_SMALL"),
        ({"dataset": "elsewhere"}, "NOT_FOUND"),
        ({"last_round": 3}, "BAD_ARGUMENT"),
        ({"batch": 101}, "BAD_ARGUMENT"),
        ({"quality_ppm": 1_000_001}, "BAD_ARGUMENT"),
    ],
)
def test_bad_approvals_are_refused(consortium: Consortium, changes: dict[str, int], code: str) -> None:
    consortium.propose()
    with refused(code):
        consortium.approve(consortium.hospitals[0], **changes)


def test_an_approval_says_what_was_read(consortium: Consortium) -> None:
    """Gateways of contract 1.0 do not; their approvals count."""
    consortium.propose()
    first, second, third = consortium.hospitals[:3]
    consortium.approve(first, views_digest=digest("sql"), cohort_digest=digest("cohort"))
    consortium.approve(second)
    consortium.by(third, "reject_task", task_id=TASK, digest=consortium.task()["terms"]["digest"], reason="no consent")
    told = [(decision["views_digest"], decision["cohort_digest"]) for decision in consortium.task()["decisions"]]
    assert told == [(digest("sql"), digest("cohort")), (None, None), (None, None)]
    with refused("BAD_ARGUMENT"):
        consortium.approve(consortium.hospitals[3], views_digest="")


def test_an_approval_may_be_stricter_than_the_task(consortium: Consortium) -> None:
    consortium.propose()
    consortium.approve(consortium.hospitals[0], epsilon_micro=1_000_000, delta_inverse=10**6)


def test_only_hospitals_decide(consortium: Consortium) -> None:
    consortium.propose()
    with refused("NOT_A_HOSPITAL"):
        consortium.submit(person(LAB, "admin", "admin"), "reject_task", task_id=TASK, digest=digest(), reason="no")


def test_keys_begin_when_all_have_decided(consortium: Consortium) -> None:
    consortium.propose()
    for mspid in consortium.hospitals[:3]:
        consortium.approve(mspid)
    with refused("NOT_DUE"):
        consortium.advance()
    consortium.by(consortium.hospitals[3], "reject_task", task_id=TASK, digest=consortium.task()["terms"]["digest"], reason="no data")
    assert consortium.advance()["phase"] == "keys_commit"
    assert consortium.task()["participants"] == consortium.hospitals[:3]


def test_keys_begin_without_those_that_never_answer(consortium: Consortium) -> None:
    consortium.propose()
    for mspid in consortium.hospitals[:3]:
        consortium.approve(mspid)
    consortium.advance_late(Behaviour(offline={consortium.hospitals[3]}))
    assert consortium.task()["phase"] == "keys_commit"
    with refused("WRONG_PHASE"):
        consortium.approve(consortium.hospitals[3])


def test_a_hospital_on_leave_is_not_waited_for(consortium: Consortium) -> None:
    consortium.propose()
    consortium.by(consortium.hospitals[3], "declare_leave", on=True)
    for mspid in consortium.hospitals[:3]:
        consortium.approve(mspid)
    assert consortium.advance()["phase"] == "keys_commit"


def test_too_few_approvals_abandon_the_task_with_a_refund(consortium: Consortium) -> None:
    consortium.propose()
    terms = consortium.task()["terms"]
    for mspid in consortium.hospitals[:2]:
        consortium.approve(mspid)
    for mspid in consortium.hospitals[2:]:
        consortium.by(mspid, "reject_task", task_id=TASK, digest=terms["digest"], reason="no")
    assert consortium.advance()["phase"] == "abandoned"
    assert consortium.task()["reason"] == "2 hospitals approved and the task needs 3"
    assert consortium.view("organisation", mspid=LAB)["balance_micro"] == 1_000_000_000


def approved(consortium: Consortium) -> None:
    consortium.propose()
    for mspid in consortium.hospitals:
        consortium.approve(mspid)
    consortium.advance()


def commit_shares(consortium: Consortium, members: list[str]) -> None:
    attempt = consortium.task()["attempt"]
    for mspid in members:
        consortium.by(mspid, "commit_key_share", task_id=TASK, attempt=attempt, digest=digest(mspid), sealing_key=digest(mspid))


def confirm(consortium: Consortium, members: list[str], key: str = "key") -> None:
    attempt = consortium.task()["attempt"]
    for mspid in members:
        consortium.by(mspid, "confirm_key", task_id=TASK, attempt=attempt, key_digest=digest(key))


def test_the_ceremony_checks_phase_attempt_and_place(consortium: Consortium) -> None:
    approved(consortium)
    first = consortium.hospitals[0]
    share = {"task_id": TASK, "digest": digest(1), "sealing_key": digest(2)}
    with refused("WRONG_ATTEMPT"):
        consortium.by(first, "commit_key_share", attempt=2, **share)
    with refused("WRONG_PHASE"):
        consortium.by(first, "confirm_key", task_id=TASK, attempt=1, key_digest=digest(3))
    consortium.by(first, "commit_key_share", attempt=1, **share)
    with refused("ALREADY_COMMITTED"):
        consortium.by(first, "commit_key_share", attempt=1, **share)
    consortium.register_hospital("LateMSP")
    with refused("NOT_A_PARTICIPANT"):
        consortium.by("LateMSP", "commit_key_share", attempt=1, **share)
    with refused("NOT_A_PARTICIPANT"):
        consortium.by("LateMSP", "advance", task_id=TASK)


def accuse(consortium: Consortium, by: str, accused: str, evidence: object = "false share") -> None:
    attempt = consortium.task()["attempt"]
    consortium.by(by, "accuse_dealer", task_id=TASK, attempt=attempt, accused=accused, evidence=digest(evidence))


def test_a_dealer_of_false_shares_is_named_slashed_and_left_out() -> None:
    consortium = Consortium(4)
    approved(consortium)
    commit_shares(consortium, consortium.hospitals)
    consortium.advance()
    cheat, *others = consortium.hospitals
    for number, mspid in enumerate(others):
        with refused("NOT_DUE"):
            consortium.advance()
        accuse(consortium, mspid, cheat, number)
    consortium.advance()
    task = consortium.task()
    assert (task["phase"], task["attempt"], task["participants"], task["dropped"]) == ("keys_commit", 2, others, [cheat])
    assert consortium.view("organisation", mspid=cheat)["bond_micro"] == 0
    assert consortium.tokens() == consortium.minted()
    event = consortium.ledger.events[-1]
    assert [(each["mspid"], each["reason"]) for each in event[1]["slashed"]] == [(cheat, "wrong_share")]


def test_who_accuses_falsely_is_left_out_and_keeps_its_bond() -> None:
    consortium = Consortium(4)
    approved(consortium)
    commit_shares(consortium, consortium.hospitals)
    consortium.advance()
    liar, *others = consortium.hospitals
    accuse(consortium, liar, others[0])
    for mspid in others:
        accuse(consortium, mspid, liar)
    consortium.advance()
    assert consortium.task()["dropped"] == [liar]
    assert consortium.view("organisation", mspid=liar)["bond_micro"] > 0


def test_an_accusation_without_a_quorum_convicts_nobody() -> None:
    consortium = Consortium(3)
    approved(consortium)
    commit_shares(consortium, consortium.hospitals)
    consortium.advance()
    first, second, third = consortium.hospitals
    accuse(consortium, first, second)
    with refused("ALREADY_POSTED"):
        accuse(consortium, first, third)
    for nobody in (third, "NobodyMSP"):
        with refused("BAD_ARGUMENT"):
            accuse(consortium, third, nobody)
    with refused("NOT_DUE"):
        consortium.advance()


def test_too_few_left_without_the_dealer_end_the_task_with_its_name() -> None:
    consortium = Consortium(3)
    approved(consortium)
    commit_shares(consortium, consortium.hospitals)
    consortium.advance()
    cheat, *others = consortium.hospitals
    for mspid in others:
        accuse(consortium, mspid, cheat)
    consortium.advance()
    task = consortium.task()
    assert (task["phase"], task["reason"]) == ("abandoned", f"{cheat} dealt a false share of the key, and too few hospitals remain")
    assert consortium.tokens() == consortium.minted()


def test_a_task_for_which_no_key_lasts_is_refused(consortium: Consortium) -> None:
    with refused("KEY_WOULD_WEAR_OUT"):
        consortium.propose(parameters=10**9, rounds=18)
    with refused("KEY_WOULD_WEAR_OUT"):
        consortium.propose(parameters=10**9, rounds=17, normalisation=True)
    consortium.propose(parameters=10**9, rounds=17)


def test_a_task_that_more_hospitals_join_than_its_key_lasts_for_is_abandoned() -> None:
    consortium = Consortium(9)
    consortium.propose(parameters=10**9, rounds=10)
    for mspid in consortium.hospitals:
        consortium.approve(mspid)
    consortium.advance()
    task = consortium.task()
    assert task["phase"] == "abandoned" and task["reason"].startswith("one key of 9 hospitals may open")


def test_a_hospital_silent_in_the_ceremony_is_dropped(consortium: Consortium) -> None:
    approved(consortium)
    commit_shares(consortium, consortium.hospitals[1:])
    consortium.advance_late(Behaviour())
    task = consortium.task()
    assert (task["phase"], task["attempt"], task["dropped"]) == ("keys_commit", 2, consortium.hospitals[:1])
    assert (task["participants"], task["threshold"]) == (consortium.hospitals[1:], 2)
    consortium.make_key()
    assert consortium.task()["phase"] == "rounds"


def test_a_hospital_dead_during_the_exchange_is_dropped(consortium: Consortium) -> None:
    approved(consortium)
    commit_shares(consortium, consortium.hospitals)
    consortium.advance()
    consortium.advance_late(Behaviour(offline={consortium.hospitals[2]}))
    assert consortium.task()["dropped"] == [consortium.hospitals[2]]
    assert consortium.task()["attempt"] == 2


def test_a_hub_that_does_not_relay_is_replaced(consortium: Consortium) -> None:
    approved(consortium)
    commit_shares(consortium, consortium.hospitals)
    consortium.advance()
    for turn in (1, 2):
        consortium.advance_late(Behaviour())
        assert (consortium.task()["phase"], consortium.task()["turn"], consortium.task()["attempt"]) == ("keys_share", turn, 1)
    consortium.advance_late(Behaviour())
    assert consortium.task()["phase"] == "abandoned"


def test_who_does_not_confirm_with_any_hub_is_dropped(consortium: Consortium) -> None:
    approved(consortium)
    commit_shares(consortium, consortium.hospitals)
    consortium.advance()
    confirm(consortium, consortium.hospitals[:3])
    for _ in range(3):
        consortium.advance_late(Behaviour())
    assert consortium.task()["dropped"] == [consortium.hospitals[3]]


def test_different_keys_abandon_the_task(consortium: Consortium) -> None:
    approved(consortium)
    commit_shares(consortium, consortium.hospitals)
    consortium.advance()
    confirm(consortium, consortium.hospitals[:3])
    confirm(consortium, consortium.hospitals[3:], key="another")
    assert consortium.advance()["phase"] == "abandoned"
    assert consortium.task()["reason"] == "the hospitals confirmed different keys"


def test_too_few_left_in_the_ceremony_abandon_the_task(consortium: Consortium) -> None:
    approved(consortium)
    commit_shares(consortium, consortium.hospitals[:2])
    consortium.advance_late(Behaviour())
    assert consortium.task()["phase"] == "abandoned"


def test_a_task_without_any_endpoint_is_abandoned() -> None:
    consortium = Consortium(0)
    for mspid in ("AMSP", "BMSP", "CMSP"):
        consortium.register_hospital(mspid, endpoint="")
        consortium.hospitals.append(mspid)
    approved(consortium)
    assert consortium.task()["reason"] == "no approved hospital's gateway accepts connections"


def test_debits_and_commits_come_in_order(consortium: Consortium) -> None:
    consortium.start()
    first = consortium.hospitals[0]
    with refused("NOT_DEBITED"):
        consortium.by(first, "commit", task_id=TASK, round=1, digest=digest(1))
    consortium.by(first, "debit", task_id=TASK, round=1, spends=[VALIDATION])
    with refused("NOT_DEBITED"):  # of the training patients, that is
        consortium.by(first, "commit", task_id=TASK, round=1, digest=digest(1))
    second = consortium.hospitals[1]
    consortium.debit_and_commit(second, 1)
    with refused("ALREADY_COMMITTED"):
        consortium.by(second, "commit", task_id=TASK, round=1, digest=digest(1))
    with refused("WRONG_PHASE"):
        consortium.by(second, "reveal", task_id=TASK, round=1, size=1, **consortium.opening(second, 1))
    with refused("NOT_FOUND"):
        consortium.debit_and_commit(second, 2)


def test_a_debit_beyond_the_approval_is_refused_and_nothing_spent(consortium: Consortium) -> None:
    consortium.start()
    first = consortium.hospitals[0]
    heavy = {**TRAIN, "noise_multiplier_micro": 500_000}
    with refused("BUDGET_EXCEEDED"):
        consortium.by(first, "debit", task_id=TASK, round=1, spends=[TRAIN, heavy])
    with refused("BAD_ARGUMENT"):
        consortium.by(first, "debit", task_id=TASK, round=1, spends=[{**TRAIN, "sampling_rate_ppm": 5}])
    assert [part["epsilon_spent_micro"] for part in consortium.view("budget", mspid=first, dataset="patients")["filters"]] == [0, 0, 0]
    consortium.by(first, "debit", task_id=TASK, round=1, spends=[TRAIN, TRAIN, VALIDATION])
    train, validation, held_out = consortium.view("budget", mspid=first, dataset="patients")["filters"]
    assert not any(held_out["spent_micro"])
    assert train["spent_micro"][0] == 2 * 2500 and validation["spent_micro"][0] == 400  # α/(2σ²) at α = 2


def test_spends_are_told_by_task_with_like_events_added(consortium: Consortium) -> None:
    consortium.start()
    first, second = consortium.hospitals[:2]
    consortium.by(first, "debit", task_id=TASK, round=1, spends=[TRAIN, TRAIN, VALIDATION])
    train, validation = consortium.view("spends", mspid=first, dataset="patients")
    assert train == {"task_id": TASK, **TRAIN, "steps": 2 * TRAIN["steps"]}
    assert validation == {"task_id": TASK, **VALIDATION}
    assert consortium.view("spends", mspid=second, dataset="patients") == []
    assert [(each["mspid"], each["dataset"]) for each in consortium.view("datasets")] == [
        (name, "patients") for name in consortium.hospitals
    ]


def test_the_task_cap_binds_even_where_the_data_set_has_more(consortium: Consortium) -> None:
    consortium.propose()
    strict = consortium.hospitals[0]
    consortium.approve(strict, epsilon_micro=1_000_000)
    for mspid in consortium.hospitals[1:]:
        consortium.approve(mspid)
    consortium.advance()
    consortium.make_key()
    spend = {**TRAIN, "noise_multiplier_micro": 3_000_000}
    with pytest.raises(ContractError, match=f"^BUDGET_EXCEEDED: task {re.escape(TASK)}"):
        consortium.by(strict, "debit", task_id=TASK, round=1, spends=[spend])
    consortium.by(consortium.hospitals[1], "debit", task_id=TASK, round=1, spends=[spend])


def test_a_data_set_budget_is_fixed_for_ever(consortium: Consortium) -> None:
    with refused("ALREADY_REGISTERED"):
        consortium.by(consortium.hospitals[0], "register_dataset", dataset="patients", epsilon_micro=9_000_000, delta_inverse=1000)
    with refused("BUDGET_TOO_SMALL"):
        consortium.by(consortium.hospitals[0], "register_dataset", dataset="tiny", epsilon_micro=1, delta_inverse=1000)


def test_identities_follow_the_kind_of_their_organisation(consortium: Consortium) -> None:
    lab_admin, audit_admin = person(LAB, "admin", "admin"), person("AuditMSP", "admin", "admin")
    fingerprint = digest("certificate")
    with refused("NOT_FOUND"):
        consortium.submit(audit_admin, "register_identity", role="auditor", fingerprint=fingerprint, endpoint="")
    consortium.submit(audit_admin, "register_organisation", name="Auditors", kind="audit")
    with refused("NOT_A_HOSPITAL"):
        consortium.submit(lab_admin, "register_identity", role="gateway", fingerprint=fingerprint, endpoint="")
    with refused("DENIED"):
        consortium.submit(audit_admin, "register_identity", role="researcher", fingerprint=fingerprint, endpoint="")
    with refused("BAD_ARGUMENT"):
        consortium.submit(audit_admin, "register_identity", role="auditor", fingerprint=fingerprint, endpoint="localhost:1")
    with refused("NOT_FOUND"):
        consortium.submit(audit_admin, "revoke_identity", fingerprint=fingerprint)
    consortium.submit(audit_admin, "register_identity", role="auditor", fingerprint=fingerprint, endpoint="")
    assert consortium.view("organisation", mspid="AuditMSP")["bond_micro"] == 0
    assert len(consortium.view("organisations")) == 6
    assert {entry["role"] for entry in consortium.view("identities")} == {"gateway", "researcher", "auditor"}


@pytest.mark.parametrize("endpoint", ["localhost", "localhost:0", "localhost:65536", "a b:1", "http://x:1", ":1", "[::1]"])
def test_bad_endpoints_are_refused(consortium: Consortium, endpoint: str) -> None:
    admin = person(consortium.hospitals[0], "admin", "admin")
    with refused("BAD_ARGUMENT"):
        consortium.submit(admin, "register_identity", role="gateway", fingerprint=digest("new"), endpoint=endpoint)


@pytest.mark.parametrize("endpoint", ["", "localhost:7001", "10.0.0.1:443", "[::1]:443", "gateway.hospital.example:50051"])
def test_good_endpoints_are_taken(consortium: Consortium, endpoint: str) -> None:
    admin = person(consortium.hospitals[0], "admin", "admin")
    consortium.submit(admin, "register_identity", role="gateway", fingerprint=digest("new"), endpoint=endpoint)


def test_views_of_what_is_not_there_say_so(consortium: Consortium) -> None:
    for function, argument in (
        ("task", {"task_id": "nothing"}),
        ("round", {"task_id": "nothing", "round": 1}),
        ("organisation", {"mspid": "NoMSP"}),
        ("budget", {"mspid": "NoMSP", "dataset": "none"}),
        ("settlement", {"task_id": "nothing", "round": 1}),
    ):
        with refused("NOT_FOUND"):
            consortium.view(function, **argument)
