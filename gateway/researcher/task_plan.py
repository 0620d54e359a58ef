"""What a task would cost each data set, and whether its budget holds that, before the task is submitted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fabric.contract import budget as renyi
from fabric.ledger_views import BudgetView, FilterView
from gateway.hospital.plan import Plan, evaluation_event, normalisation_event, quality_event, size_of, training_event
from gateway.spends import to_ledger
from gateway.task_file import MICRO, TaskFile
from privacy.accounting import AccountingError, SpendEvent

_STEPS_OF_SEARCH = 14
"""Halvings of the task's ε: what is offered lies within a ten-thousandth of it."""


@dataclass(frozen=True)
class Costs:
    """What a task debits from one partition: `once`, and then `each_round` where a round takes from it."""

    once: Sequence[SpendEvent]
    each_round: SpendEvent | None

    @property
    def main(self) -> SpendEvent:
        """The event whose noise decides how good the result is: of a round, or of the evaluation."""
        return self.once[-1] if self.each_round is None else self.each_round


@dataclass(frozen=True)
class Verdict:
    """Whether one partition of a data set can pay for the task, and what it could pay for instead.

    `most_rounds`: rounds at the task's own noise. `largest_epsilon`: for all rounds, with more noise, `its_noise_multiplier`; None where
    no noise is enough.
    """

    mspid: str
    dataset: str
    partition: str
    epsilon: float
    noise_multiplier: float
    epsilon_left: float
    fits: bool
    most_rounds: int
    largest_epsilon: float | None
    its_noise_multiplier: float | None


def plan(task: TaskFile, budgets: Sequence[BudgetView], *, patients: int) -> list[Verdict]:
    """Judge every data set. `patients`: how many a hospital trains on, which counts where the task gives a batch size. CPU-heavy: seconds.

    Raises AccountingError where the task itself cannot be: too little ε for its rounds.
    """
    hospitals = max(task.task.minimum_hospitals, len({budget.mspid for budget in budgets}))
    return [_verdict(task, budget, each, patients=patients, hospitals=hospitals) for budget in budgets for each in budget.filters]


def _verdict(task: TaskFile, budget: BudgetView, held: FilterView, *, patients: int, hospitals: int) -> Verdict:
    def costs(changed: TaskFile) -> Costs:
        return _costs(changed, held.partition, patients=patients, hospitals=hospitals)

    own, rounds = costs(task), task.task.rounds
    fits = _fits(own, rounds, held)
    better = None if fits else _largest_epsilon(task, held, costs)
    return Verdict(
        mspid=budget.mspid,
        dataset=budget.dataset,
        partition=held.partition,
        epsilon=_epsilon(task, held.partition),
        noise_multiplier=own.main.noise_multiplier,
        epsilon_left=max(0, held.epsilon_micro - held.epsilon_spent_micro) / MICRO,
        fits=fits,
        most_rounds=rounds if fits else max((number for number in range(rounds) if _fits(own, number, held)), default=0),
        largest_epsilon=None if better is None else _epsilon(better, held.partition),
        its_noise_multiplier=None if better is None else costs(better).main.noise_multiplier,
    )


def _costs(task: TaskFile, partition: str, *, patients: int, hospitals: int) -> Costs:
    if partition == "train":
        once = [] if task.normalisation is None else [normalisation_event(task)]
        return Costs(once, training_event(task, patients=patients))
    if partition == "test":
        return Costs([quality_event(task), evaluation_event(task)], None)
    # A hospital that the ledger elects into every committee, which is the most that it can be asked for.
    return Costs([], Plan(task, {str(number): size_of(task, patients=patients) for number in range(hospitals)}).score_event())


def _fits(costs: Costs, rounds: int, held: FilterView) -> bool:
    cost = (0,) * len(renyi.ORDERS)
    if costs.each_round is not None:
        cost = tuple(rounds * micro for micro in _cost_micro(costs.each_round, held))
    for event in costs.once:
        cost = renyi.add(cost, _cost_micro(event, held))
    return renyi.fits(held.spent_micro, cost, held.caps_micro)


def _cost_micro(event: SpendEvent, held: FilterView) -> tuple[int, ...]:
    debited = to_ledger(held.partition, event)
    return renyi.rdp_cost_micro(debited.mechanism, debited.noise_multiplier_micro, debited.sampling_rate_ppm, debited.steps)


def _largest_epsilon(task: TaskFile, held: FilterView, costs: Callable[[TaskFile], Costs]) -> TaskFile | None:
    """The task with the largest ε whose cost fits, or None."""
    low, high, found = 0.0, _epsilon(task, held.partition), None
    for _ in range(_STEPS_OF_SEARCH):
        middle = (low + high) / 2
        changed = _with_epsilon(task, held.partition, middle)
        try:
            fits = _fits(costs(changed), task.task.rounds, held)
        except AccountingError:  # so little that no noise is enough for the rounds
            low = middle
            continue
        if fits:
            low, found = middle, changed
        else:
            high = middle
    return found


_SETTINGS = {"train": "epsilon", "validation": "score_epsilon", "test": "evaluation_epsilon"}


def _epsilon(task: TaskFile, partition: str) -> float:
    if partition == "test":
        return task.privacy.evaluation_epsilon_micro / MICRO
    return float(getattr(task.privacy, _SETTINGS[partition]))


def _with_epsilon(task: TaskFile, partition: str, epsilon: float) -> TaskFile:
    name = _SETTINGS[partition]
    return task.model_copy(update={"privacy": task.privacy.model_copy(update={name: epsilon})})
