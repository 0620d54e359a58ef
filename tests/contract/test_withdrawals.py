"""Withdrawals on the ledger: a digest, the round it precedes, and nothing about whose it is."""

import json
from pathlib import Path

import pytest

from fabric.contract.commitments import withdrawal_batch, withdrawal_commitment
from tests.support.consortium import TASK, Consortium, digest, refused


@pytest.fixture
def consortium() -> Consortium:
    consortium = Consortium(3)
    consortium.start()
    return consortium


def test_a_batch_is_recorded_with_the_last_round_opened(consortium: Consortium) -> None:
    first = consortium.hospitals[0]
    consortium.by(first, "record_withdrawals", task_id=TASK, digest=digest("one"))
    with refused("ALREADY_RECORDED"):
        consortium.by(first, "record_withdrawals", task_id=TASK, digest=digest("one"))
    consortium.play_round()
    consortium.by(first, "record_withdrawals", task_id=TASK, digest=digest("two"))
    told = {(each["mspid"], each["digest"], each["round"]) for each in consortium.task()["withdrawals"]}
    assert told == {(first, digest("one"), 1), (first, digest("two"), 2)}


def test_only_participants_record_and_only_while_rounds_are_left(consortium: Consortium) -> None:
    consortium.register_hospital("H09MSP")
    with refused("NOT_A_PARTICIPANT"):
        consortium.by("H09MSP", "record_withdrawals", task_id=TASK, digest=digest("one"))
    with refused("NOT_FOUND"):
        consortium.by(consortium.hospitals[0], "record_withdrawals", task_id="nowhere", digest=digest("one"))
    with refused("BAD_ARGUMENT"):
        consortium.by(consortium.hospitals[0], "record_withdrawals", task_id=TASK, digest="patient-7")
    consortium.play_round()
    consortium.play_round()
    with refused("WRONG_PHASE"):
        consortium.by(consortium.hospitals[0], "record_withdrawals", task_id=TASK, digest=digest("one"))


def test_commitments_are_those_of_the_golden_vectors() -> None:
    vectors = json.loads((Path(__file__).parent / "vectors" / "withdrawals.json").read_text())
    for vector in vectors["good"]:
        assert withdrawal_commitment(**vector["opening"]) == vector["commitment"]
    assert withdrawal_batch(vectors["batch"]["commitments"]) == vectors["batch"]["digest"]
    assert withdrawal_batch(reversed(vectors["batch"]["commitments"])) == vectors["batch"]["digest"]
    commitments = {vector["commitment"] for vector in vectors["good"]}
    for vector in vectors["bad"]:
        assert withdrawal_commitment(**vector["opening"]) not in commitments, vector["why"]
