"""What a data set's budget paid for, recomputed from the events on the ledger by accountants that others wrote."""

from collections.abc import Sequence
from dataclasses import dataclass

from fabric.ledger_views import BudgetView, SpentView
from gateway.spends import from_ledger
from gateway.task_file import MICRO
from privacy.accounting import epsilon_at_orders, epsilon_pld, epsilon_prv


@dataclass(frozen=True)
class Opinions:
    """ε of the same events: by the ledger's Rényi filter, by privacy loss distributions, by privacy random variables."""

    ledger: float
    pld: float
    prv: float


@dataclass(frozen=True)
class PartitionSpent:
    """`partition`: train, validation or test. `left`: what the filter holds of ε. `by_task`: ε of each task alone, by the ledger's rule."""

    partition: str
    opinions: Opinions
    left: float
    by_task: dict[str, float]


def spent(budget: BudgetView, events: Sequence[SpentView]) -> list[PartitionSpent]:
    """What each partition of a data set spent. CPU-heavy: seconds."""
    delta = 1 / budget.delta_inverse
    found = []
    for each in budget.filters:
        own = [event for event in events if event.partition == each.partition]
        ledger = each.epsilon_spent_micro / MICRO
        all_events = [from_ledger(event) for event in own]
        found.append(
            PartitionSpent(
                partition=each.partition,
                opinions=Opinions(ledger, epsilon_pld(all_events, delta=delta), epsilon_prv(all_events, delta=delta)),
                left=max(0.0, budget.epsilon_micro / MICRO - ledger),
                by_task={
                    task_id: epsilon_at_orders([from_ledger(event) for event in own if event.task_id == task_id], delta=delta)
                    for task_id in dict.fromkeys(event.task_id for event in own)
                },
            )
        )
    return found
