"""Queries. They may read ranges, which submits never do; fabric.ledger_views names what each answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric.contract import budget as renyi
from fabric.contract import clock, slashing, standing
from fabric.contract.arguments import Mspid, Name, Round, TaskId
from fabric.contract.caller import Call
from fabric.contract.delegation import delegated_micro
from fabric.contract.disputes import place_of
from fabric.contract.errors import ContractError
from fabric.contract.fairness import fairness_of
from fabric.contract.records import Dispute, Organisation
from fabric.contract.registry import PARTITIONS, endpoint, filter_of, roster
from fabric.contract.registry import organisation as organisation_of
from fabric.contract.tasks import OVER, TaskArgument, asked, progress_of, round_of, terms_of
from fabric.contract.vesting import vesting_of

_EVENT = ("partition", "mechanism", "noise_multiplier_micro", "sampling_rate_ppm")


@dataclass(frozen=True)
class OrganisationArgument:
    mspid: Mspid


@dataclass(frozen=True)
class BudgetArgument:
    mspid: Mspid
    dataset: Name


@dataclass(frozen=True)
class RoundArgument:
    task_id: TaskId
    round: Round


def version(call: Call, _: None) -> dict[str, Any]:
    release = call.state.release
    return {"contract": "consortium", "version": release.version, "schema": release.schema}


def organisations(call: Call, _: None) -> list[dict[str, Any]]:
    return [_organisation_view(call, record) for record in call.state.scan("organisation")]


def organisation(call: Call, argument: OrganisationArgument) -> dict[str, Any]:
    return _organisation_view(call, organisation_of(call.state, argument.mspid))


def _organisation_view(call: Call, record: Organisation) -> dict[str, Any]:
    mspid = record["mspid"]
    account = call.state.get("account", mspid)
    trust_ppm = standing.trust_of(call.state, mspid).trust_ppm
    return {
        **record,
        **account,
        "trust_ppm": trust_ppm,
        "heartbeats": clock.heartbeats(call.state, mspid),
        "delegated_micro": delegated_micro(call.state, mspid),
        "fairness_ppm": fairness_of(call.state, mspid),
        "vesting_micro": sum(vesting_of(call.state, mspid)),
        "ejected": slashing.ejected(call.state, mspid),
    }


def identities(call: Call, _: None) -> list[dict[str, Any]]:
    return list(call.state.scan("identity"))


def trust(call: Call, _: None) -> list[dict[str, Any]]:
    return [dict(standing.trust_record(mspid, standing.trust_of(call.state, mspid))) for mspid in roster(call.state)["hospital"]]


def budget(call: Call, argument: BudgetArgument) -> dict[str, Any]:
    record = call.state.get("dataset", argument.mspid, argument.dataset)
    if record is None:
        raise ContractError("NOT_FOUND", f"{argument.mspid} has registered no data set {argument.dataset}; check the names")
    filters = [_filter_view(partition, filter_of(call.state, argument.mspid, argument.dataset, partition)) for partition in PARTITIONS]
    return {**record, "filters": filters}


def datasets(call: Call, _: None) -> list[dict[str, Any]]:
    return list(call.state.scan("dataset"))


def spends(call: Call, argument: BudgetArgument) -> list[dict[str, Any]]:
    """What a data set spent, task by task and listing by listing: events that are alike stand as one, with their steps added."""
    found: dict[tuple[Any, ...], int] = {}
    for terms in call.state.scan("task"):
        for debit in (*call.state.scan("debit", terms["task_id"]), *call.state.scan("release", terms["task_id"])):
            if (debit["mspid"], debit["dataset"]) == (argument.mspid, argument.dataset):
                for spend in debit["spends"]:
                    event = (terms["task_id"], *(spend[name] for name in _EVENT))
                    found[event] = found.get(event, 0) + spend["steps"]
    for debit in call.state.scan("listing_debit"):
        if (debit["mspid"], debit["dataset"]) == (argument.mspid, argument.dataset):
            for spend in debit["spends"]:
                event = (f"listing {debit['listing_id']}", *(spend[name] for name in _EVENT))
                found[event] = found.get(event, 0) + spend["steps"]
    return [dict(zip(("task_id", *_EVENT, "steps"), (*event, steps), strict=True)) for event, steps in found.items()]


def _filter_view(partition: str, record: Mapping[str, Any]) -> dict[str, Any]:
    spent = renyi.epsilon_spent_micro(record["spent_micro"], record["delta_inverse"])
    return {**record, "partition": partition, "epsilon_spent_micro": spent}


def listings(call: Call, _: None) -> list[dict[str, Any]]:
    return list(call.state.scan("listing"))


def orders(call: Call, _: None) -> list[dict[str, Any]]:
    return list(call.state.scan("order"))


def tasks(call: Call, _: None) -> list[dict[str, Any]]:
    return [_summary(call, terms) for terms in call.state.scan("task")]


def _summary(call: Call, terms: dict[str, Any]) -> dict[str, Any]:
    progress = progress_of(call.state, terms["task_id"])
    moving = {name: progress[name] for name in ("phase", "reason", "round", "participants")}
    return {name: terms[name] for name in ("task_id", "digest", "title", "organisation", "rounds")} | moving


def task(call: Call, argument: TaskArgument) -> dict[str, Any]:
    terms, progress = terms_of(call.state, argument.task_id), progress_of(call.state, argument.task_id)
    hospitals = roster(call.state)["hospital"]
    place = (argument.task_id, progress["attempt"])
    return {
        **progress,
        "terms": terms,
        "decryptions": progress["decryptions"] + _decryptions_under_way(call, argument.task_id, progress["phase"], progress["round"]),
        "elapsed": 0 if progress["phase"] in OVER else clock.elapsed(call.state, progress["clock"]),
        "hospitals": asked(progress) if progress["phase"] == "proposed" else hospitals,
        "statements": list(call.state.scan("statement", argument.task_id)),
        "withdrawals": list(call.state.scan("withdrawal", argument.task_id)),
        "releases": list(call.state.scan("release", argument.task_id)),
        "decisions": [record for record in call.state.scan("decision", argument.task_id) if "approved" in record],
        "key_shares": list(call.state.scan("key_share", *place)),
        "confirmations": list(call.state.scan("key_confirmation", *place)),
        "accusations": list(call.state.scan("key_accusation", *place)),
        "endpoints": _endpoints(call, progress["participants"] or hospitals),
        "disputes": [entry for entry in disputes(call, argument) if entry["phase"] != "closed"],
    }


def _decryptions_under_way(call: Call, task_id: str, phase: str, number: int) -> int:
    return round_of(call.state, task_id, number)["decryptions"] if phase == "rounds" else 0


def _endpoints(call: Call, members: list[str]) -> dict[str, str]:
    found = {mspid: endpoint(call.state, mspid) for mspid in members}
    return {mspid: address for mspid, address in found.items() if address}


def round_view(call: Call, argument: RoundArgument) -> dict[str, Any]:
    terms, record = terms_of(call.state, argument.task_id), round_of(call.state, argument.task_id, argument.round)
    place = (argument.task_id, argument.round)
    return {
        **record,
        "elapsed": 0 if record["phase"] in ("settled", "aborted") else clock.elapsed(call.state, record["clock"]),
        "limit": terms["heartbeat_limit"],
        "debits": list(call.state.scan("debit", *place)),
        "commits": list(call.state.scan("commit", *place)),
        "reveals": list(call.state.scan("reveal", *place)),
        "shares": list(call.state.scan("share", *place, record["attempt"])),
        "share_objections": list(call.state.scan("share_objection", *place, record["attempt"])),
        "score_commits": list(call.state.scan("score_commit", *place)),
        "score_reveals": list(call.state.scan("score_reveal", *place)),
        "endpoints": _endpoints(call, [*record["participants"], *record["absent"]]),
        "root": _root(call, argument),
    }


def _root(call: Call, argument: RoundArgument) -> str:
    """Empty before commits are closed."""
    found = call.state.get("round_root", argument.task_id, argument.round)
    return "" if found is None else str(found["root"])


def settlement(call: Call, argument: RoundArgument) -> dict[str, Any]:
    found: dict[str, Any] | None = call.state.get("settlement", argument.task_id, argument.round)
    if found is None:
        raise ContractError(
            "NOT_FOUND", f"round {argument.round} of task {argument.task_id} is not settled; the round view says where it stands"
        )
    return found


def disputes(call: Call, argument: TaskArgument) -> list[dict[str, Any]]:
    """Every dispute about a task's updates, with what its judges and key holders have written."""
    terms = terms_of(call.state, argument.task_id)
    return [_dispute_view(call, terms["heartbeat_limit"], record) for record in call.state.scan("dispute", argument.task_id)]


def _dispute_view(call: Call, limit: int, record: Dispute) -> dict[str, Any]:
    place = place_of(record)
    return {
        **record,
        "elapsed": clock.elapsed(call.state, record["clock"]),
        "limit": limit,
        "seats": list(call.state.scan("dispute_seat", *place)),
        "shares": list(call.state.scan("dispute_share", *place)),
        "committed": [entry["mspid"] for entry in call.state.scan("finding_commit", *place)],
        "findings": list(call.state.scan("finding", *place)),
    }
