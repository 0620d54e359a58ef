"""Whole rounds on the in-memory ledger: honest, and with hospitals that are absent, silent, replaying or objecting."""

from typing import Any

import pytest

from fabric.contract.commitments import commitment
from tests.support.consortium import TASK, TRAIN, Behaviour, Consortium, digest, refused, sums_of


def open_round(hospitals: int, **changes: object) -> Consortium:
    consortium = Consortium(hospitals)
    consortium.start(**changes)
    return consortium


def to_phase(consortium: Consortium, phase: str, behaviour: Behaviour | None = None) -> Any:
    """Play the open round up to the start of `phase`."""
    for _ in range(20):
        record = consortium.round()
        if record["phase"] == phase:
            return record
        consortium.play_phase(record, behaviour or Behaviour())
    raise AssertionError(f"phase {phase} was not reached")


@pytest.mark.parametrize("hospitals", [3, 5, 6, 16])
def test_an_honest_task_finishes_and_pays_every_hospital(hospitals: int) -> None:
    consortium = open_round(hospitals)
    first, second = consortium.play_round(), consortium.play_round()
    task = consortium.task()
    assert task["phase"] == "finished"
    assert task["threshold"] == -(-2 * hospitals // 3)
    assert first["accepted"] and second["accepted"]
    assert len(first["groups"]) == hospitals // 3
    assert sorted(mspid for group in first["groups"] for mspid in group["members"]) == consortium.hospitals
    assert all(entry["pay_micro"] > 0 and entry["deposit_micro"] == 0 for entry in second["hospitals"])
    assert sum(entry["pay_micro"] for entry in first["hospitals"]) + first["remainder_micro"] == 50_000_000
    assert consortium.tokens() == consortium.minted()
    assert task["decryptions"] == 2 * (hospitals // 3)


def test_the_next_round_is_opened_by_the_settlement_and_announced_in_its_event() -> None:
    consortium = open_round(6)
    settlement = consortium.play_round()
    name, event = consortium.ledger.events[-1]
    record = consortium.round(2)
    assert (name, {key: event[key] for key in event if key != "rules"}) == (
        "settled",
        {key: settlement[key] for key in settlement if key != "schema"},
    )
    assert event["next"] == {key: record[key] for key in ("round", "seed", "participants", "aggregators", "committee")}
    assert record["seed"] != consortium.round(1)["seed"]


def test_an_absent_hospital_is_left_out_until_it_rejoins() -> None:
    consortium = open_round(5, rounds=4)
    gone = consortium.hospitals[1]
    behaviour = Behaviour(offline={gone})
    first = consortium.play_round(behaviour)
    outcome = next(entry for entry in first["hospitals"] if entry["mspid"] == gone)
    assert (outcome["attendance_ppm"], outcome["integrity"], outcome["pay_micro"], outcome["deposit_micro"]) == (0, True, 0, 0)
    assert consortium.task()["absent"] == {gone: 1}
    assert gone not in consortium.round()["participants"]
    second = consortium.play_round(behaviour)  # nobody waits for it any more
    assert next(entry for entry in second["hospitals"] if entry["mspid"] == gone)["trust"]["negative"] > 8_000_000
    consortium.by(gone, "rejoin", task_id=TASK)
    consortium.play_round()
    assert gone in consortium.round()["participants"]
    assert consortium.task()["absent"] == {}
    assert consortium.play_round()["accepted"]


def test_a_hospital_that_missed_the_commit_may_rejoin_at_once_but_not_in_advance() -> None:
    consortium = open_round(5)
    late = consortium.hospitals[0]
    with refused("NOT_ABSENT"):
        consortium.by(late, "rejoin", task_id=TASK)
    to_phase(consortium, "reveal", Behaviour(silent={"commit": {late}}))
    consortium.by(late, "rejoin", task_id=TASK)
    consortium.play_round()
    assert late in consortium.round(2)["participants"]


def test_a_hospital_that_does_not_reveal_loses_its_deposit_and_its_integrity() -> None:
    consortium = open_round(6)
    silent = consortium.hospitals[2]
    settlement = consortium.play_round(Behaviour(silent={"reveal": {silent}}))
    outcome = next(entry for entry in settlement["hospitals"] if entry["mspid"] == silent)
    assert (outcome["integrity"], outcome["deposit_micro"], outcome["trust"]["trust_ppm"]) == (False, 1_000_000, 0)
    assert settlement["accepted"]
    assert consortium.view("organisation", mspid=silent)["bond_micro"] == 99_000_000
    assert consortium.tokens() == consortium.minted()


def test_a_replayed_ciphertext_is_refused() -> None:
    consortium = open_round(6)
    consortium.play_round()
    replayer = consortium.hospitals[0]
    old = consortium.opening(replayer, 1)["ciphertext_digest"]
    for mspid in consortium.hospitals:
        if mspid != replayer:
            consortium.debit_and_commit(mspid, 2)
    consortium.by(replayer, "debit", task_id=TASK, round=2, spends=[TRAIN])
    nonce = digest("fresh")
    consortium.by(replayer, "commit", task_id=TASK, round=2, digest=commitment(TASK, 2, replayer, nonce, old))
    consortium.advance()
    with refused("REPLAYED"):
        consortium.by(replayer, "reveal", task_id=TASK, round=2, nonce=nonce, ciphertext_digest=old, size=10)


def test_a_copied_commitment_can_be_opened_by_nobody_but_its_owner() -> None:
    consortium = open_round(3)
    owner, copier, third = consortium.hospitals
    consortium.by(copier, "debit", task_id=TASK, round=1, spends=[TRAIN])
    consortium.by(copier, "commit", task_id=TASK, round=1, digest=consortium.commitment(owner, 1))  # overtakes the owner
    consortium.debit_and_commit(owner, 1)
    consortium.debit_and_commit(third, 1)
    consortium.advance()
    with refused("COMMITMENT_MISMATCH"):
        consortium.by(copier, "reveal", task_id=TASK, round=1, size=10, **consortium.opening(owner, 1))
    consortium.by(owner, "reveal", task_id=TASK, round=1, size=10, **consortium.opening(owner, 1))


def test_a_silent_aggregator_is_replaced_and_fined() -> None:
    consortium = open_round(6)
    first, second = consortium.round()["aggregators"][:2]
    settlement = consortium.play_round(Behaviour(silent={"sum": {first}}))
    assert settlement["candidate"]["aggregator"] == second
    assert {entry["mspid"] for entry in settlement["hospitals"] if entry["deposit_micro"]} == {first}
    assert settlement["accepted"]


def test_an_aggregator_that_goes_silent_after_the_shares_is_replaced_without_new_shares() -> None:
    consortium = open_round(6)
    first, second = consortium.round()["aggregators"][:2]
    settlement = consortium.play_round(Behaviour(silent={"candidate": {first}}))
    assert settlement["candidate"]["aggregator"] == second
    assert consortium.round(1)["attempt"] == 1


def test_a_silent_quorum_member_is_replaced_and_old_shares_are_void() -> None:
    consortium = open_round(6)
    record = to_phase(consortium, "decrypt")
    silent = record["quorum"][0]
    settlement = consortium.play_round(Behaviour(silent={"share": {silent}}))
    after = consortium.round(1)
    assert silent not in after["quorum"] and len(after["quorum"]) == 4
    assert after["attempt"] == 2 and len(after["shares"]) == 4
    assert {entry["mspid"] for entry in settlement["hospitals"] if entry["deposit_micro"]} == {silent}
    assert after["decryptions"] == 4


def test_quorums_are_replaced_until_too_few_holders_answer_and_then_the_round_is_lost() -> None:
    consortium = open_round(6)
    record = to_phase(consortium, "decrypt")
    reserves = {mspid for mspid in consortium.hospitals if mspid not in record["quorum"]}
    settlement = consortium.play_round(Behaviour(silent={"share": {record["quorum"][0]} | reserves}))
    assert (settlement["accepted"], settlement["task_phase"]) == (False, "rounds")
    assert settlement["reason"] == "too few key holders are left to decrypt"
    after = consortium.round(1)
    assert after["replacements"] == len(reserves)
    assert after["decryptions"] == (1 + len(reserves)) * len(after["sums"])
    assert consortium.play_round()["accepted"]
    assert consortium.tokens() == consortium.minted()


def test_a_quorum_of_many_key_holders_is_replaced_too() -> None:
    consortium = open_round(16)
    record = to_phase(consortium, "decrypt")
    settlement = consortium.play_round(Behaviour(silent={"share": {record["quorum"][0]}}))
    assert settlement["accepted"]
    after = consortium.round(1)
    assert (after["attempt"], after["decryptions"]) == (2, 2 * len(after["sums"]))


def test_a_key_opens_no_sum_twice_that_later_rounds_will_need() -> None:
    consortium = Consortium(6)
    consortium.start(parameters=10**9)  # five sums: four for two rounds, and one more
    record = to_phase(consortium, "decrypt")
    settlement = consortium.play_round(Behaviour(silent={"share": {record["quorum"][0]}}))
    assert (settlement["accepted"], settlement["task_phase"]) == (False, "rounds")
    assert settlement["reason"] == "opening the sums once more would wear the key out"
    assert consortium.play_round()["accepted"]
    assert consortium.task()["decryptions"] == 4


def post_shares(consortium: Consortium) -> Any:
    record = consortium.round()
    for mspid in record["quorum"]:
        share = {"task_id": TASK, "round": record["round"], "attempt": record["attempt"], "digest": digest(mspid, record["attempt"])}
        consortium.by(mspid, "post_share", **share)
    return record


def object_to_shares(consortium: Consortium, record: Any, members: list[str], accused: str | None = None) -> None:
    for mspid in members:
        argument = {"task_id": TASK, "round": 1, "attempt": record["attempt"], "accused": accused}
        consortium.by(mspid, "object_shares", **argument)


def test_each_member_of_a_quorum_that_opened_nothing_is_left_out_in_turn() -> None:
    consortium = open_round(6)
    first = to_phase(consortium, "decrypt")["quorum"]
    for turn, left_out in enumerate(first):
        record = post_shares(consortium)
        object_to_shares(consortium, record, consortium.hospitals[:4])
        consortium.advance()
        after = consortium.round()
        assert (after["attempt"], after["phase"]) == (turn + 2, "decrypt")
        assert left_out not in after["quorum"] and set(first) - {left_out} < set(after["quorum"])
        assert after["decryptions"] == (turn + 2) * len(after["sums"])
        assert after["failed_quorums"][-1]["quorum"] == record["quorum"]
    object_to_shares(consortium, post_shares(consortium), consortium.hospitals[:4])
    consortium.advance()
    settlement = consortium.settlement(1)
    assert (settlement["accepted"], settlement["reason"]) == (False, "no quorum's decryption shares open the sums")
    assert not any(each["deposit_micro"] for each in settlement["hospitals"])
    assert consortium.play_round()["accepted"]


def test_whose_share_is_malformed_is_blamed_and_left_out() -> None:
    consortium = open_round(6)
    to_phase(consortium, "decrypt")
    record = post_shares(consortium)
    cheat = record["quorum"][2]
    object_to_shares(consortium, record, consortium.hospitals[:3], cheat)
    with refused("NOT_DUE"):
        consortium.advance()
    object_to_shares(consortium, record, consortium.hospitals[3:4], cheat)
    consortium.advance()
    assert cheat not in consortium.round()["quorum"] and consortium.round()["silent"] == [cheat]
    settlement = consortium.play_round()
    assert settlement["accepted"]
    assert [each["mspid"] for each in settlement["hospitals"] if each["deposit_micro"]] == [cheat]
    assert consortium.tokens() == consortium.minted()


def test_objections_to_shares_are_checked() -> None:
    consortium = open_round(6)
    record = to_phase(consortium, "decrypt")
    one = consortium.hospitals[:1]
    with refused("SHARES_MISSING"):
        object_to_shares(consortium, record, one)
    post_shares(consortium)
    with refused("WRONG_ATTEMPT"):
        object_to_shares(consortium, {**record, "attempt": 2}, one)
    outsider = next(mspid for mspid in consortium.hospitals if mspid not in record["quorum"])
    with refused("BAD_ARGUMENT"):
        object_to_shares(consortium, record, one, outsider)
    object_to_shares(consortium, record, one)
    with refused("ALREADY_OBJECTED"):
        object_to_shares(consortium, record, one)
    with refused("NOT_DUE"):
        consortium.advance()


def test_if_no_quorum_member_gets_the_ciphertexts_the_aggregator_is_to_blame() -> None:
    consortium = open_round(6)
    record = to_phase(consortium, "decrypt")
    consortium.play_phase(record, Behaviour(silent={"share": set(consortium.hospitals)}))
    after = consortium.round()
    assert (after["phase"], after["turn"], after["attempt"]) == ("sum", 1, 2)
    assert after["silent"] == [record["aggregators"][0]]


def test_too_few_key_holders_abandon_the_round_and_the_task() -> None:
    consortium = open_round(3)
    record = to_phase(consortium, "decrypt")
    settlement = consortium.play_round(Behaviour(silent={"share": {record["quorum"][0]}}))
    assert settlement["task_phase"] == "rounds"  # three reveal, two are needed, the third takes the place
    consortium.play_phase(consortium.round(), Behaviour())
    again = consortium.play_round(Behaviour(silent={"reveal": {consortium.hospitals[0]}}))
    assert (again["task_phase"], again["reason"]) == ("abandoned", "too few hospitals revealed in time")
    assert consortium.task()["phase"] == "abandoned"
    assert consortium.tokens() == consortium.minted()


def test_an_objection_hands_the_sums_to_the_next_aggregator_with_the_same_members() -> None:
    consortium = open_round(6)
    record = to_phase(consortium, "decrypt")
    objector = record["quorum"][0]
    consortium.by(objector, "object_sums", task_id=TASK, round=1, reason="the sum of group 0 is another")
    after = consortium.round()
    assert (after["phase"], after["turn"], after["attempt"], after["sums"]) == ("sum", 1, 2, [])
    aggregator = after["aggregators"][1]
    consortium.by(aggregator, "post_sums", task_id=TASK, round=1, sums=sums_of(after))
    with refused("ALREADY_OBJECTED"):
        consortium.by(objector, "object_sums", task_id=TASK, round=1, reason="again")


def test_a_group_is_never_summed_over_two_different_sets() -> None:
    consortium = open_round(5)  # one group of five
    record = to_phase(consortium, "decrypt")
    consortium.by(record["quorum"][0], "object_sums", task_id=TASK, round=1, reason="not the sum")
    after = consortium.round()
    members = after["groups"][0][:4]
    with refused("OVERLAPPING_SETS"):
        consortium.by(
            after["aggregators"][1], "post_sums", task_id=TASK, round=1, sums=[{"group": 0, "members": members, "digest": digest(1)}]
        )


def test_sums_are_checked() -> None:
    consortium = open_round(6)
    record = to_phase(consortium, "sum")
    aggregator, other = record["aggregators"][:2]
    zero, one = record["groups"]

    def post(mspid: str, *entries: tuple[int, list[str]]) -> None:
        sums = [{"group": group, "members": members, "digest": digest(group)} for group, members in entries]
        consortium.by(mspid, "post_sums", task_id=TASK, round=1, sums=sums)

    with refused("NOT_YOUR_TURN"):
        post(other, (0, zero))
    with refused("BAD_SUM"):
        post(aggregator, (2, zero))
    with refused("BAD_SUM"):
        post(aggregator, (0, [*zero[:2], one[0]]))
    with refused("BAD_SUM"):
        post(aggregator, (0, zero[:2]))
    with refused("BAD_ARGUMENT"):
        post(aggregator, (0, [zero[0], zero[0], zero[1]]))
    with refused("BAD_ARGUMENT"):
        post(aggregator, (0, zero), (0, zero))
    post(aggregator, (0, zero))  # the other group is left out


def test_an_aggregator_without_ciphertexts_hands_on_to_the_next_and_is_not_blamed() -> None:
    consortium = open_round(6)
    record = to_phase(consortium, "sum")
    first, second = record["aggregators"][:2]
    consortium.by(first, "post_sums", task_id=TASK, round=1, sums=[])
    after = consortium.round()
    assert (after["phase"], after["turn"], after["silent"]) == ("sum", 1, [])
    settlement = consortium.play_round()
    assert settlement["candidate"]["aggregator"] == second
    assert not any(entry["deposit_micro"] for entry in settlement["hospitals"])


def test_a_ciphertext_held_back_counts_as_absence_and_its_group_goes_on_without_it() -> None:
    consortium = open_round(4)
    miser = consortium.hospitals[3]
    settlement = consortium.play_round(Behaviour(silent={"upload": {miser}}))
    outcome = next(entry for entry in settlement["hospitals"] if entry["mspid"] == miser)
    assert (outcome["attendance_ppm"], outcome["contributed"], outcome["pay_micro"]) == (0, False, 0)
    assert settlement["accepted"]


def test_all_aggregators_silent_lose_the_round_and_the_next_one_opens() -> None:
    consortium = open_round(3)
    settlement = consortium.play_round(Behaviour(silent={"sum": set(consortium.hospitals)}))
    assert (settlement["accepted"], settlement["task_phase"], settlement["refund_micro"]) == (False, "rounds", 0)
    assert settlement["reason"].startswith("every elected aggregator was silent")
    end = consortium.play_round()
    assert (end["accepted"], end["task_phase"], end["refund_micro"]) == (True, "finished", 50_000_000)
    assert consortium.tokens() == consortium.minted()


def test_a_candidate_worse_than_the_model_before_is_rejected_and_nobody_paid() -> None:
    consortium = open_round(6)
    settlement = consortium.play_round(Behaviour(candidate_micro=-50_001))
    assert not settlement["accepted"] and settlement["candidate_micro"] == -50_001
    assert {entry["pay_micro"] for entry in settlement["hospitals"]} == {0}
    assert consortium.task()["escrow_micro"] == 100_000_000
    assert all(entry["trust"]["trust_ppm"] > 0 for entry in settlement["hospitals"])  # they did their work


def test_a_candidate_just_within_tolerance_is_accepted() -> None:
    assert open_round(6).play_round(Behaviour(candidate_micro=-50_000))["accepted"]


def test_a_candidate_that_most_validators_cannot_reproduce_is_rejected_and_its_aggregator_loses_integrity() -> None:
    consortium = open_round(6)
    record = consortium.round()
    aggregator = record["aggregators"][0]
    behaviour = Behaviour(other_candidate=set(record["committee"]), rejected_groups=(0,))
    settlement = consortium.play_round(behaviour)
    assert settlement["disputed"] and not settlement["accepted"]
    assert not any(group["rejected"] for group in settlement["groups"])  # its claim about group 0 counts for nothing
    assert [entry["mspid"] for entry in settlement["hospitals"] if not entry["integrity"]] == [aggregator]


def test_a_rejected_group_has_no_utility_and_no_pay() -> None:
    consortium = open_round(9)
    settlement = consortium.play_round(Behaviour(rejected_groups=(1,)))
    members = settlement["groups"][1]["members"]
    assert settlement["groups"][1] == {"group": 1, "members": members, "median_micro": None, "utility_ppm": 0, "rejected": True}
    for entry in settlement["hospitals"]:
        assert (entry["pay_micro"] == 0) == (entry["mspid"] in members)


def test_a_group_of_low_utility_ranks_last_and_its_members_fall_behind() -> None:
    consortium = open_round(9, rounds=6, min_hospitals=3)
    bad = consortium.hospitals[4]
    for _ in range(6):
        settlement = consortium.play_round(Behaviour(utility={bad: 500_000}))
    trust = {entry["mspid"]: entry["trust"]["trust_ppm"] for entry in settlement["hospitals"]}
    pay = {entry["mspid"]: entry["pay_micro"] for entry in settlement["hospitals"]}
    assert min(trust, key=trust.__getitem__) == bad
    assert min(pay, key=pay.__getitem__) == bad


def test_without_any_score_the_candidate_is_rejected() -> None:
    consortium = open_round(6)
    settlement = consortium.play_round(Behaviour(silent={"score_commit": set(consortium.hospitals)}))
    assert (settlement["accepted"], settlement["reason"]) == (False, "no validator revealed its scores")


def test_scores_that_are_committed_but_not_revealed_cost_the_deposit() -> None:
    consortium = open_round(6)
    silent = consortium.round()["committee"][0]
    settlement = consortium.play_round(Behaviour(silent={"score_reveal": {silent}}))
    assert {entry["mspid"] for entry in settlement["hospitals"] if entry["deposit_micro"]} == {silent}
    assert settlement["accepted"]


def test_scores_are_checked() -> None:
    consortium = open_round(6)
    record = to_phase(consortium, "score_reveal")
    scorer = record["scorers"][0]
    own = next(number for number, group in enumerate(record["groups"]) if scorer in group)
    honest = consortium.scores(record, Behaviour(), scorer)

    def reveal(**changes: object) -> None:
        consortium.by(scorer, "reveal_scores", task_id=TASK, round=1, nonce=digest(scorer), scores={**honest, **changes})

    with refused("OWN_GROUP"):
        reveal(groups=[{"group": own, "utility_micro": 1}])
    with refused("BAD_ARGUMENT"):
        reveal(groups=[{"group": 7, "utility_micro": 1}])
    with refused("BAD_ARGUMENT"):
        reveal(groups=[{"group": 1 - own, "utility_micro": 1}] * 2)
    with refused("COMMITMENT_MISMATCH"):
        reveal(candidate_micro=1)
    reveal()
    with refused("ALREADY_REVEALED"):
        reveal()


def test_a_hospital_on_leave_is_left_out_and_its_trust_is_frozen() -> None:
    consortium = open_round(5, rounds=3)
    consortium.play_round()
    resting = consortium.hospitals[0]
    consortium.by(resting, "declare_leave", on=True)
    consortium.play_round()  # already open: it is still counted
    before = next(entry for entry in consortium.view("trust") if entry["mspid"] == resting)
    assert resting not in consortium.round()["participants"] + consortium.round()["absent"]
    consortium.play_round()
    assert next(entry for entry in consortium.view("trust") if entry["mspid"] == resting) == before


def test_an_approval_ends_with_its_last_round() -> None:
    consortium = Consortium(4)
    consortium.propose(rounds=3)
    consortium.approve(consortium.hospitals[0], last_round=1)
    for mspid in consortium.hospitals[1:]:
        consortium.approve(mspid)
    consortium.advance()
    consortium.make_key()
    consortium.play_round()
    assert consortium.round()["participants"] == consortium.hospitals[1:]
    assert consortium.round()["absent"] == []


def test_an_aborted_task_refunds_and_closes_its_round() -> None:
    consortium = open_round(3)
    consortium.submit(consortium.researcher, "abort_task", task_id=TASK, reason="the ethics board withdrew the permit")
    assert (consortium.task()["phase"], consortium.round(1)["phase"]) == ("aborted", "aborted")
    with refused("WRONG_PHASE"):
        consortium.debit_and_commit(consortium.hospitals[0], 1)
    with refused("WRONG_PHASE"):
        consortium.advance()
    assert consortium.tokens() == consortium.minted()


def test_nothing_advances_before_time_and_a_few_fast_hearts_do_not_make_time_pass() -> None:
    consortium = open_round(6)
    with refused("NOT_DUE"):
        consortium.advance()
    consortium.heartbeats(consortium.hospitals[:3], 50)
    with refused("NOT_DUE"):
        consortium.advance()
    assert consortium.round()["elapsed"] == 0
    consortium.heartbeats(consortium.hospitals[3:4], 3)
    assert consortium.round()["elapsed"] == 3
    assert consortium.advance()["phase"] == "settled"


def test_a_task_that_lost_more_than_a_third_of_its_hospitals_is_abandoned_in_the_end() -> None:
    consortium = open_round(5)
    alive = consortium.hospitals[:3]
    for mspid in alive:
        consortium.debit_and_commit(mspid, 1)
    consortium.heartbeats(alive, 11)
    with refused("NOT_DUE"):
        consortium.advance()
    consortium.heartbeats(alive)
    consortium.advance()
    assert (consortium.task()["phase"], consortium.task()["reason"]) == ("abandoned", "too few hospitals committed in time")


def test_a_hospital_that_trains_is_waited_for_as_long_as_its_heart_beats() -> None:
    consortium = open_round(4, training_limit=9)
    slow, *others = consortium.hospitals
    for mspid in others:
        consortium.debit_and_commit(mspid, 1)
    consortium.debit(slow, 1)
    consortium.heartbeats(consortium.hospitals, 8)
    with refused("NOT_DUE"):
        consortium.advance()
    consortium.by(slow, "commit", task_id=TASK, round=1, digest=consortium.commitment(slow, 1))
    consortium.advance()
    assert consortium.round()["committed"] == sorted(consortium.hospitals)


def test_a_hospital_that_trains_for_longer_than_the_task_allows_is_left_out() -> None:
    consortium = open_round(4, training_limit=9)
    slow, *others = consortium.hospitals
    consortium.debit(slow, 1)
    for mspid in others:
        consortium.debit_and_commit(mspid, 1)
    consortium.heartbeats(consortium.hospitals, 9)
    consortium.advance()
    assert consortium.round()["committed"] == sorted(others)


def test_a_hospital_that_died_in_training_is_waited_for_until_its_silence_is_long_enough() -> None:
    consortium = open_round(4, training_limit=9)
    gone, *others = consortium.hospitals
    consortium.debit(gone, 1)
    for mspid in others:
        consortium.debit_and_commit(mspid, 1)
    consortium.heartbeats([gone])
    consortium.heartbeats(others, 3)
    with refused("NOT_DUE"):
        consortium.advance()
    consortium.heartbeats(others)
    consortium.advance()
    assert consortium.round()["committed"] == sorted(others)


def test_a_hospital_that_beats_but_has_not_begun_is_not_waited_for() -> None:
    consortium = open_round(4, training_limit=9)
    _, *others = consortium.hospitals
    for mspid in others:
        consortium.debit_and_commit(mspid, 1)
    consortium.heartbeats(consortium.hospitals, 3)
    consortium.advance()
    assert consortium.round()["committed"] == sorted(others)


def test_an_aggregator_has_an_endpoint() -> None:
    consortium = Consortium(3)
    consortium.register_hospital("OutMSP", endpoint="")
    consortium.hospitals.append("OutMSP")
    consortium.start()
    assert consortium.round()["participants"] == [*consortium.hospitals[:3], "OutMSP"]
    assert sorted(consortium.round()["aggregators"]) == consortium.hospitals[:3]
    assert "OutMSP" not in consortium.round()["endpoints"]
    assert consortium.play_round()["accepted"]
