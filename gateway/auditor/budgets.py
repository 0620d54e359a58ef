"""Privacy budgets recomputed: every filter from its registration or approval and the debits since, by the contract's own pure rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric.contract import budget
from fabric.contract.keys import key
from fabric.worldstate import WorldState
from gateway.auditor.calls import ContractCall
from gateway.auditor.records import differences, readable, records

_PARTITIONS = ("train", "validation")


@dataclass
class _Filter:
    epsilon_micro: int
    delta_inverse: int
    spent_micro: tuple[int, ...] = (0,) * len(budget.ORDERS)

    @property
    def record(self) -> dict[str, Any]:
        caps = budget.caps_micro(self.epsilon_micro, self.delta_inverse)
        return {
            "epsilon_micro": self.epsilon_micro,
            "delta_inverse": self.delta_inverse,
            "caps_micro": list(caps),
            "spent_micro": list(self.spent_micro),
        }


class BudgetBook:
    """Follows the calls that open and spend budgets."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._filters: dict[str, _Filter] = {}
        self._task_filters: dict[str, _Filter] = {}
        self._datasets: dict[tuple[str, str], str] = {}

    def observe(self, call: ContractCall) -> None:
        """Take note of one valid call."""
        argument = call.argument
        if call.function == "register_dataset":
            for partition in _PARTITIONS:
                opened = _Filter(argument["epsilon_micro"], argument["delta_inverse"])
                self._filters[key("filter", call.mspid, argument["dataset"], partition)] = opened
        elif call.function == "approve_task":
            self._approve(call)
        elif call.function == "debit":
            self._debit(call)

    def differences(self, state: WorldState, contract: str) -> list[str]:
        """What is wrong with the budgets in the state; empty if nothing is."""
        return [
            *self.problems,
            *differences("budget", _as_records(self._filters), records(state, contract, "filter")),
            *differences("task budget", _as_records(self._task_filters), records(state, contract, "task_filter")),
        ]

    def _approve(self, call: ContractCall) -> None:
        argument = call.argument
        self._datasets[argument["task_id"], call.mspid] = argument["dataset"]
        for partition, epsilon in zip(_PARTITIONS, (argument["epsilon_micro"], argument["score_epsilon_micro"]), strict=True):
            name = key("task_filter", argument["task_id"], call.mspid, partition)
            self._task_filters[name] = _Filter(epsilon, argument["delta_inverse"])

    def _debit(self, call: ContractCall) -> None:
        task_id = call.argument["task_id"]
        dataset = self._datasets[task_id, call.mspid]
        for partition, cost in _costs(call.argument["spends"]).items():
            self._spend(self._filters, key("filter", call.mspid, dataset, partition), cost, call)
            self._spend(self._task_filters, key("task_filter", task_id, call.mspid, partition), cost, call)

    def _spend(self, filters: dict[str, _Filter], name: str, cost: tuple[int, ...], call: ContractCall) -> None:
        spent = filters[name]
        caps = budget.caps_micro(spent.epsilon_micro, spent.delta_inverse)
        if not budget.fits(spent.spent_micro, cost, caps):
            self.problems.append(f"block {call.block}: the debit {call.tx_id[:16]} overdraws the budget {readable(name)}")
        spent.spent_micro = budget.add(spent.spent_micro, cost)


def _costs(spends: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    """RDP of a debit by partition."""
    totals: dict[str, tuple[int, ...]] = {}
    for spend in spends:
        cost = budget.rdp_cost_micro(spend["mechanism"], spend["noise_multiplier_micro"], spend["sampling_rate_ppm"], spend["steps"])
        totals[spend["partition"]] = budget.add(totals.get(spend["partition"], (0,) * len(cost)), cost)
    return totals


def _as_records(filters: Mapping[str, _Filter]) -> dict[str, dict[str, Any]]:
    return {name: entry.record for name, entry in filters.items()}
