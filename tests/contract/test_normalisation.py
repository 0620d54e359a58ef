"""Round 0: the phases of every round, with nothing scored, nothing paid, and nothing taken from validation patients."""

import pytest

from tests.support.consortium import TASK, TRAIN, VALIDATION, Behaviour, Consortium, digest, refused

ADDRESS = {"task_id": TASK, "round": 0}


@pytest.fixture
def consortium() -> Consortium:
    """Six hospitals whose task has just opened round 0."""
    made = Consortium(6)
    made.start(rounds=2, normalisation=True)
    return made


def test_it_comes_before_the_training_rounds_which_are_as_many_as_the_task_says(consortium: Consortium) -> None:
    assert consortium.task()["round"] == 0
    settled = [consortium.play_round()["round"] for _ in range(3)]
    assert settled == [0, 1, 2]
    assert consortium.task()["phase"] == "finished"


def test_it_pays_nobody_and_judges_nothing_but_attendance_and_integrity(consortium: Consortium) -> None:
    settlement = consortium.play_round()
    assert settlement["accepted"] and settlement["candidate"]["digest"] == digest("model", 0)
    assert (settlement["budget_micro"], settlement["remainder_micro"], settlement["candidate_micro"]) == (0, 0, 0)
    assert [group["utility_ppm"] for group in settlement["groups"]] == [None, None]
    for entry in settlement["hospitals"]:
        assert (entry["attendance_ppm"], entry["integrity"], entry["utility_ppm"], entry["validator_ppm"]) == (10**6, True, None, None)
        assert entry["trust"]["streak"] == 1 and entry["trust"]["history_ppm"] == []
    assert consortium.play_round()["budget_micro"] == consortium.task()["terms"]["reward_micro"] // 2


def test_a_group_that_broke_its_bounds_is_left_out_and_not_ranked(consortium: Consortium) -> None:
    settlement = consortium.play_round(Behaviour(rejected_groups=(1,)))
    assert [(group["rejected"], group["utility_ppm"]) for group in settlement["groups"]] == [(False, None), (True, None)]


def test_a_candidate_that_most_computed_otherwise_is_not_accepted_and_the_task_goes_on(consortium: Consortium) -> None:
    settlement = consortium.play_round(Behaviour(other_candidate=set(consortium.hospitals)))
    assert not settlement["accepted"] and settlement["disputed"]
    aggregator = settlement["candidate"]["aggregator"]
    assert [entry["mspid"] for entry in settlement["hospitals"] if not entry["integrity"]] == [aggregator]
    assert consortium.play_round()["accepted"]


def test_a_hospital_that_missed_it_comes_back(consortium: Consortium) -> None:
    consortium.play_round(Behaviour(offline={"H06MSP"}))
    assert consortium.task()["absent"] == {"H06MSP": 0}
    consortium.by("H06MSP", "rejoin", task_id=TASK)
    consortium.play_round()
    assert "H06MSP" in consortium.round(2)["participants"]


def test_validation_patients_pay_nothing(consortium: Consortium) -> None:
    with refused("BAD_ARGUMENT"):
        consortium.by("H01MSP", "debit", **ADDRESS, spends=[TRAIN, VALIDATION])
    consortium.play_round()
    spent = {
        each["partition"]: each["epsilon_spent_micro"] for each in consortium.view("budget", mspid="H01MSP", dataset="patients")["filters"]
    }
    assert spent["train"] > 0 == spent["validation"]


@pytest.mark.parametrize("scored", [{"candidate_micro": 1}, {"groups": [{"group": 0, "utility_micro": 0}]}])
def test_scores_are_refused(consortium: Consortium, scored: dict[str, object]) -> None:
    while consortium.round()["phase"] != "score_reveal":
        consortium.play_phase(consortium.round(), Behaviour())
    record = consortium.round()
    scorer = next(mspid for mspid in record["scorers"] if mspid not in record["groups"][0])
    scores = {**consortium.scores(record, Behaviour(), scorer), **scored}
    with refused("BAD_ARGUMENT"):
        consortium.by(scorer, "reveal_scores", **ADDRESS, nonce=digest(scorer), scores=scores)


def test_a_task_that_does_not_ask_for_it_has_none() -> None:
    plain = Consortium(3)
    plain.start()
    assert plain.task()["round"] == 1
    with refused("NOT_FOUND"):
        plain.by("H01MSP", "debit", **ADDRESS, spends=[TRAIN])
