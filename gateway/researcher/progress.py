"""How far a task has come, as ledger events tell it: pure state, for the live view and for plain lines alike."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fabric.ledger_views import RoundView, SettlementView, Spend, TaskView
from gateway.spends import from_ledger
from privacy.accounting import SpendEvent, epsilon_at_orders

MICRO = 1_000_000
_STEPS = {
    "keys_commit": "the hospitals make the task's key together",
    "keys_share": "the hospitals share the key's parts, so that a quorum can decrypt",
    "commit": "training",
    "reveal": "ciphertexts leave the hospitals",
    "sum": "the aggregator adds the groups' ciphertexts",
    "decrypt": "the quorum checks and decrypts the sums",
    "score_commit": "the committee scores the groups and the new model",
    "score_reveal": "the committee opens its scores",
}
_NORMALISATION_STEPS = {
    "commit": "the hospitals summarise their inputs, for one mean and deviation over all of them",
    "score_commit": "the committee says which normalisation it computed",
    "score_reveal": "the committee opens what it said",
}


@dataclass(frozen=True)
class HospitalProgress:
    """One hospital in a task. `stands`: waiting, approved, rejected, taking part, absent or left out."""

    stands: str = "waiting"
    spends: tuple[SpendEvent, ...] = ()
    epsilon: float = 0.0
    trust_ppm: int = 0
    earned_micro: int = 0
    note: str = ""


@dataclass(frozen=True)
class Progress:
    """A task at one moment; `said` is what has just happened, in one sentence."""

    task_id: str
    title: str
    phase: str
    round: int
    rounds: int
    round_phase: str = ""
    delta: float = 1.0
    tries: tuple[int, int] = (1, 0)
    """The attempt and the turn of the round's phase, or of the key ceremony's."""
    settled: int = 0
    """The last round whose settlement has been told; -1 where round 0 is still to be told."""
    hospitals: Mapping[str, HospitalProgress] = field(default_factory=dict)
    over: bool = False
    reason: str = ""
    said: str = ""
    notable: bool = True
    """Whether what is said deserves a line that stays; a round's ordinary steps take milliseconds and do not."""

    @property
    def standing(self) -> str:
        """The task's phase, with the reason where it has one."""
        return f"{self.phase}: {self.reason}" if self.reason else self.phase


def begin(view: TaskView) -> Progress:
    """The progress of a task of which nothing has been told yet."""
    terms = view.terms
    said = f"task {terms.task_id} is on the ledger: {terms.title}"
    hospitals = {mspid: HospitalProgress() for mspid in view.hospitals}
    return Progress(
        terms.task_id,
        terms.title,
        "proposed",
        0,
        terms.rounds,
        delta=1 / terms.delta_inverse,
        settled=terms.first_round - 1,
        hospitals=hospitals,
        said=said,
    )


def with_hospitals(progress: Progress, view: TaskView) -> Iterator[Progress]:
    """One progress for each hospital that stands otherwise than was told: it decided, fell silent, or came back."""
    for mspid in view.hospitals:
        before = progress.hospitals.get(mspid, HospitalProgress())
        now = _standing(before, view, mspid)
        if now.stands == before.stands:
            continue
        # That an approved hospital takes part goes without saying.
        notable = (before.stands, now.stands) != ("approved", "taking part")
        progress = replace(progress, hospitals={**progress.hospitals, mspid: now}, said=_news(mspid, before, now), notable=notable)
        yield progress


def with_end(progress: Progress, view: TaskView) -> Progress:
    """The progress of a task that is over."""
    progress = replace(progress, phase=view.phase, round=view.round, over=view.over, reason=view.reason, notable=True)
    return replace(progress, said=f"task {progress.standing}")


def with_phase(progress: Progress, payload: Mapping[str, Any]) -> Progress:
    """The progress after a `phase` event, of the key ceremony (round 0, too) or of a round."""
    number, phase, turn, attempt = int(payload["round"]), str(payload["phase"]), int(payload["turn"]), int(payload["attempt"])
    in_ceremony = phase.startswith("keys_")
    steps = _STEPS if number else {**_STEPS, **_NORMALISATION_STEPS}
    said = steps.get(phase, phase) if in_ceremony else f"round {number}: {steps.get(phase, phase)}"
    again = (attempt, turn) > (progress.tries if number == progress.round else (1, 0))
    if again:
        said += f", again, because somebody was silent or objected (attempt {attempt}, turn {turn + 1})"
    return replace(progress, round=number, round_phase=phase, tries=(attempt, turn), said=said, notable=again or in_ceremony)


def with_settlement(progress: Progress, settled: SettlementView, round_view: RoundView) -> Progress:
    """The progress after a round was settled: trust, pay and privacy spent."""
    spends = {debit.mspid: debit for debit in round_view.debits}
    hospitals = dict(progress.hospitals)
    for result in settled.hospitals:
        before = hospitals.get(result.mspid, HospitalProgress())
        debit = spends.get(result.mspid)
        events = before.spends + (training_spends(debit.spends) if debit else ())
        hospitals[result.mspid] = replace(
            before,
            spends=events,
            epsilon=epsilon_at_orders(events, delta=progress.delta) if events else 0.0,
            trust_ppm=result.trust.trust_ppm,
            earned_micro=before.earned_micro + result.pay_micro,
            note="" if result.integrity else "its update was missing or refused",
        )
    said = _settled(settled, hospitals)
    progress = replace(progress, phase="rounds", round=settled.round, round_phase="settled", settled=settled.round, hospitals=hospitals)
    return replace(progress, said=said, notable=True)


def training_spends(spends: Iterable[Spend]) -> tuple[SpendEvent, ...]:
    """The events of a debit that concern training patients, as the accountants take them."""
    return tuple(from_ledger(spend) for spend in spends if spend.partition == "train")


def _standing(before: HospitalProgress, view: TaskView, mspid: str) -> HospitalProgress:
    decision = view.decision(mspid)
    if decision is not None and not decision.approved:
        return replace(before, stands="rejected", note=decision.reason)
    if mspid in view.absent:
        return replace(before, stands="absent", note=f"silent since round {view.absent[mspid]}")
    if mspid in view.dropped:
        return replace(before, stands="left out", note="silent in the key ceremony")
    if mspid in view.participants:
        return before if before.stands == "taking part" else replace(before, stands="taking part", note="")
    return replace(before, stands="approved" if decision else "waiting")


def _news(mspid: str, before: HospitalProgress, now: HospitalProgress) -> str:
    if before.stands == "waiting" and now.stands in ("approved", "taking part"):
        return f"{mspid} approved the task"
    return f"{mspid} is {now.stands}" if now.stands == "taking part" else f"{mspid}: {now.stands}, {now.note}"


def _settled(settled: SettlementView, hospitals: Mapping[str, HospitalProgress]) -> str:
    if settled.round == 0:
        verdict = "the inputs are normalised" if settled.accepted else f"the inputs stay as they are ({settled.reason})"
    else:
        verdict = _verdict(settled)
    trust = ", ".join(f"{mspid} {hospital.trust_ppm / MICRO:.2f}" for mspid, hospital in sorted(hospitals.items()))
    spent = max((hospital.epsilon for hospital in hospitals.values()), default=0.0)
    return f"round {settled.round}: {verdict}; ε spent {spent:.2f}; trust {trust}"


def _verdict(settled: SettlementView) -> str:
    return "model accepted" if settled.accepted else f"model kept as it was ({settled.reason or 'rejected by the committee'})"
