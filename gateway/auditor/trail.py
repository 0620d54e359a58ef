"""A task's story: every transaction about it in ledger order, in one line for people, with who signed it and who endorsed it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from fabric_protos.common import common_pb2

from fabric.checkpoint import Checkpoint
from fabric.verify import Verifier, verified
from gateway.auditor.calls import CONTRACT, ContractCall, contract_calls

_TOKEN = 1_000_000
_MICRO = 1_000_000
_SHORT = 12  # hex digits of a digest that people compare by eye


@dataclass(frozen=True)
class TrailEntry:
    """One transaction of the story. `took_effect` is False where the ledger recorded it as invalid, for the reason in `code`."""

    block: int
    tx_id: str
    time: datetime | None  # as the signer's clock had it; the order is the ledger's
    mspid: str
    signer: str
    fingerprint: str
    endorsers: tuple[str, ...]
    function: str
    code: str
    text: str
    argument: dict[str, Any]
    event: str
    payload: dict[str, Any]

    @property
    def took_effect(self) -> bool:
        return self.code == "VALID"

    @property
    def line(self) -> str:
        """The entry for people."""
        time = f"{self.time:%Y-%m-%d %H:%M:%S} UTC" if self.time else "no time"
        failed = "" if self.took_effect else f" [did not take effect: {self.code}]"
        endorsers = ", ".join(self.endorsers) or "nobody"
        signed = f"signed by {self.signer} of {self.mspid} ({self.fingerprint[:_SHORT]}), endorsed by {endorsers}"
        return f"block {self.block}  {time}  {self.text}{failed}  ({signed})"

    def as_json(self) -> dict[str, Any]:
        """The entry for programs."""
        return {**asdict(self), "time": self.time.isoformat() if self.time else None, "took_effect": self.took_effect}


def trail(
    blocks: Iterable[common_pb2.Block], task_id: str, *, contract: str = CONTRACT, checkpoints: Sequence[Checkpoint] = ()
) -> list[TrailEntry]:
    """The story of a task; empty if the ledger knows no such task. The blocks are verified on the way: VerificationError."""
    verifier = Verifier(checkpoints=checkpoints)
    told = []
    for block in verified(blocks, verifier):
        told += [_entry(call) for call in contract_calls(block, contract) if _concerns(call, task_id)]
    verifier.result()  # a story that ends before a checkpoint is not the whole one
    return told


def _concerns(call: ContractCall, task_id: str) -> bool:
    return task_id in (call.argument.get("task_id"), call.payload.get("task_id"))


def _entry(call: ContractCall) -> TrailEntry:
    return TrailEntry(
        block=call.block,
        tx_id=call.tx_id,
        time=call.timestamp,
        mspid=call.mspid,
        signer=call.signer,
        fingerprint=call.fingerprint,
        endorsers=call.endorsers,
        function=call.function,
        code=call.code,
        text=_text(call),
        argument=call.argument,
        event=call.event,
        payload=call.payload,
    )


def _text(call: ContractCall) -> str:
    teller = _EVENTS.get(call.event) or _FUNCTIONS.get(call.function)
    try:
        return teller(call) if teller else f"{call.mspid} called {call.function}"
    except (KeyError, TypeError):
        return f"{call.mspid} called {call.function}"


def _submitted(call: ContractCall) -> str:
    task = call.argument
    return (
        f'{call.mspid} submitted task {task["task_id"]}, "{task["title"]}", for {task["purpose"]}: {task["rounds"]} rounds, '
        f"ε {_micro(task['epsilon_micro'])}, reward {_tokens(task['reward_micro'])}, document {task['digest'][:_SHORT]}"
    )


def _approved(call: ContractCall) -> str:
    answer = call.argument
    return (
        f"{call.mspid} approved document {answer['digest'][:_SHORT]} with data set {answer['dataset']}, {answer['patients']} patients, "
        f"at most ε {_micro(answer['epsilon_micro'])}, up to round {answer['last_round']}{_digests(answer)}"
    )


def _digests(answer: Mapping[str, Any]) -> str:
    """What the hospital read and gives; gateways of contract 1.0 did not tell."""
    digests = (("SQL", answer.get("views_digest")), ("cohort", answer.get("cohort_digest")))
    return "".join(f", {name} {digest[:_SHORT]}" for name, digest in digests if digest)


def _rejected(call: ContractCall) -> str:
    return f"{call.mspid} rejected the task: {call.argument['reason']}"


def _key_share(call: ContractCall) -> str:
    return f"{call.mspid} committed to its share of the key, attempt {call.argument['attempt']}"


def _key_confirmed(call: ContractCall) -> str:
    return f"{call.mspid} confirmed the joint key {call.argument['key_digest'][:_SHORT]}"


def _debited(call: ContractCall) -> str:
    spends = "; ".join(
        f"{spend['partition']}: {spend['steps']} × {spend['mechanism']}, σ {_micro(spend['noise_multiplier_micro'])}"
        for spend in call.argument["spends"]
    )
    return f"{_round(call)}: {call.mspid} debited its privacy budget ({spends})"


def _committed(call: ContractCall) -> str:
    return f"{_round(call)}: {call.mspid} committed to its encrypted update"


def _revealed(call: ContractCall) -> str:
    return f"{_round(call)}: {call.mspid} revealed ciphertext {call.argument['ciphertext_digest'][:_SHORT]} ({call.argument['size']} bytes)"


def _summed(call: ContractCall) -> str:
    groups = "; ".join(f"group {entry['group']} of {len(entry['members'])}: {entry['digest'][:_SHORT]}" for entry in call.argument["sums"])
    return f"{_round(call)}: {call.mspid} posted the sums ({groups})"


def _shared(call: ContractCall) -> str:
    return f"{_round(call)}: {call.mspid} checked the sums and gave its decryption share, attempt {call.argument['attempt']}"


def _objected(call: ContractCall) -> str:
    return f"{_round(call)}: {call.mspid} objected to the sums: {call.argument['reason']}"


def _candidate(call: ContractCall) -> str:
    rejected = call.argument["rejected_groups"]
    left_out = f", leaving out group {', '.join(map(str, rejected))}" if rejected else ""
    return f"{_round(call)}: {call.mspid} posted the candidate model {call.argument['digest'][:_SHORT]}{left_out}"


def _scores_committed(call: ContractCall) -> str:
    return f"{_round(call)}: {call.mspid} committed to its scores"


def _scores_revealed(call: ContractCall) -> str:
    scores = call.argument["scores"]
    return (
        f"{_round(call)}: {call.mspid} scored the candidate {scores['candidate_digest'][:_SHORT]} {_micro(scores['candidate_micro'])} "
        f"and {len(scores['groups'])} groups"
    )


def _rejoined(call: ContractCall) -> str:
    return f"{call.mspid} came back"


def _settled(call: ContractCall) -> str:
    settlement = call.payload
    outcome = "accepted" if settlement["accepted"] else f"not accepted ({settlement['reason']})"
    paid = ", ".join(f"{entry['mspid']} {_tokens(entry['pay_micro'])}" for entry in settlement["hospitals"] if entry["pay_micro"])
    fined = ", ".join(f"{entry['mspid']} {_tokens(entry['deposit_micro'])}" for entry in settlement["hospitals"] if entry["deposit_micro"])
    after = "" if settlement["task_phase"] == "rounds" else f"; the task is {settlement['task_phase']}"
    return (
        f"round {settlement['round']}: settled, candidate {outcome}; paid: {paid or 'nobody'}{f'; fined: {fined}' if fined else ''}{after}"
    )


def _abandoned(call: ContractCall) -> str:
    return f"the task was abandoned: {call.payload['reason']}; {_tokens(call.payload['refund_micro'])} were refunded"


def _aborted(call: ContractCall) -> str:
    return f"{call.mspid} aborted the task: {call.payload['reason']}; {_tokens(call.payload['refund_micro'])} were refunded"


def _advanced(call: ContractCall) -> str:
    phase = call.payload.get("phase")
    number = call.payload.get("round")
    where = "" if number is None or str(phase).startswith("keys_") else f"round {number}: "
    return f"{where}{call.mspid} moved the task on to phase {phase}" if phase else f"{call.mspid} moved the task on"


def _round(call: ContractCall) -> str:
    return f"round {call.argument['round']}"


def _tokens(micro: int) -> str:
    return f"{micro / _TOKEN:g} tokens"


def _micro(value: int) -> str:
    return f"{value / _MICRO:g}"


_FUNCTIONS: dict[str, Callable[[ContractCall], str]] = {
    "submit_task": _submitted,
    "approve_task": _approved,
    "reject_task": _rejected,
    "commit_key_share": _key_share,
    "confirm_key": _key_confirmed,
    "debit": _debited,
    "commit": _committed,
    "reveal": _revealed,
    "post_sums": _summed,
    "post_share": _shared,
    "object_sums": _objected,
    "post_candidate": _candidate,
    "commit_scores": _scores_committed,
    "reveal_scores": _scores_revealed,
    "rejoin": _rejoined,
    "advance": _advanced,
}
_EVENTS: dict[str, Callable[[ContractCall], str]] = {
    "settled": _settled,
    "task_abandoned": _abandoned,
    "task_aborted": _aborted,
}
