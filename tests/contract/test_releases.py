"""What a hospital tells outside the rounds is paid for by held-out patients first, and every approval carries its privacy statement."""

from typing import Any

import pytest

from fabric.contract import budget
from fabric.contract.statement import ACCOUNTANT, NEIGHBOURS, UNIT
from tests.support.consortium import TASK, TRAIN, Consortium, refused

HELD_OUT = {**TRAIN, "partition": "test", "noise_multiplier_micro": 5_000_000}


@pytest.fixture
def consortium() -> Consortium:
    return Consortium(3)


def debit(consortium: Consortium, mspid: str, release: str, **changes: Any) -> None:
    terms = {"task_id": TASK, "release": release, "dataset": "patients", "spends": [HELD_OUT]}
    consortium.by(mspid, "debit_release", **{**terms, **changes})


def spent(consortium: Consortium, mspid: str) -> list[int]:
    filters = consortium.view("budget", mspid=mspid, dataset="patients")["filters"]
    return next(list(each["spent_micro"]) for each in filters if each["partition"] == "test")


def finish(consortium: Consortium) -> None:
    consortium.start(rounds=1)
    consortium.play_round()
    assert consortium.task()["phase"] == "finished"


def test_the_quality_is_debited_before_the_approval_that_tells_it(consortium: Consortium) -> None:
    consortium.propose()
    first = consortium.hospitals[0]
    debit(consortium, first, "quality")
    cost = list(budget.rdp_cost_micro("gaussian", 5_000_000, 1_000_000, 1))
    assert spent(consortium, first) == cost
    with refused("ALREADY_DEBITED"):
        debit(consortium, first, "quality")
    consortium.approve(first)
    assert [each["spent_micro"] for each in consortium.ledger.records("task_filter") if any(each["spent_micro"])] == [cost]
    assert spent(consortium, first) == cost
    with refused("ALREADY_DECIDED"):
        debit(consortium, first, "quality")


def test_the_evaluation_is_debited_once_and_when_the_task_has_finished(consortium: Consortium) -> None:
    first = consortium.hospitals[0]
    consortium.propose(rounds=1)
    for mspid in consortium.hospitals:
        consortium.approve(mspid)
    with refused("NOT_A_PARTICIPANT"):
        debit(consortium, first, "evaluation")
    consortium.advance()
    consortium.make_key()
    with refused("WRONG_PHASE"):
        debit(consortium, first, "evaluation")
    consortium.play_round()
    with refused("BAD_ARGUMENT"):
        debit(consortium, first, "evaluation", dataset="another")
    debit(consortium, first, "evaluation")
    with refused("ALREADY_DEBITED"):
        debit(consortium, first, "evaluation")
    told = consortium.view("spends", mspid=first, dataset="patients")
    assert {"task_id": TASK, **HELD_OUT} in told
    assert [(each["mspid"], each["spends"]) for each in consortium.task()["releases"]] == [(first, [HELD_OUT])]


def test_nothing_is_told_beyond_the_approved_epsilon_or_the_data_set_s(consortium: Consortium) -> None:
    finish(consortium)
    first, second = consortium.hospitals[:2]
    loud = {**HELD_OUT, "noise_multiplier_micro": 1_000_000}  # an ε far above the 2 that were approved, below the data set's 8
    with refused("BUDGET_EXCEEDED"):
        debit(consortium, first, "evaluation", spends=[loud])
    assert not any(spent(consortium, first))
    debit(consortium, second, "evaluation")


@pytest.mark.parametrize("partition", ["train", "validation"])
def test_only_held_out_patients_pay_for_it_and_they_for_no_round(consortium: Consortium, partition: str) -> None:
    finish(consortium)
    with refused("BAD_ARGUMENT"):
        debit(consortium, consortium.hospitals[0], "evaluation", spends=[HELD_OUT, {**HELD_OUT, "partition": partition}])
    again = Consortium(3)
    again.start()
    with refused("BAD_ARGUMENT"):
        again.by(again.hospitals[0], "debit", task_id=TASK, round=1, spends=[TRAIN, HELD_OUT])


def test_an_approval_carries_its_statement(consortium: Consortium) -> None:
    consortium.propose(mode="distributed")
    first = consortium.hospitals[0]
    consortium.approve(first, epsilon_micro=5_000_000)
    (statement,) = consortium.task()["statements"]
    del statement["schema"]
    assert statement == {
        "mspid": first,
        "unit": UNIT,
        "neighbours": NEIGHBOURS,
        "accountant": ACCOUNTANT,
        "trust_model": {"train": "distributed", "validation": "local", "test": "local"},
        "epsilon_micro": {"train": 5_000_000, "validation": 2_000_000, "test": 2_000_000},
        "delta_inverse": 100_000,
    }


@pytest.mark.parametrize(("mode", "steps", "allowed"), [("local", 3, True), ("distributed", 1, True), ("distributed", 2, False)])
def test_mode_distributed_takes_one_noisy_step_a_round(consortium: Consortium, mode: str, steps: int, allowed: bool) -> None:
    consortium.start(mode=mode)
    spends = [{**TRAIN, "steps": steps}]
    if allowed:
        consortium.by(consortium.hospitals[0], "debit", task_id=TASK, round=1, spends=spends)
    else:
        with refused("MODE_NEEDS_ONE_STEP"):
            consortium.by(consortium.hospitals[0], "debit", task_id=TASK, round=1, spends=spends)
