"""What stands in one block: duties of different hospitals never conflict, and what must not pass twice does not."""

from collections.abc import Callable
from typing import Any

import pytest

from fabric.contract.commitments import score_commitment
from fabric.contract.errors import ContractError
from tests.support.consortium import DIGEST, TASK, TRAIN, VALIDATION, Behaviour, Consortium, digest, refused
from tests.support.stub import person


def together(consortium: Consortium, members: list[str], function: str, argument: Callable[[str], dict[str, Any]]) -> None:
    """All endorsed on the same state, committed in one block."""
    assert all(consortium.ledger.block([consortium.endorse(mspid, function, **argument(mspid)) for mspid in members]))


@pytest.mark.parametrize("hospitals", [3, 16])
def test_a_whole_round_with_every_phase_in_one_block(hospitals: int) -> None:
    consortium = Consortium(hospitals)
    everyone = consortium.hospitals
    consortium.propose(rounds=1)
    terms = {"epsilon_micro": 6_000_000, "score_epsilon_micro": 2_000_000, "delta_inverse": 100_000, "batch": 5, "patients": 9}
    approval = {"task_id": TASK, "digest": DIGEST, "dataset": "patients", "quality_ppm": 0, "last_round": 1, **terms}
    together(consortium, everyone, "approve_task", lambda mspid: approval)
    consortium.advance()
    place: dict[str, Any] = {"task_id": TASK, "attempt": 1}
    together(consortium, everyone, "commit_key_share", lambda mspid: {**place, "digest": digest(mspid), "sealing_key": digest(mspid)})
    consortium.advance()
    together(consortium, everyone, "confirm_key", lambda mspid: {**place, "key_digest": DIGEST})
    consortium.advance()
    place = {"task_id": TASK, "round": 1}
    together(consortium, everyone, "debit", lambda mspid: {**place, "spends": [TRAIN, VALIDATION]})
    together(consortium, everyone, "commit", lambda mspid: {**place, "digest": consortium.commitment(mspid, 1)})
    consortium.advance()
    together(consortium, everyone, "reveal", lambda mspid: {**place, "size": 9, **consortium.opening(mspid, 1)})
    consortium.advance()
    consortium.play_phase(consortium.round(), Behaviour())
    together(consortium, consortium.round()["quorum"], "post_share", lambda mspid: {**place, "attempt": 1, "digest": digest(mspid)})
    record = consortium.round()
    consortium.by(record["aggregators"][0], "post_candidate", **place, digest=digest("model", 1), rejected_groups=[])
    record = consortium.round()
    scores = {mspid: consortium.scores(record, Behaviour(), mspid) for mspid in record["committee"]}
    commitments = {mspid: score_commitment(TASK, 1, mspid, digest(mspid), scores[mspid]) for mspid in scores}
    together(consortium, record["committee"], "commit_scores", lambda mspid: {**place, "digest": commitments[mspid]})
    consortium.advance()
    together(consortium, record["committee"], "reveal_scores", lambda mspid: {**place, "nonce": digest(mspid), "scores": scores[mspid]})
    consortium.advance()
    assert consortium.task()["phase"] == "finished"


@pytest.fixture
def open_round() -> Consortium:
    consortium = Consortium(3)
    consortium.start()
    return consortium


def test_heartbeats_of_different_hospitals_do_not_conflict(open_round: Consortium) -> None:
    together(open_round, open_round.hospitals, "heartbeat", lambda mspid: {})


def test_of_two_debits_in_one_block_one_counts_and_a_second_is_refused_later(open_round: Consortium) -> None:
    debit = {"task_id": TASK, "round": 1, "spends": [TRAIN]}
    hospital = open_round.hospitals[0]
    twice = [open_round.endorse(hospital, "debit", **debit) for _ in range(2)]
    assert open_round.ledger.block(twice) == [True, False]
    with refused("ALREADY_DEBITED"):
        open_round.endorse(hospital, "debit", **debit)


def test_two_tasks_cannot_both_spend_the_last_of_a_data_set() -> None:
    consortium = Consortium(3)
    consortium.start()
    hospital = consortium.hospitals[0]
    other = "other-task"
    _start_another(consortium, other)
    half = {**TRAIN, "noise_multiplier_micro": 920_000}  # an ε of 5.8: within the task, but twice it is more than 8
    spends = [consortium.endorse(hospital, "debit", task_id=task, round=1, spends=[half]) for task in (TASK, other)]
    assert consortium.ledger.block(spends) == [True, False]
    with pytest.raises(ContractError, match=r"^BUDGET_EXCEEDED: data set patients"):
        consortium.endorse(hospital, "debit", task_id=other, round=1, spends=[half])


def _start_another(consortium: Consortium, task_id: str) -> None:
    consortium.propose(task_id=task_id)
    for mspid in consortium.hospitals:
        consortium.approve(mspid, task_id=task_id)
    advance = {"task_id": task_id}
    consortium.submit(consortium.researcher, "advance", **advance)
    for mspid in consortium.hospitals:
        consortium.by(mspid, "commit_key_share", **advance, attempt=1, digest=digest(mspid), sealing_key=digest(mspid))
    consortium.submit(consortium.researcher, "advance", **advance)
    for mspid in consortium.hospitals:
        consortium.by(mspid, "confirm_key", **advance, attempt=1, key_digest=digest("other key"))
    consortium.submit(consortium.researcher, "advance", **advance)


def test_a_commit_and_the_end_of_its_phase_cannot_both_pass(open_round: Consortium) -> None:
    """Whichever stands first in the block wins; nobody is counted as absent that had committed."""
    late = open_round.hospitals[0]
    for mspid in open_round.hospitals[1:]:
        open_round.debit_and_commit(mspid, 1)
    open_round.by(late, "debit", task_id=TASK, round=1, spends=[TRAIN])
    open_round.heartbeats(open_round.hospitals, 3)
    commit = open_round.endorse(late, "commit", task_id=TASK, round=1, digest=open_round.commitment(late, 1))
    close = open_round.ledger.endorse(open_round.researcher, "advance", {"task_id": TASK})
    assert open_round.ledger.block([commit, close]) == [True, False]


def test_of_two_advances_in_one_block_one_counts(open_round: Consortium) -> None:
    for mspid in open_round.hospitals:
        open_round.debit_and_commit(mspid, 1)
    twice = [open_round.endorse(mspid, "advance", task_id=TASK) for mspid in open_round.hospitals[:2]]
    assert open_round.ledger.block(twice) == [True, False]
    with refused("NOT_DUE"):
        open_round.advance()


def test_a_share_overtaken_by_an_objection_is_not_on_the_ledger() -> None:
    """So a member that hands out its share only after its transaction is valid gives none for sums that were withdrawn."""
    consortium = Consortium(6)
    consortium.start()
    while consortium.round()["phase"] != "decrypt":
        consortium.play_phase(consortium.round(), Behaviour())
    first, second = consortium.round()["quorum"][:2]
    objection = consortium.endorse(first, "object_sums", task_id=TASK, round=1, reason="cannot fetch the ciphertexts")
    share = consortium.endorse(second, "post_share", task_id=TASK, round=1, attempt=1, digest=digest("share"))
    assert consortium.ledger.block([objection, share]) == [True, False]


def test_no_submit_reads_a_range() -> None:
    """A range in a submit would conflict with every new key in it."""
    consortium = Consortium(3)
    seen: list[str] = []
    plain = consortium.ledger.contract

    def watching(stub: Any, function: str, args: Any) -> bytes:
        answer = plain(stub, function, args)
        if stub.writes and stub.ranges:
            seen.append(function)
        return answer

    consortium.ledger.contract = watching
    consortium.start()
    consortium.play_round()
    consortium.play_round()
    assert seen == []


def test_registering_twice_mints_once() -> None:
    consortium = Consortium(3)
    admin = person("NewMSP", "admin", "admin")
    twice = [consortium.ledger.endorse(admin, "register_organisation", {"name": "New", "kind": "hospital"}) for _ in range(2)]
    assert consortium.ledger.block(twice) == [True, False]
    with refused("ALREADY_REGISTERED"):
        consortium.submit(admin, "register_organisation", name="New", kind="hospital")
    assert consortium.tokens() == consortium.minted()
