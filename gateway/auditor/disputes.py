"""Disputes computed again: what judges and key holders wrote gives the outcome, and the outcome moves bonds and deposits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fabric.contract import verdicts
from fabric.contract.disputes import BOND, FEWEST_JUDGES
from fabric.contract.keys import key
from fabric.contract.slashing import FAILED_OPENING
from gateway.auditor.calls import ContractCall

Place = tuple[str, int, str]
"""Task, round, accused."""


@dataclass
class _Dispute:
    """The record as the ledger last told it, and what its members wrote."""

    record: dict[str, Any]
    answers: dict[str, str | None] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DisputeMoves:
    """What a call of a dispute did to accounts: who lost a deposit, and what the accuser's balance gains or, negative, loses."""

    fined: tuple[str, ...]
    accuser: str
    accuser_micro: int
    treasury_micro: int
    """Of the accuser's bond; the deposits come on top."""
    recorded_micro: int
    """What the treasury got of both, as the ledger recorded it."""


class DisputeBook:
    """Follows disputes. `problems`: outcomes that do not follow from what was written."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._disputes: dict[Place, _Dispute] = {}

    def observe(self, call: ContractCall) -> DisputeMoves | None:
        """Take note of one valid call; what it did to accounts, if anything."""
        if call.function == "share_disputed":
            self._of(call.argument).answers[call.mspid] = call.argument["digest"]
        elif call.function == "reveal_finding":
            self._of(call.argument).findings[call.mspid] = call.argument
        return self._moved(call) if call.event == "dispute" else None

    def _of(self, argument: Mapping[str, Any]) -> _Dispute:
        return self._disputes[argument["task_id"], argument["round"], argument["accused"]]

    def _moved(self, call: ContractCall) -> DisputeMoves:
        record = {name: value for name, value in call.payload.items() if name not in ("rules", "schema", "slashed")}
        place = (record["task_id"], record["round"], record["accused"])
        if place not in self._disputes:
            self._disputes[place] = _Dispute(record)
            return DisputeMoves((), record["accuser"], -BOND, 0, record["treasury_micro"])
        dispute = self._disputes[place]
        fined = tuple(record["fined"][len(dispute.record["fined"]) :])
        treasury = record["treasury_micro"] - dispute.record["treasury_micro"]
        dispute.record = record
        if record["phase"] != "closed":
            return DisputeMoves(fined, record["accuser"], 0, 0, treasury)
        outcome, reason = _outcome(dispute)
        recorded = [slashed["reason"] for slashed in call.payload.get("slashed", [])]
        if record["outcome"] != outcome or any(each != reason for each in recorded):
            self.problems.append(
                f"block {call.block}: the dispute about {record['accused']}'s update of round {record['round']} of {record['task_id']} "
                f"is recorded as {record['outcome']}, recomputed {outcome}"
            )
        burnt = outcome == verdicts.UNFOUNDED
        return DisputeMoves(fined, record["accuser"], 0 if burnt else BOND, BOND if burnt else 0, treasury)

    @property
    def held_micro(self) -> int:
        """Bonds of accusers in open disputes, and what the treasury got of closed ones."""
        return sum(each.record["escrow_micro"] + each.record["treasury_micro"] for each in self._disputes.values())

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The records that should stand in the state, by key."""
        return {key("dispute", *place): each.record for place, each in self._disputes.items()}

    @property
    def saved(self) -> dict[str, Any]:
        """What the book remembers, as JSON values, for `restore`."""
        disputes = [{"record": each.record, "answers": each.answers, "findings": each.findings} for each in self._disputes.values()]
        return {"problems": self.problems, "disputes": disputes}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Remember again what was `saved`."""
        self.problems = saved["problems"]
        for each in saved["disputes"]:
            record = each["record"]
            self._disputes[record["task_id"], record["round"], record["accused"]] = _Dispute(**each)


def _outcome(dispute: _Dispute) -> tuple[str, str]:
    """What follows from the answers and findings of a dispute that was closed."""
    quorum, judges = dispute.record["quorum"], dispute.record["committee"]
    if verdicts.withheld(dispute.answers, len(quorum)):
        return verdicts.GUILTY, FAILED_OPENING
    if len(dispute.findings) < FEWEST_JUDGES:
        return verdicts.LAPSED, ""
    return verdicts.verdict(len(judges), dispute.findings)
