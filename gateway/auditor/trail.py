"""A task's story: every transaction about it in ledger order, in one line for people, with who signed it and who endorsed it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from fabric_protos.common import common_pb2

from fabric.checkpoint import Checkpoint
from fabric.verify import Verifier
from gateway.auditor.calls import CONTRACT, ContractCall, contract_calls
from gateway.auditor.export import BlockSource
from gateway.auditor.known_ids import IdsOnDisk
from gateway.auditor.state_on_disk import StateOnDisk

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


def trail(blocks: Iterable[common_pb2.Block], task_id: str, *, checkpoints: Sequence[Checkpoint] = ()) -> list[TrailEntry]:
    """The story of a task; empty if the ledger knows no such task. The blocks are verified on the way: VerificationError."""
    with _listening(task_id, checkpoints) as listener:
        for block in blocks:
            listener.accept(block)
        return listener.story()


async def trail_of_ledger(client: BlockSource, task_id: str, *, checkpoints: Sequence[Checkpoint] = ()) -> list[TrailEntry]:
    """`trail` of all blocks that the ledger has now, as it delivers them. Raises the client's errors, too."""
    height = await client.height()
    with _listening(task_id, checkpoints) as listener:
        async for block in client.blocks(start=0, stop=height - 1):
            await asyncio.to_thread(listener.accept, block)
        return listener.story()


class _Listener:
    """Verifies blocks one after the other, and keeps what concerns one task."""

    def __init__(self, task_id: str, verifier: Verifier) -> None:
        self._task_id, self._verifier = task_id, verifier
        self._told: list[TrailEntry] = []

    def accept(self, block: common_pb2.Block) -> None:
        verified = self._verifier.accept(block)
        self._told += [_entry(call) for call in contract_calls(verified, CONTRACT) if _concerns(call, self._task_id)]

    def story(self) -> list[TrailEntry]:
        self._verifier.result()  # a story that ends before a checkpoint is not the whole one
        return self._told


@contextmanager
def _listening(task_id: str, checkpoints: Sequence[Checkpoint]) -> Iterator[_Listener]:
    with IdsOnDisk() as known, StateOnDisk() as state:
        yield _Listener(task_id, Verifier(checkpoints=checkpoints, known=known, state=state))


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
        told = teller(call) if teller else f"{call.mspid} called {call.function}"
        return told + "".join(_slashed(one) for one in call.payload.get("slashed", []))
    except (KeyError, TypeError):
        return f"{call.mspid} called {call.function}"


def _slashed(slashed: Mapping[str, Any]) -> str:
    lost = slashed["bond_micro"] + slashed["vesting_micro"]
    return f"; {slashed['mspid']} lost {_tokens(lost)} and is ejected: {slashed['reason']}, proof {slashed['evidence_digest'][:_SHORT]}"


def _submitted(call: ContractCall) -> str:
    task = call.argument
    return (
        f'{call.mspid} submitted task {task["task_id"]}, "{task["title"]}", for {task["purpose"]}: {task["rounds"]} rounds, '
        f"ε {_micro(task['epsilon_micro'])}, reward {_tokens(task['reward_micro'])}, document {task['digest'][:_SHORT]}{_ordered(task)}"
    )


def _ordered(task: Mapping[str, Any]) -> str:
    order = task.get("order")
    return "" if order is None else f", an order of {', '.join(order['listings'])} on the basis of {order['legal_basis']}"


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


def _shares_objected(call: ContractCall) -> str:
    accused = call.argument.get("accused")
    return f"{call.mspid} found that the shares do not open the sums" + (f": {accused}'s is malformed" if accused else "")


def _dealer_accused(call: ContractCall) -> str:
    return f"{call.mspid} accused {call.argument['accused']} in the key ceremony, evidence {call.argument['evidence'][:_SHORT]}"


def _key_confirmed(call: ContractCall) -> str:
    return f"{call.mspid} confirmed the joint key {call.argument['key_digest'][:_SHORT]}"


def _debited(call: ContractCall) -> str:
    return f"{_round(call)}: {call.mspid} debited its privacy budget ({_spends(call)})"


def _release_debited(call: ContractCall) -> str:
    what = {"quality": "the quality of its data", "evaluation": "its evaluation of the model"}[call.argument["release"]]
    return f"{call.mspid} debited its privacy budget for {what} ({_spends(call)})"


def _spends(call: ContractCall) -> str:
    return "; ".join(
        f"{spend['partition']}: {spend['steps']} × {spend['mechanism']}, σ {_micro(spend['noise_multiplier_micro'])}"
        for spend in call.argument["spends"]
    )


def _withdrawn(call: ContractCall) -> str:
    batch, after = call.payload["digest"][:_SHORT], call.payload["round"]
    return f"{call.mspid} recorded withdrawals of consent after round {after} was opened, batch {batch}"


def _order_settled(call: ContractCall) -> str:
    paid = ", ".join(f"{mspid} {_tokens(amount)}" for mspid, amount in sorted(call.payload["paid_micro"].items()))
    return f"{call.mspid} settled the order, whose task is {call.payload['outcome']}; earned: {paid}"


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
    if share := settlement.get("share_micro"):
        fined += f", of which {_tokens(share)} to each of {', '.join(settlement['honest'])}"
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
    "accuse_dealer": _dealer_accused,
    "debit": _debited,
    "debit_release": _release_debited,
    "record_withdrawals": _withdrawn,
    "settle_order": _order_settled,
    "commit": _committed,
    "reveal": _revealed,
    "post_sums": _summed,
    "post_share": _shared,
    "object_shares": _shares_objected,
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
