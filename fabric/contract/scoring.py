"""Validators' scores: committed to before any is seen, so that none can be copied from another."""

from dataclasses import dataclass
from typing import Annotated, Any

from fabric.contract import normalisation
from fabric.contract.arguments import AnyEntries, Digest, GroupNumber, Hex32, Round, TaskId, Utility
from fabric.contract.caller import Call
from fabric.contract.commitments import score_commitment
from fabric.contract.errors import ContractError
from fabric.contract.phases import announce_own, in_phase, require_member
from fabric.contract.records import Commit, GroupScore, RoundRecord, ScoreReveal, Scores
from fabric.contract.spending import debited


@dataclass(frozen=True)
class CommitScores:
    task_id: TaskId
    round: Round
    digest: Digest


@dataclass(frozen=True)
class GroupUtility:
    group: GroupNumber
    utility_micro: Utility


@dataclass(frozen=True)
class Judgement:
    candidate_digest: Digest
    candidate_micro: Utility
    groups: Annotated[tuple[GroupUtility, ...], AnyEntries]


@dataclass(frozen=True)
class RevealScores:
    task_id: TaskId
    round: Round
    nonce: Hex32
    scores: Judgement


def commit_scores(call: Call, argument: CommitScores) -> dict[str, Any]:
    record = in_phase(call, argument.task_id, argument.round, "score_commit")
    require_member(call, record["committee"], "on the validation committee")
    place = (argument.task_id, argument.round, call.mspid)
    if argument.round != normalisation.ROUND and not debited(call, argument.task_id, argument.round, "validation"):
        raise ContractError(
            "NOT_DEBITED", "scores release something of the validation patients, whose budget this round's debit did not cover"
        )
    if call.state.get("score_commit", *place) is not None:
        raise ContractError("ALREADY_COMMITTED", f"{call.mspid} has committed its scores of round {argument.round}; they stand")
    call.state.put("score_commit", place, Commit(mspid=call.mspid, digest=argument.digest))
    return announce_own(call, record, "score_commit")


def reveal_scores(call: Call, argument: RevealScores) -> dict[str, Any]:
    record = in_phase(call, argument.task_id, argument.round, "score_reveal")
    require_member(call, record["scorers"], "among those that committed scores")
    place = (argument.task_id, argument.round, call.mspid)
    if call.state.get("score_reveal", *place) is not None:
        raise ContractError("ALREADY_REVEALED", f"{call.mspid} has revealed its scores of round {argument.round} already")
    scores = _as_record(argument.scores)
    _check_groups(record, call.mspid, scores)
    if argument.round == normalisation.ROUND and (scores["candidate_micro"] or scores["groups"]):
        raise ContractError("BAD_ARGUMENT", "round 0 scores nothing; send the candidate's digest with 0 and no groups")
    committed: Commit = call.state.get("score_commit", *place)
    if committed["digest"] != score_commitment(argument.task_id, argument.round, call.mspid, argument.nonce, scores):
        raise ContractError(
            "COMMITMENT_MISMATCH", "these are not the scores that were committed to; reveal the nonce and scores of the commitment"
        )
    call.state.put("score_reveal", place, ScoreReveal(mspid=call.mspid, nonce=argument.nonce, scores=scores))
    return announce_own(call, record, "score_reveal")


def _as_record(judgement: Judgement) -> Scores:
    return Scores(
        candidate_digest=judgement.candidate_digest,
        candidate_micro=judgement.candidate_micro,
        groups=[GroupScore(group=entry.group, utility_micro=entry.utility_micro) for entry in judgement.groups],
    )


def _check_groups(record: RoundRecord, mspid: str, scores: Scores) -> None:
    numbers = [entry["group"] for entry in scores["groups"]]
    if len(set(numbers)) != len(numbers):
        raise ContractError("BAD_ARGUMENT", "a group is scored twice; score each once")
    if not set(numbers) <= {entry["group"] for entry in record["sums"]}:
        raise ContractError("BAD_ARGUMENT", "a group is scored that was not summed; score summed groups only")
    if any(mspid in record["groups"][number] for number in numbers):
        raise ContractError("OWN_GROUP", f"{mspid} scored its own group; leave that one out")
