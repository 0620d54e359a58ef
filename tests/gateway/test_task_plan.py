"""`task plan`: what it says fits is what the contract takes, and what it says does not is what the contract refuses."""

from collections.abc import Sequence

import pytest

from fabric.contract import budget as renyi
from fabric.ledger_views import BudgetView, FilterView
from gateway.hospital.plan import Plan, evaluation_event, normalisation_event, quality_event, size_of, training_event
from gateway.researcher.task_plan import Verdict, plan
from gateway.task_file import MICRO, TaskFile, parse
from privacy.accounting import SpendEvent
from tests.support.fhir_folders import SAMPLE_TASKS

PATIENTS, HOSPITALS = 60, 4


def sample(**privacy: float) -> TaskFile:
    task = parse((SAMPLE_TASKS / "breast-cancer.toml").read_bytes())
    return task.model_copy(update={"privacy": task.privacy.model_copy(update=privacy)})


def cost(event: SpendEvent) -> tuple[int, ...]:
    return renyi.rdp_cost_micro(event.mechanism, round(event.noise_multiplier * MICRO), round(event.sampling_rate * MICRO), event.steps)


def events(task: TaskFile, partition: str) -> list[SpendEvent]:
    """What a gateway debits over a whole task."""
    if partition == "validation":
        sizes = {str(number): size_of(task, patients=PATIENTS) for number in range(HOSPITALS)}
        return [Plan(task, sizes).score_event()] * task.task.rounds
    if partition == "test":
        return [quality_event(task), evaluation_event(task)]
    once = [normalisation_event(task)] if task.normalisation else []
    return [*once, *[training_event(task, patients=PATIENTS)] * task.task.rounds]


def accepted(task: TaskFile, budget: BudgetView, partition: str, *, rounds: int | None = None) -> bool:
    """Whether the contract takes every debit of the task, one after the other."""
    (held,) = (each for each in budget.filters if each.partition == partition)
    spent: Sequence[int] = held.spent_micro
    for event in events(task, partition)[: None if rounds is None else rounds + (task.normalisation is not None)]:
        if not renyi.fits(spent, cost(event), held.caps_micro):
            return False
        spent = renyi.add(spent, cost(event))
    return True


def budgets(epsilon: float, *, spent: Sequence[SpendEvent] = ()) -> list[BudgetView]:
    """Four hospitals with the same budget at the sample's delta."""
    delta_inverse = sample().privacy.delta_inverse
    caps = renyi.caps_micro(round(epsilon * MICRO), delta_inverse)
    used = (0,) * len(caps)
    for event in spent:
        used = renyi.add(used, cost(event))
    filters = tuple(
        FilterView(name, round(epsilon * MICRO), delta_inverse, caps, used, renyi.epsilon_spent_micro(used, delta_inverse))
        for name in ("train", "validation", "test")
    )
    return [BudgetView(f"H{number}MSP", "records", round(epsilon * MICRO), delta_inverse, filters) for number in range(HOSPITALS)]


def verdict(task: TaskFile, held: list[BudgetView], partition: str) -> Verdict:
    return next(each for each in plan(task, held, patients=PATIENTS) if each.partition == partition)


@pytest.mark.parametrize("partition", ["train", "validation", "test"])
def test_a_fresh_budget_as_large_as_the_task_fits(partition: str) -> None:
    task = sample(epsilon=6.0, score_epsilon=6.0)
    held = budgets(6.0)
    found = verdict(task, held, partition)
    assert found.fits and found.most_rounds == task.task.rounds and found.largest_epsilon is None
    assert accepted(task, held[0], partition)


@pytest.mark.parametrize("partition", ["train", "validation"])
def test_what_is_offered_instead_is_what_the_contract_takes(partition: str) -> None:
    task = sample(epsilon=6.0, score_epsilon=6.0)
    held = budgets(6.0, spent=events(sample(epsilon=3.0), "train"))
    found = verdict(task, held, partition)
    assert not found.fits and not accepted(task, held[0], partition)
    assert 0 < found.most_rounds < task.task.rounds
    assert accepted(task, held[0], partition, rounds=found.most_rounds)
    assert not accepted(task, held[0], partition, rounds=found.most_rounds + 1)
    assert found.largest_epsilon is not None and 0 < found.largest_epsilon < 6.0
    name = "epsilon" if partition == "train" else "score_epsilon"
    assert accepted(sample(**{"epsilon": 6.0, "score_epsilon": 6.0, name: found.largest_epsilon}), held[0], partition)
    assert not accepted(sample(**{"epsilon": 6.0, "score_epsilon": 6.0, name: found.largest_epsilon * 1.01}), held[0], partition)


def test_a_spent_budget_offers_nothing() -> None:
    task = sample(epsilon=6.0)
    held = budgets(1.0, spent=[SpendEvent("gaussian", 0.5, 1.0, 1)])
    found = verdict(task, held, "train")
    assert (found.fits, found.most_rounds, found.largest_epsilon, found.epsilon_left) == (False, 0, None, 0.0)


def test_an_evaluation_that_does_not_fit_is_offered_less() -> None:
    task = sample(score_epsilon=6.0)
    held = budgets(6.0, spent=[evaluation_event(sample(score_epsilon=5.0))])
    found = verdict(task, held, "test")
    assert not found.fits and not accepted(task, held[0], "test")
    assert found.largest_epsilon is not None and found.largest_epsilon < 6.0
    assert accepted(sample(score_epsilon=6.0, evaluation_epsilon=found.largest_epsilon), held[0], "test")
