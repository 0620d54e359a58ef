"""Quarantine on the ledger: from scores to the next round's record, the committee, the groups and the pay."""

from tests.contract.test_rounds import open_round
from tests.support.consortium import Behaviour, Consortium

HARM = 500_000


def after_harm(bad: int, rounds: int = 30) -> tuple[Consortium, list[str]]:
    """Hospitals that lower the utility of every group they are in, until they all are quarantined."""
    consortium = open_round(12, rounds=rounds + 4, min_hospitals=3)
    harmful = consortium.hospitals[4 : 4 + bad]
    for _ in range(rounds):
        consortium.play_round(Behaviour(utility=dict.fromkeys(harmful, HARM)))
    return consortium, harmful


def test_a_hospital_that_does_harm_is_quarantined_and_keeps_its_bond() -> None:
    consortium, (bad,) = after_harm(1)
    record = consortium.round()
    assert record["quarantined"] == [bad]
    assert bad not in record["committee"] and record["weights"][bad] == 0
    assert bad in record["participants"]
    settlement = consortium.play_round(Behaviour(utility={bad: HARM}))
    entry = next(each for each in settlement["hospitals"] if each["mspid"] == bad)
    assert (entry["pay_micro"], entry["contributed"], entry["deposit_micro"], entry["integrity"]) == (0, False, 0, True)


def test_three_of_them_are_summed_in_a_group_of_their_own() -> None:
    consortium, harmful = after_harm(3)
    record = consortium.round()
    assert record["quarantined"] == harmful
    settlement = consortium.play_round(Behaviour(utility=dict.fromkeys(harmful, HARM)))
    assert harmful in [group["members"] for group in settlement["groups"]]
