"""Disputes about a past update: what the accuser, the audit committee and the holders of the key write. What follows: dispute_steps.

The accused's ciphertext, to whose digest it committed, is decrypted by a quorum of the task's key holders for the eyes of an elected
committee alone: each share is sealed to each judge. The committee finds, commit then reveal; docs/incentives.md tells the whole way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fabric.contract import accounts, clock, key_wear, normalisation, standing
from fabric.contract.arguments import Digest, FindingKind, Hex32, Mspid, Round, Statement, TaskId
from fabric.contract.caller import Call
from fabric.contract.commitments import finding_commitment
from fabric.contract.election import Stream, draw, seed_of
from fabric.contract.errors import ContractError
from fabric.contract.records import Commit, Dispute, DisputeSeat, DisputeShare, Finding, Reveal, RoundRecord, Slash, TaskState
from fabric.contract.registry import organisation, require_hospital
from fabric.contract.slashing import ejected, in_good_standing
from fabric.contract.state import State
from fabric.contract.tasks import progress_of, round_of, terms_of
from fabric.contract.tasks import save as save_progress

ROUNDS_OPEN = 3
"""How many rounds back an update can be disputed: gateways keep ciphertexts that long."""
LARGEST_COMMITTEE, FEWEST_JUDGES = 5, 2
BOND = 10 * accounts.TOKEN
KIND = "dispute"
"""Of the record, and the event's name: its payload is the record as it then stands."""


@dataclass(frozen=True)
class OpenDispute:
    task_id: TaskId
    round: Round
    accused: Mspid
    reason: Statement


@dataclass(frozen=True)
class DisputeArgument:
    task_id: TaskId
    round: Round
    accused: Mspid


@dataclass(frozen=True)
class TakeSeat(DisputeArgument):
    sealing_key: Hex32


@dataclass(frozen=True)
class ShareDisputed(DisputeArgument):
    digest: Digest | None
    """None: the accused's ciphertext was not to be had."""


@dataclass(frozen=True)
class CommitFinding(DisputeArgument):
    digest: Digest


@dataclass(frozen=True)
class RevealFinding(DisputeArgument):
    nonce: Hex32
    finding: FindingKind
    opened_digest: Digest


def open_dispute(call: Call, argument: OpenDispute) -> dict[str, Any]:
    """Put a bond on it that an update of one of the last settled rounds was no honest one."""
    require_hospital(call)
    progress, record = progress_of(call.state, argument.task_id), round_of(call.state, argument.task_id, argument.round)
    _check_parties(call, argument, progress)
    _check_round(argument, progress, record)
    if call.state.get(KIND, argument.task_id, argument.round, argument.accused) is not None:
        raise ContractError("ALREADY_DISPUTED", f"{argument.accused}'s update of round {argument.round} was disputed; once is all")
    _count_opening(call, progress)
    accounts.pay(call.state, call.mspid, -BOND)
    revealed: Reveal = call.state.get("reveal", argument.task_id, argument.round, argument.accused)
    dispute = _elected(call.state, argument, progress, record, call.mspid, revealed["ciphertext_digest"])
    return save(call, dispute)


def _check_parties(call: Call, argument: OpenDispute, progress: TaskState) -> None:
    if call.mspid not in progress["participants"] or ejected(call.state, call.mspid):
        raise ContractError("NOT_A_PARTICIPANT", f"{call.mspid} has no part in task {argument.task_id}; its participants dispute updates")
    if argument.accused == call.mspid:
        raise ContractError("BAD_ARGUMENT", "nobody disputes its own update; name another hospital")


def _check_round(argument: OpenDispute, progress: TaskState, record: RoundRecord) -> None:
    if record["phase"] != "settled" or argument.round == normalisation.ROUND:
        raise ContractError("WRONG_PHASE", f"round {argument.round} is no settled training round; dispute updates of one that is")
    if progress["round"] - argument.round > ROUNDS_OPEN:
        raise ContractError("TOO_LATE", f"an update can be disputed for {ROUNDS_OPEN} rounds; its ciphertext is kept no longer")
    if not any(argument.accused in entry["members"] for entry in record["sums"]):
        raise ContractError("NOT_SUMMED", f"no sum of round {argument.round} holds an update of {argument.accused}; nothing can be opened")


def _count_opening(call: Call, progress: TaskState) -> None:
    """The committee sees one more decryption under the task's key. Its error is smaller than a sum's: counting it as one is enough."""
    under_way = round_of(call.state, progress["task_id"], progress["round"]) if progress["phase"] == "rounds" else None
    if not key_wear.bears_one_more(terms_of(call.state, progress["task_id"]), progress, under_way):
        raise ContractError("KEY_WOULD_WEAR_OUT", "the task's key bears no opening beside those its rounds need; this update stays closed")
    progress["decryptions"] += 1
    save_progress(call.state, progress)


def _elected(
    state: State, argument: OpenDispute, progress: TaskState, record: RoundRecord, accuser: str, ciphertext_digest: str
) -> Dispute:
    """The dispute with its judges and key holders. Who was in a sum with the accused is no judge: with that sum it could tell the others'
    updates from the accused's."""
    able = [mspid for mspid in in_good_standing(state, progress["participants"]) if not organisation(state, mspid)["leave"]]
    others = standing.weights(state, [mspid for mspid in able if mspid != argument.accused])
    near = next(entry["members"] for entry in record["sums"] if argument.accused in entry["members"])
    judges = {mspid: weight for mspid, weight in others.items() if mspid not in (accuser, *near)}
    seed = seed_of({"purpose": KIND, "task_id": argument.task_id, "accused": argument.accused, "reveals": record["reveal_seed"]})
    committee = sorted(draw(judges, LARGEST_COMMITTEE, Stream(seed, "committee")))
    quorum = sorted(draw(others, progress["threshold"], Stream(seed, "quorum")))
    if len(committee) < FEWEST_JUDGES or len(quorum) < progress["threshold"]:
        raise ContractError(
            "TOO_FEW_JUDGES",
            f"{len(committee)} hospitals could judge and {len(quorum)} decrypt; it takes {FEWEST_JUDGES} judges that were in no sum with "
            f"the accused, and {progress['threshold']} key holders",
        )
    return Dispute(
        task_id=argument.task_id,
        round=argument.round,
        accused=argument.accused,
        reason=argument.reason,
        accuser=accuser,
        phase="seating",
        ciphertext_digest=ciphertext_digest,
        committee=committee,
        quorum=quorum,
        clock=clock.start(state, sorted({*committee, *quorum})),
        fined=[],
        escrow_micro=BOND,
        treasury_micro=0,
        outcome="",
    )


def take_seat(call: Call, argument: TakeSeat) -> dict[str, Any]:
    dispute = in_phase(call, argument, "seating")
    _require(call, dispute["committee"], "on the committee of this dispute")
    return _put_own(call, dispute, "dispute_seat", DisputeSeat(mspid=call.mspid, sealing_key=argument.sealing_key))


def share_disputed(call: Call, argument: ShareDisputed) -> dict[str, Any]:
    dispute = in_phase(call, argument, "opening")
    _require(call, dispute["quorum"], "among the key holders of this dispute")
    return _put_own(call, dispute, "dispute_share", DisputeShare(mspid=call.mspid, digest=argument.digest))


def commit_finding(call: Call, argument: CommitFinding) -> dict[str, Any]:
    dispute = in_phase(call, argument, "finding")
    _require(call, dispute["committee"], "on the committee of this dispute")
    return _put_own(call, dispute, "finding_commit", Commit(mspid=call.mspid, digest=argument.digest))


def reveal_finding(call: Call, argument: RevealFinding) -> dict[str, Any]:
    dispute = in_phase(call, argument, "revealing")
    committed: Commit | None = call.state.get("finding_commit", *place_of(dispute), call.mspid)
    if committed is None:
        raise ContractError("NOT_A_PARTICIPANT", f"{call.mspid} has committed no finding in this dispute; the dispute view names who has")
    found = Finding(mspid=call.mspid, finding=argument.finding, nonce=argument.nonce, opened_digest=argument.opened_digest)
    if committed["digest"] != finding_commitment(*place_of(dispute), found):
        raise ContractError("COMMITMENT_MISMATCH", "this is not the finding that was committed to; reveal the one of the commitment")
    return _put_own(call, dispute, "finding", found)


def dispute_of(state: State, argument: DisputeArgument) -> Dispute:
    """The record, as a copy that the caller may change and save."""
    found: Dispute | None = state.get(KIND, argument.task_id, argument.round, argument.accused)
    if found is None:
        raise ContractError(
            "NOT_FOUND", f"nobody disputed {argument.accused}'s update of round {argument.round}; the disputes view lists those there are"
        )
    return found.copy()


def in_phase(call: Call, argument: DisputeArgument, phase: str) -> Dispute:
    dispute = dispute_of(call.state, argument)
    if dispute["phase"] != phase:
        raise ContractError("WRONG_PHASE", f"the dispute is in phase {dispute['phase']}, not {phase}; look at the dispute view")
    return dispute


def _require(call: Call, members: list[str], duty: str) -> None:
    if call.mspid not in members:
        raise ContractError("NOT_A_PARTICIPANT", f"{call.mspid} is not {duty}; the dispute view names who is")


def _put_own(call: Call, dispute: Dispute, kind: str, record: DisputeSeat | DisputeShare | Commit | Finding) -> dict[str, Any]:
    """Write a key of the caller's own, once; others count them to see when the next step is due."""
    place = (*place_of(dispute), call.mspid)
    if call.state.get(kind, *place) is not None:
        raise ContractError("ALREADY_COMMITTED", f"{call.mspid} has done this in this dispute before, and it stands")
    call.state.put(kind, place, record)
    action = {"task_id": dispute["task_id"], "round": dispute["round"], "accused": dispute["accused"], "phase": dispute["phase"]}
    call.state.announce("dispute_progress", {**action, "mspid": call.mspid})
    return action


def place_of(dispute: Dispute) -> tuple[str, int, str]:
    return dispute["task_id"], dispute["round"], dispute["accused"]


def save(call: Call, dispute: Dispute, slashed: Sequence[Slash] = ()) -> dict[str, Any]:
    """Write the record and announce it; only whoever opens a dispute or moves it on does."""
    call.state.put(KIND, place_of(dispute), dispute)
    call.state.announce(KIND, {**dispute, "slashed": list(slashed)} if slashed else dispute)
    return {name: dispute[name] for name in ("task_id", "round", "accused", "phase", "outcome")}
