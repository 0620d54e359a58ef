"""Organisations, the certificates they give roles to, their data sets' budgets, heartbeats and leave."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric.contract import accounts, budget
from fabric.contract.access import GATEWAY, RESEARCHER
from fabric.contract.arguments import MSPID_PATTERN, DeltaInverse, Digest, Endpoint, Epsilon, IdentityRole, Name, OrganisationKind, Title
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.key_policies import owner_policy
from fabric.contract.records import Dataset, GatewayAddress, Identity, Organisation, Roster
from fabric.contract.state import State

HOSPITAL, RESEARCH, AUDIT = "hospital", "research", "audit"
PARTITIONS = ("train", "validation", "test")
_MSPID = re.compile(MSPID_PATTERN, re.ASCII)


@dataclass(frozen=True)
class RegisterOrganisation:
    name: Title
    kind: OrganisationKind


@dataclass(frozen=True)
class RegisterIdentity:
    role: IdentityRole
    fingerprint: Digest
    endpoint: Endpoint


@dataclass(frozen=True)
class RevokeIdentity:
    fingerprint: Digest


@dataclass(frozen=True)
class RegisterDataset:
    dataset: Name
    epsilon_micro: Epsilon
    delta_inverse: DeltaInverse


@dataclass(frozen=True)
class DeclareLeave:
    on: bool


def roster(state: State) -> Roster:
    found: Roster | None = state.get("roster")
    return found if found is not None else Roster(hospital=[], research=[], audit=[])


def organisation(state: State, mspid: str) -> Organisation:
    """The record, or NOT_FOUND."""
    found: Organisation | None = state.get("organisation", mspid)
    if found is None:
        raise ContractError("NOT_FOUND", f"{mspid} is not registered; its admin must call register_organisation first")
    return found


def endpoint(state: State, mspid: str) -> str:
    """Where one of the organisation's gateways accepts connections; "" if none does."""
    return next((address["endpoint"] for address in organisation(state, mspid)["gateways"] if address["endpoint"]), "")


def require_hospital(call: Call) -> Organisation:
    found = organisation(call.state, call.mspid)
    if found["kind"] != HOSPITAL:
        raise ContractError("NOT_A_HOSPITAL", f"{call.mspid} is registered as {found['kind']}; only hospitals hold data and take part")
    return found


def put_owned(state: State, mspid: str, kind: str, attributes: tuple[str | int, ...], record: Mapping[str, Any]) -> None:
    """Write a record that only a hospital itself may change: the next change takes its own peer beside a majority of those registered."""
    state.put(kind, attributes, record, policy=owner_policy(mspid, roster(state)["hospital"]))


def heartbeat(call: Call, _: None) -> dict[str, Any]:
    before = call.state.get("heartbeat", call.mspid)
    count = 1 if before is None else before["count"] + 1
    call.state.put("heartbeat", (call.mspid,), {"count": count})
    call.state.announce("heartbeat", {"mspid": call.mspid, "count": count})
    return {"count": count}


def register_organisation(call: Call, argument: RegisterOrganisation) -> dict[str, Any]:
    if not _MSPID.fullmatch(call.mspid):
        raise ContractError("BAD_ARGUMENT", "the MSP id must be letters, digits, '.', '_' and '-', at most 64; choose another for the MSP")
    if call.state.get("organisation", call.mspid) is not None:
        raise ContractError("ALREADY_REGISTERED", f"{call.mspid} is registered already; tokens are minted once")
    record = Organisation(mspid=call.mspid, name=argument.name, kind=argument.kind, leave=False, gateways=[])
    call.state.put("organisation", (call.mspid,), record)
    call.state.put("roster", (), _enlisted(roster(call.state), argument.kind, call.mspid))
    accounts.open_account(call.state, call.mspid, bonded=argument.kind == HOSPITAL)
    call.state.announce("organisation_registered", {"mspid": call.mspid, "name": argument.name, "kind": argument.kind})
    return {"mspid": call.mspid}


def _enlisted(before: Roster, kind: str, mspid: str) -> Roster:
    lists = {HOSPITAL: before["hospital"], RESEARCH: before["research"], AUDIT: before["audit"]}
    lists[kind] = sorted([*lists[kind], mspid])
    return Roster(hospital=lists[HOSPITAL], research=lists[RESEARCH], audit=lists[AUDIT])


def register_identity(call: Call, argument: RegisterIdentity) -> dict[str, Any]:
    owner = organisation(call.state, call.mspid)
    if argument.role == GATEWAY and owner["kind"] != HOSPITAL:
        raise ContractError("NOT_A_HOSPITAL", f"{call.mspid} is registered as {owner['kind']}; only a hospital runs a gateway")
    if argument.role == RESEARCHER and owner["kind"] == AUDIT:
        raise ContractError("DENIED", f"{call.mspid} is registered as audit; an auditor's organisation submits no tasks")
    if argument.endpoint and argument.role != GATEWAY:
        raise ContractError("BAD_ARGUMENT", "only a gateway has an endpoint; send an empty one")
    if call.state.get("identity", call.mspid, argument.fingerprint) is not None:
        raise ContractError(
            "ALREADY_REGISTERED", "this certificate was registered before; revoke it and issue a new one to change its role"
        )
    record = Identity(mspid=call.mspid, fingerprint=argument.fingerprint, role=argument.role, endpoint=argument.endpoint, revoked=False)
    call.state.put("identity", (call.mspid, argument.fingerprint), record)
    if argument.role == GATEWAY:
        address = GatewayAddress(fingerprint=argument.fingerprint, endpoint=argument.endpoint)
        call.state.put("organisation", (call.mspid,), {**owner, "gateways": [*owner["gateways"], address]})
    event = {"mspid": call.mspid, "fingerprint": argument.fingerprint, "role": argument.role, "endpoint": argument.endpoint}
    call.state.announce("identity_registered", event)
    return {"fingerprint": argument.fingerprint}


def revoke_identity(call: Call, argument: RevokeIdentity) -> dict[str, Any]:
    record: Identity | None = call.state.get("identity", call.mspid, argument.fingerprint)
    if record is None:
        raise ContractError(
            "NOT_FOUND", f"{call.mspid} has registered no certificate with this fingerprint; check it with the identities view"
        )
    if record["revoked"]:
        raise ContractError("ALREADY_REVOKED", "this certificate is revoked already")
    owner = organisation(call.state, call.mspid)
    call.state.put("identity", (call.mspid, argument.fingerprint), {**record, "revoked": True})
    remaining = [address for address in owner["gateways"] if address["fingerprint"] != argument.fingerprint]
    call.state.put("organisation", (call.mspid,), {**owner, "gateways": remaining})
    call.state.announce("identity_revoked", {"mspid": call.mspid, "fingerprint": argument.fingerprint})
    return {"fingerprint": argument.fingerprint}


def register_dataset(call: Call, argument: RegisterDataset) -> dict[str, Any]:
    """Open a filter for each partition. Never changed afterwards: a budget that can be raised is none."""
    require_hospital(call)
    if call.state.get("dataset", call.mspid, argument.dataset) is not None:
        raise ContractError("ALREADY_REGISTERED", f"{argument.dataset} is registered already, and its budget is fixed for ever")
    record = Dataset(mspid=call.mspid, dataset=argument.dataset, epsilon_micro=argument.epsilon_micro, delta_inverse=argument.delta_inverse)
    put_owned(call.state, call.mspid, "dataset", (call.mspid, argument.dataset), record)
    for partition in PARTITIONS:
        opened = new_filter(argument.epsilon_micro, argument.delta_inverse)
        put_owned(call.state, call.mspid, "filter", (call.mspid, argument.dataset, partition), opened)
    call.state.announce(
        "dataset_registered",
        {
            "mspid": call.mspid,
            "dataset": argument.dataset,
            "epsilon_micro": argument.epsilon_micro,
            "delta_inverse": argument.delta_inverse,
        },
    )
    return {"dataset": argument.dataset}


def filter_of(state: State, mspid: str, dataset: str, partition: str) -> dict[str, Any]:
    """The filter of a registered data set. One of contract 1.0 has none for held-out patients, who gave nothing then."""
    found: dict[str, Any] | None = state.get("filter", mspid, dataset, partition)
    if found is not None:
        return found
    registered: Dataset = state.get("dataset", mspid, dataset)
    return new_filter(registered["epsilon_micro"], registered["delta_inverse"])


def new_filter(epsilon_micro: int, delta_inverse: int) -> dict[str, Any]:
    """A filter (records.Filter) with nothing spent; refuse with BUDGET_TOO_SMALL where no order could ever hold a spend."""
    caps = budget.caps_micro(epsilon_micro, delta_inverse)
    if not any(caps):
        raise ContractError(
            "BUDGET_TOO_SMALL",
            f"an ε of {epsilon_micro} micro-units at δ = 1/{delta_inverse} allows no spend at any order; raise ε or δ",
        )
    return {
        "epsilon_micro": epsilon_micro,
        "delta_inverse": delta_inverse,
        "caps_micro": list(caps),
        "spent_micro": [0] * len(caps),
    }


def declare_leave(call: Call, argument: DeclareLeave) -> dict[str, Any]:
    """Takes effect when the next round opens: a round under way is still counted."""
    owner = require_hospital(call)
    call.state.put("organisation", (call.mspid,), {**owner, "leave": argument.on})
    call.state.announce("leave_declared", {"mspid": call.mspid, "on": argument.on})
    return {"leave": argument.on}
