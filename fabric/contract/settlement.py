"""The end of a round, whatever became of it: verdict, trust, pay, deposits, and what comes next, in one transaction.

Every round that was opened is settled once, also one that failed; only a task aborted by its researcher leaves its round
unsettled. The settlement carries each hospital's signals, so that trust.update, incentives.weight and incentives.split
give its numbers again.
"""

from dataclasses import dataclass
from typing import Any

from fabric.contract import accounts, incentives, judgement, normalisation, trust, vesting
from fabric.contract.caller import Call
from fabric.contract.election import seed_of
from fabric.contract.fairness import fairness_of
from fabric.contract.judgement import Verdict
from fabric.contract.opening import open_round
from fabric.contract.phases import present
from fabric.contract.records import GroupResult, HospitalResult, NextRound, RoundRecord, Scores, Settlement, TaskState, TaskTerms
from fabric.contract.slashing import ejected
from fabric.contract.standing import trust_of, trust_record
from fabric.contract.tasks import close, save, save_round
from fabric.contract.trust import S, Signals, TrustState


@dataclass(frozen=True)
class _Judged:
    """What the committee's scores amount to."""

    verdict: Verdict
    groups: list[GroupResult]
    scores: dict[str, Scores]
    clip_micro: int


@dataclass(frozen=True)
class _Outcome:
    """One hospital's signals of the round and what follows from them."""

    signals: Signals
    after: TrustState
    contributed: bool
    fined: bool


def settle(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, *, failure: str = "", lost: str = "") -> dict[str, Any]:
    """Settle the round. `failure`: why the round, and with it the task, is abandoned; `lost`: why the round came to nothing
    though the task goes on. Both empty where validators have judged."""
    judged = _judge(call, terms, record, failure or lost)
    outcomes = {mspid: _outcome(call, record, judged, mspid) for mspid in (*record["participants"], *record["absent"])}
    budget = normalisation.budget_micro(terms, record["round"]) if judged.verdict.accepted else 0
    weights = {
        mspid: incentives.weight(outcome.after, fairness=fairness_of(call.state, mspid))
        for mspid, outcome in outcomes.items()
        if outcome.contributed
    }
    pay, remainder = incentives.split(budget, weights)
    deposits = {mspid: accounts.forfeit(call.state, mspid) for mspid, outcome in outcomes.items() if outcome.fined}
    trustworthy = [mspid for mspid, outcome in outcomes.items() if incentives.kept_its_word(outcome.signals)]
    honest = [mspid for mspid in trustworthy if mspid not in deposits]
    share, unshared = incentives.share_out(sum(deposits.values()), len(honest))
    released = {mspid: _vest(call, mspid, pay.get(mspid, 0)) for mspid in trustworthy}
    for mspid, amount in released.items():
        accounts.pay(call.state, mspid, amount + (share if mspid in honest else 0))
    hospitals = [_book(call, mspid, outcome, pay.get(mspid, 0), deposits.get(mspid, 0)) for mspid, outcome in outcomes.items()]
    accounts.credit_treasury(call.state, record["task_id"], record["round"], remainder + unshared)
    _update_progress(progress, record, outcomes, paid=sum(pay.values()) + remainder)
    following, refund = _go_on(call, terms, progress, record, failure)
    settlement = Settlement(
        task_id=record["task_id"],
        round=record["round"],
        accepted=judged.verdict.accepted,
        reason=judged.verdict.reason,
        candidate=record["candidate"],
        candidate_micro=judged.verdict.candidate_micro,
        disputed=judged.verdict.disputed,
        groups=judged.groups,
        hospitals=hospitals,
        fined=list(deposits),
        honest=honest,
        share_micro=share,
        released_micro=released,
        budget_micro=budget,
        remainder_micro=remainder,
        task_phase=progress["phase"],
        refund_micro=refund,
        next=following,
    )
    record["phase"] = "settled"
    save_round(call.state, record)
    call.state.put("settlement", (record["task_id"], record["round"]), settlement)
    call.state.announce("settled", settlement)
    return {"task_id": record["task_id"], "round": record["round"], "phase": "settled"}


def _judge(call: Call, terms: TaskTerms, record: RoundRecord, failure: str) -> _Judged:
    clip = terms["score_clip_micro"]
    if failure or record["candidate"] is None:
        groups = [_group_result(entry["group"], entry["members"], None, None, rejected=False) for entry in record["sums"]]
        return _Judged(Verdict(False, failure, None, confirmed=False, disputed=False), groups, {}, clip)
    place = (record["task_id"], record["round"])
    revealed = present(call, "score_reveal", record, record["scorers"])
    scores: dict[str, Scores] = {mspid: call.state.get("score_reveal", *place, mspid)["scores"] for mspid in revealed}
    verdict = judgement.verdict(record["candidate"]["digest"], scores, clip_micro=clip)
    # An aggregator whose candidate most validators could not reproduce has no say in which groups broke their bounds.
    rejected = set(record["candidate"]["rejected_groups"]) if verdict.confirmed else set()
    medians = judgement.group_medians(scores)
    utilities = {} if record["round"] == normalisation.ROUND else judgement.utilities_ppm(scores, rejected)
    groups = [
        _group_result(
            entry["group"],
            entry["members"],
            None if entry["group"] in rejected else medians.get(entry["group"]),
            utilities.get(entry["group"]),
            rejected=entry["group"] in rejected,
        )
        for entry in record["sums"]
    ]
    return _Judged(verdict, groups, scores, clip)


def _group_result(group: int, members: list[str], median: int | None, utility: int | None, *, rejected: bool) -> GroupResult:
    return GroupResult(group=group, members=members, median_micro=median, utility_ppm=utility, rejected=rejected)


def _outcome(call: Call, record: RoundRecord, judged: _Judged, mspid: str) -> _Outcome:
    group = next((entry for entry in judged.groups if mspid in entry["members"]), None)
    honest = not _broke_its_word(record, judged, mspid) and not ejected(call.state, mspid)
    attended = _attended(record, mspid)
    signals = Signals(
        attendance_ppm=S if attended else 0,
        integrity=honest,
        utility_ppm=_credit(call, group, mspid) if group is not None and attended else None,
        norm_ppm=None,  # not to be seen while updates are encrypted
        quality_ppm=call.state.get("decision", record["task_id"], mspid)["quality_ppm"],
        validator_ppm=_validator_ppm(record, judged, mspid),
    )
    before = trust_of(call.state, mspid)
    after = trust.update(before, signals)
    contributed = group is not None and not group["rejected"] and honest and attended and not before.quarantined
    return _Outcome(signals, after, contributed, _fined(record, judged, mspid))


def _credit(call: Call, group: GroupResult, mspid: str) -> int | None:
    """Of the group's rank, by what is known of the others in it before this round."""
    if group["utility_ppm"] is None:
        return None
    return trust.credit_ppm(group["utility_ppm"], [trust_of(call.state, other).effect_ppm for other in group["members"] if other != mspid])


def _attended(record: RoundRecord, mspid: str) -> bool:
    """Committed and revealed, and in the sum of its group where that was made: who holds its ciphertext back was not there."""
    if record["phase"] == "commit":
        return mspid in record["committed"]
    if mspid not in record["revealed"]:
        return False
    return all(mspid not in record["groups"][entry["group"]] or mspid in entry["members"] for entry in record["sums"])


def _broke_its_word(record: RoundRecord, judged: _Judged, mspid: str) -> bool:
    """A commitment never opened, or a candidate that most validators found to be another."""
    posted = record["candidate"]
    return _unopened(record, mspid) or (judged.verdict.disputed and posted is not None and posted["aggregator"] == mspid)


def _unopened(record: RoundRecord, mspid: str) -> bool:
    return record["phase"] != "commit" and mspid in record["committed"] and mspid not in record["revealed"]


def _fined(record: RoundRecord, judged: _Judged, mspid: str) -> bool:
    """The round deposit goes with an unopened commitment, of an update or of scores, and with a duty not done in time."""
    unopened_scores = record["phase"] == "score_reveal" and mspid in record["scorers"] and mspid not in judged.scores
    return _unopened(record, mspid) or unopened_scores or mspid in record["silent"]


def _validator_ppm(record: RoundRecord, judged: _Judged, mspid: str) -> int | None:
    if mspid not in judged.scores or record["candidate"] is None or record["round"] == normalisation.ROUND:
        return None
    return judgement.agreement_ppm(mspid, record["candidate"]["digest"], judged.scores, clip_micro=judged.clip_micro)


def _vest(call: Call, mspid: str, pay: int) -> int:
    """Put this round's pay to what is to fall due; returns what falls due now."""
    before = vesting.vesting_of(call.state, mspid)
    now, later = vesting.after_round(before, pay)
    if any(before) or any(later):
        vesting.put_vesting(call.state, mspid, later)
    return now


def _book(call: Call, mspid: str, outcome: _Outcome, pay: int, deposit: int) -> HospitalResult:
    """Write a hospital's trust."""
    after = trust_record(mspid, outcome.after)
    call.state.put("trust", (mspid,), after)
    return HospitalResult(
        mspid=mspid,
        attendance_ppm=outcome.signals.attendance_ppm,
        integrity=outcome.signals.integrity,
        utility_ppm=outcome.signals.utility_ppm,
        quality_ppm=outcome.signals.quality_ppm,
        validator_ppm=outcome.signals.validator_ppm,
        contributed=outcome.contributed,
        trust=after,
        pay_micro=pay,
        deposit_micro=deposit,
    )


def _update_progress(progress: TaskState, record: RoundRecord, outcomes: dict[str, _Outcome], *, paid: int) -> None:
    expected = record["committed"] if record["phase"] == "commit" else record["revealed"]
    missed = {mspid: record["round"] for mspid in outcomes if mspid not in expected and mspid not in record["absent"]}
    progress["absent"] = {**progress["absent"], **missed}
    progress["decryptions"] += record["decryptions"]
    progress["escrow_micro"] -= paid


def _go_on(call: Call, terms: TaskTerms, progress: TaskState, record: RoundRecord, failure: str) -> tuple[NextRound | None, int]:
    """Open the next round or end the task; returns the round opened and what went back to the researcher."""
    if failure:
        return None, close(call.state, terms, progress, "abandoned", failure)
    if record["round"] == terms["rounds"]:
        return None, close(call.state, terms, progress, "finished", "")
    seed = seed_of({"purpose": "round", "task_id": record["task_id"], "round": record["round"] + 1, "reveals": record["reveal_seed"]})
    following = open_round(call.state, terms, progress, record["round"] + 1, seed)
    if following is None:
        return None, close(call.state, terms, progress, "abandoned", "too few hospitals are left to open a round")
    save(call.state, progress)
    return following, 0
