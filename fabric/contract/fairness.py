"""Attestations of fairness: what an auditor examined off the ledger, signed, with the digest of its report. Rewards are weighted by it."""

from dataclasses import dataclass
from typing import Any

from fabric.contract.arguments import Digest, Fairness, Mspid
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.incentives import fairness_ppm
from fabric.contract.records import Attestations
from fabric.contract.registry import AUDIT, HOSPITAL, organisation
from fabric.contract.state import State


@dataclass(frozen=True)
class AttestFairness:
    mspid: Mspid
    fairness_ppm: Fairness
    evidence_digest: Digest


def attest_fairness(call: Call, argument: AttestFairness) -> dict[str, Any]:
    """By an auditor of an organisation that audits only: a hospital must not weigh its rivals' rewards. A later one replaces it."""
    if organisation(call.state, call.mspid)["kind"] != AUDIT:
        raise ContractError("DENIED", f"{call.mspid} is not registered as audit; only auditors' own organisations attest fairness")
    if organisation(call.state, argument.mspid)["kind"] != HOSPITAL:
        raise ContractError("NOT_A_HOSPITAL", f"{argument.mspid} is no hospital; fairness is attested to those that contribute")
    record = _record(call.state, argument.mspid)
    record["by"] = {**record["by"], call.mspid: argument.fairness_ppm}
    call.state.put("fairness", (argument.mspid,), record)
    event = {"mspid": argument.mspid, "auditor": call.mspid, "fairness_ppm": argument.fairness_ppm}
    call.state.announce("fairness_attested", {**event, "evidence_digest": argument.evidence_digest})
    return event


def fairness_of(state: State, mspid: str) -> int:
    """F of a hospital, in ppm."""
    return fairness_ppm(_record(state, mspid)["by"].values())


def _record(state: State, mspid: str) -> Attestations:
    found: Attestations | None = state.get("fairness", mspid)
    return Attestations(mspid=mspid, by={}) if found is None else found.copy()
