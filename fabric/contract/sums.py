"""Sums of groups, the quorum's shares of their decryption, and the candidate model made of them.

Never two overlapping sets in one round: the difference of two sums of a group would be a hospital's update. So the members
that a group is first posted with are pinned, whoever posts again.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fabric.contract import key_wear
from fabric.contract.arguments import AnyEntries, Attempt, Digest, GroupNumber, Mspid, Round, SomeEntries, Statement, TaskId
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.groups import SMALLEST_SUM
from fabric.contract.phases import announce_own, enter, in_phase, require_member, require_turn
from fabric.contract.records import Candidate, Objection, RoundRecord, ShareRecord, SumRecord
from fabric.contract.settlement import settle
from fabric.contract.tasks import progress_of, terms_of

NO_AGGREGATOR = "every elected aggregator was silent, had too few ciphertexts, or was objected to"


@dataclass(frozen=True)
class GroupSum:
    group: GroupNumber
    members: Annotated[tuple[Mspid, ...], SomeEntries]
    digest: Digest


@dataclass(frozen=True)
class PostSums:
    """No sums at all: this aggregator has too few ciphertexts of every group, and hands on to the next."""

    task_id: TaskId
    round: Round
    sums: Annotated[tuple[GroupSum, ...], AnyEntries]


@dataclass(frozen=True)
class PostShare:
    task_id: TaskId
    round: Round
    attempt: Attempt
    digest: Digest


@dataclass(frozen=True)
class ObjectSums:
    task_id: TaskId
    round: Round
    reason: Statement


@dataclass(frozen=True)
class PostCandidate:
    task_id: TaskId
    round: Round
    digest: Digest
    rejected_groups: Annotated[tuple[GroupNumber, ...], AnyEntries]


def post_sums(call: Call, argument: PostSums) -> dict[str, Any]:
    record = in_phase(call, argument.task_id, argument.round, "sum")
    require_turn(call, record)
    if not argument.sums:
        return next_aggregator(call, record)
    _distinct([entry.group for entry in argument.sums], "sums")
    for entry in argument.sums:
        _check_sum(record, entry)
    terms, progress = terms_of(call.state, argument.task_id), progress_of(call.state, argument.task_id)
    if not key_wear.bears(terms, progress, record, len(argument.sums)):
        return settle(call, terms, progress, record, lost=key_wear.WORN)
    ordered = sorted(argument.sums, key=lambda entry: entry.group)
    record["sums"] = [SumRecord(group=entry.group, members=sorted(entry.members), digest=entry.digest) for entry in ordered]
    record["pinned"] = {**record["pinned"], **{str(entry["group"]): entry["members"] for entry in record["sums"]}}
    record["decryptions"] += len(record["sums"])
    return enter(call, record, "decrypt", record["revealed"])


def _check_sum(record: RoundRecord, entry: GroupSum) -> None:
    if entry.group >= len(record["groups"]):
        raise ContractError("BAD_SUM", f"there is no group {entry.group}; the round has {len(record['groups'])}, counted from 0")
    _distinct(list(entry.members), f"members of group {entry.group}")
    if not set(entry.members) <= set(record["groups"][entry.group]):
        raise ContractError("BAD_SUM", f"the sum of group {entry.group} has members of other groups; add the group's own ciphertexts only")
    if len(entry.members) < SMALLEST_SUM:
        raise ContractError("BAD_SUM", f"the sum of group {entry.group} has fewer than {SMALLEST_SUM} members; leave the group out")
    pinned = record["pinned"].get(str(entry.group))
    if pinned is not None and pinned != sorted(entry.members):
        raise ContractError(
            "OVERLAPPING_SETS",
            f"group {entry.group} was posted with other members before, and two overlapping sums would reveal an update; "
            "post the same members or leave the group out",
        )


def _distinct(values: list[Any], what: str) -> None:
    if len(set(values)) != len(values):
        raise ContractError("BAD_ARGUMENT", f"an entry stands twice in {what}; send each once")


def post_share(call: Call, argument: PostShare) -> dict[str, Any]:
    record = in_phase(call, argument.task_id, argument.round, "decrypt")
    require_member(call, record["quorum"], "in the decryption quorum")
    if argument.attempt != record["attempt"]:
        raise ContractError("WRONG_ATTEMPT", f"decryption is at attempt {record['attempt']}; make a fresh share for it")
    place = (argument.task_id, argument.round, argument.attempt, call.mspid)
    if call.state.get("share", *place) is not None:
        raise ContractError("ALREADY_POSTED", f"{call.mspid} has posted its share of attempt {argument.attempt} already")
    call.state.put("share", place, ShareRecord(mspid=call.mspid, digest=argument.digest))
    return announce_own(call, record, "share")


def object_sums(call: Call, argument: ObjectSums) -> dict[str, Any]:
    """Once a round for each quorum member, so that one of them cannot use up all aggregators."""
    record = in_phase(call, argument.task_id, argument.round, "decrypt")
    require_member(call, record["quorum"], "in the decryption quorum")
    if any(objection["mspid"] == call.mspid for objection in record["objections"]):
        raise ContractError("ALREADY_OBJECTED", f"{call.mspid} has objected in this round already; post a share or stay silent")
    objection = Objection(mspid=call.mspid, reason=argument.reason, attempt=record["attempt"])
    record["objections"] = [*record["objections"], objection]
    return next_aggregator(call, record)


def next_aggregator(call: Call, record: RoundRecord) -> dict[str, Any]:
    """Give the sums to the next in the list, all shares void; without one, the round is lost and the next one opens."""
    if record["turn"] + 1 >= len(record["aggregators"]):
        terms, progress = terms_of(call.state, record["task_id"]), progress_of(call.state, record["task_id"])
        return settle(call, terms, progress, record, lost=NO_AGGREGATOR)
    record.update({"turn": record["turn"] + 1, "attempt": record["attempt"] + 1, "sums": []})
    return enter(call, record, "sum", record["revealed"])


def shared(call: Call, record: RoundRecord) -> list[str]:
    """Quorum members whose share of this attempt is posted."""
    place = (record["task_id"], record["round"], record["attempt"])
    return [mspid for mspid in record["quorum"] if call.state.get("share", *place, mspid) is not None]


def post_candidate(call: Call, argument: PostCandidate) -> dict[str, Any]:
    record = in_phase(call, argument.task_id, argument.round, "decrypt")
    require_turn(call, record)
    missing = sorted(set(record["quorum"]) - set(shared(call, record)))
    if missing:
        raise ContractError("SHARES_MISSING", f"{', '.join(missing)} have not posted their shares; wait for them")
    _distinct(list(argument.rejected_groups), "rejected_groups")
    if not set(argument.rejected_groups) <= {entry["group"] for entry in record["sums"]}:
        raise ContractError("BAD_ARGUMENT", "rejected_groups names a group that was not summed; name summed groups only")
    record["candidate"] = Candidate(digest=argument.digest, rejected_groups=sorted(argument.rejected_groups), aggregator=call.mspid)
    return enter(call, record, "score_commit", record["revealed"])
