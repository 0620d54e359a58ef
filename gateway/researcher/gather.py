"""Gather a task's outcome: what the ledger holds about it, and what the hospitals release."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fabric.blocks import header_hash
from fabric.channel import ChannelConfig
from fabric.client.errors import ContractRefused
from fabric.client.gateway import Gateway
from fabric.ledger import Ledger
from fabric.ledger_views import Debit, OrganisationView, RoundView, SettlementView, TaskView
from gateway.connect import Access
from gateway.errors import TaskIncomplete
from gateway.researcher.evaluations import fetch_document, fetch_evaluations
from gateway.researcher.outcome import Evaluation, HospitalOutcome, LedgerOutcome, Outcome, RoundOutcome, TaskFacts
from gateway.spends import from_ledger
from gateway.task_file import TaskFile, parse
from privacy.accounting import SpendEvent

# What a hospital's own clock says; hospitals work at the same time, so the slowest one counts.
ACTIVITIES = ("training", "encryption", "aggregation", "ledger")


@dataclass(frozen=True)
class History:
    """A task's settled rounds on the ledger, in order, round 0 first where there is one."""

    rounds: tuple[RoundView, ...]
    settlements: tuple[SettlementView, ...]

    @property
    def model_digest(self) -> str | None:
        """Digest of the newest accepted model; None if no round was accepted."""
        accepted = [each.candidate.digest for each in self.settlements if each.accepted and each.candidate is not None and each.round]
        return accepted[-1] if accepted else None


async def read_history(ledger: Ledger, view: TaskView) -> History:
    """Read every settled round; one in which the task was given up has no settlement and is left out."""
    rounds, settlements = [], []
    for number in range(view.terms.first_round, view.round + 1):
        try:
            settlements.append(await ledger.settlement(view.terms.task_id, number))
        except ContractRefused:
            break
        rounds.append(await ledger.round(view.terms.task_id, number))
    return History(tuple(rounds), tuple(settlements))


async def model_digest(ledger: Ledger, view: TaskView) -> str:
    """Digest of the task's newest model on the ledger; raise TaskIncomplete if there is none yet."""
    found = (await read_history(ledger, view)).model_digest
    if found is None:
        raise TaskIncomplete(f"task {view.terms.task_id} has no accepted model ({standing(view)})")
    return found


async def gather(access: Access, task_id: str) -> Outcome:
    """The outcome of a task, its ledger not yet verified. Raises TaskIncomplete if no round was settled."""
    view = await access.ledger.task(task_id)
    history = await read_history(access.ledger, view)
    if not history.settlements:
        raise TaskIncomplete(f"task {task_id} has no settled round ({standing(view)})")
    task = parse(await fetch_document(access, view), source=f"the document of task {task_id}")
    evaluations, notes = await fetch_evaluations(access, view)
    view = await access.ledger.task(task_id)  # with what hospitals paid for them
    organisations = {organisation.mspid: organisation for organisation in await access.ledger.organisations()}
    return Outcome(
        task=_facts(view, task),
        hospitals=tuple(
            _hospital(view, organisations[mspid], history, evaluations.get(mspid), notes.get(mspid, "")) for mspid in view.participants
        ),
        rounds=tuple(_round(settlement) for settlement in history.settlements if settlement.round),
        ledger=await _unverified(access.client),
        ciphertext_bytes=max((reveal.size for each in history.rounds for reveal in each.reveals), default=0),
        seconds=_slowest(list(evaluations.values())),
    )


def standing(view: TaskView) -> str:
    """A task's phase, with the reason where it has one."""
    return f"{view.phase}: {view.reason}" if view.reason else view.phase


async def _unverified(client: Gateway) -> LedgerOutcome:
    first, height = await anext(aiter(client.blocks(start=0, stop=0))), await client.height()
    newest = await anext(aiter(client.blocks(start=height - 1, stop=height - 1)))
    kind = "embedded" if ChannelConfig.parse(first.data.data[0]).consensus == "solo" else "fabric"
    return LedgerOutcome(kind=kind, height=height, last_hash=header_hash(newest.header).hex(), verified=None)


def _facts(view: TaskView, task: TaskFile) -> TaskFacts:
    terms = view.terms
    layers = "-".join(str(width) for width in task.model.hidden)
    return TaskFacts(
        task_id=terms.task_id,
        title=terms.title,
        purpose=terms.purpose,
        permit=terms.permit,
        digest=terms.digest,
        status=standing(view),
        model=f"{task.model.kind.replace('_', ' ')} {layers}".strip(),
        parameters=terms.parameters,
        mode=task.privacy.mode,
        clip=task.privacy.clip,
        epsilon=task.privacy.epsilon,
        score_epsilon=task.privacy.score_epsilon,
        delta=task.privacy.delta,
        normalised=terms.normalisation,
    )


def _hospital(
    view: TaskView, organisation: OrganisationView, history: History, evaluation: Evaluation | None, note: str
) -> HospitalOutcome:
    decision = view.decision(organisation.mspid)
    debits = [*(debit for each in history.rounds for debit in each.debits), *view.releases]
    return HospitalOutcome(
        mspid=organisation.mspid,
        patients=decision.patients if decision else 0,
        delta=1 / view.terms.delta_inverse,
        spends=_spends(debit for debit in debits if debit.mspid == organisation.mspid),
        trust_ppm=organisation.trust_ppm,
        tokens_micro=organisation.balance_micro + organisation.bond_micro + organisation.vesting_micro,
        evaluation=evaluation,
        note=note,
        views_digest=decision.views_digest if decision else None,
        cohort_digest=decision.cohort_digest if decision else None,
    )


def _spends(debits: Iterable[Debit]) -> dict[str, tuple[SpendEvent, ...]]:
    """One hospital's events by partition, in the order in which they were debited."""
    found: dict[str, list[SpendEvent]] = {}
    for debit in debits:
        for spend in debit.spends:
            found.setdefault(spend.partition, []).append(from_ledger(spend))
    return {partition: tuple(events) for partition, events in found.items()}


def _round(settlement: SettlementView) -> RoundOutcome:
    return RoundOutcome(
        number=settlement.round,
        accepted=settlement.accepted,
        trust_ppm={result.mspid: result.trust.trust_ppm for result in settlement.hospitals},
        pay_micro={result.mspid: result.pay_micro for result in settlement.hospitals},
    )


def _slowest(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    return {name: max((each.seconds.get(name, 0.0) for each in evaluations), default=0.0) for name in ACTIVITIES}
