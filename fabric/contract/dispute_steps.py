"""`advance_dispute`: perform the one step of a dispute that is due. Whoever calls, the outcome is the same.

Silence counts against the silent: a judge or key holder that lets the limit pass loses a round's deposit, an accused whose ciphertext
nobody got is guilty. A dispute that too few answer in lapses, and the accuser has its bond back.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fabric.contract import accounts, clock, slashing, verdicts
from fabric.contract.caller import Call
from fabric.contract.disputes import FEWEST_JUDGES, DisputeArgument, dispute_of, place_of, save
from fabric.contract.errors import ContractError
from fabric.contract.records import Dispute
from fabric.contract.tasks import progress_of, terms_of

Result = dict[str, Any]


def advance_dispute(call: Call, argument: DisputeArgument) -> Result:
    dispute = dispute_of(call.state, argument)
    if dispute["phase"] == "closed":
        raise ContractError("WRONG_PHASE", f"the dispute is closed: {dispute['outcome']}")
    if call.mspid not in progress_of(call.state, dispute["task_id"])["participants"]:
        raise ContractError("NOT_A_PARTICIPANT", f"{call.mspid} has no part in the disputed task; its participants move its disputes on")
    late = clock.elapsed(call.state, dispute["clock"]) >= terms_of(call.state, dispute["task_id"])["heartbeat_limit"]
    members, kind, step = _STEPS[dispute["phase"]]
    expected = members(call, dispute)
    present = [mspid for mspid in expected if call.state.get(kind, *place_of(dispute), mspid) is not None]
    if len(present) < len(expected) and not late:
        raise ContractError("NOT_DUE", "nothing is due in this dispute: hospitals are still expected, and time is not up")
    _fine(call, dispute, [mspid for mspid in expected if mspid not in present])
    return step(call, dispute, present)


def _fine(call: Call, dispute: Dispute, silent: Sequence[str]) -> None:
    dispute["treasury_micro"] += sum(accounts.forfeit(call.state, mspid) for mspid in silent)
    dispute["fined"] = [*dispute["fined"], *silent]


def _committee(_: Call, dispute: Dispute) -> list[str]:
    return dispute["committee"]


def _quorum(_: Call, dispute: Dispute) -> list[str]:
    return dispute["quorum"]


def _committed(call: Call, dispute: Dispute) -> list[str]:
    return [mspid for mspid in dispute["committee"] if call.state.get("finding_commit", *place_of(dispute), mspid) is not None]


def _close_seating(call: Call, dispute: Dispute, seated: list[str]) -> Result:
    dispute["committee"] = seated
    return _enter(call, dispute, "opening") if len(seated) >= FEWEST_JUDGES else _lapse(call, dispute)


def _close_opening(call: Call, dispute: Dispute, answered: list[str]) -> Result:
    answers = {mspid: call.state.get("dispute_share", *place_of(dispute), mspid)["digest"] for mspid in answered}
    if verdicts.withheld(answers, len(dispute["quorum"])):
        return _convict(call, dispute, slashing.FAILED_OPENING)
    opened = [mspid for mspid in dispute["quorum"] if answers.get(mspid) is not None]
    return _enter(call, dispute, "finding") if opened == dispute["quorum"] else _lapse(call, dispute)


def _close_findings(call: Call, dispute: Dispute, committed: list[str]) -> Result:
    return _enter(call, dispute, "revealing") if len(committed) >= FEWEST_JUDGES else _lapse(call, dispute)


def _close_reveals(call: Call, dispute: Dispute, revealed: list[str]) -> Result:
    if len(revealed) < FEWEST_JUDGES:
        return _lapse(call, dispute)
    findings = {mspid: call.state.get("finding", *place_of(dispute), mspid) for mspid in revealed}
    outcome, reason = verdicts.verdict(len(dispute["committee"]), findings)
    if outcome == verdicts.GUILTY:
        return _convict(call, dispute, reason)
    return _burn(call, dispute) if outcome == verdicts.UNFOUNDED else _lapse(call, dispute)


def _convict(call: Call, dispute: Dispute, reason: str) -> Result:
    slashed = slashing.slash(call.state, dispute["accused"], reason, dispute["ciphertext_digest"])
    _refund(call, dispute)
    return _close(call, dispute, verdicts.GUILTY, [] if slashed is None else [slashed])


def _burn(call: Call, dispute: Dispute) -> Result:
    dispute["treasury_micro"] += dispute["escrow_micro"]
    return _close(call, dispute, verdicts.UNFOUNDED)


def _lapse(call: Call, dispute: Dispute) -> Result:
    _refund(call, dispute)
    return _close(call, dispute, verdicts.LAPSED)


def _refund(call: Call, dispute: Dispute) -> None:
    accounts.pay(call.state, dispute["accuser"], dispute["escrow_micro"])


def _close(call: Call, dispute: Dispute, outcome: str, slashed: Sequence[Any] = ()) -> Result:
    dispute.update({"phase": "closed", "outcome": outcome, "escrow_micro": 0, "clock": {}})
    return save(call, dispute, slashed)


def _enter(call: Call, dispute: Dispute, phase: str) -> Result:
    keepers = sorted({*dispute["committee"], *dispute["quorum"]})
    dispute.update({"phase": phase, "clock": clock.start(call.state, keepers)})
    return save(call, dispute)


_STEPS: dict[str, tuple[Callable[[Call, Dispute], list[str]], str, Callable[[Call, Dispute, list[str]], Result]]] = {
    "seating": (_committee, "dispute_seat", _close_seating),
    "opening": (_quorum, "dispute_share", _close_opening),
    "finding": (_committee, "finding_commit", _close_findings),
    "revealing": (_committed, "finding", _close_reveals),
}
