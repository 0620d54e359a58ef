"""Privacy budgets recomputed: every filter from its registration or approval and the debits since, by the contract's own pure rules."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fabric.contract import budget
from fabric.contract.keys import key
from fabric.decoding import decode
from fabric.worldstate import WorldState
from gateway.auditor.calls import FIRST_RULES, ContractCall
from gateway.auditor.records import differences, readable, records

_PARTITIONS = ("train", "validation")


@dataclass
class _Filter:
    epsilon_micro: int
    delta_inverse: int
    spent_micro: tuple[int, ...] = (0,) * len(budget.ORDERS)
    debited: int | None = None  # of a task's filter: the first round not debited yet; the first rules kept no such note

    @property
    def record(self) -> dict[str, Any]:
        caps = budget.caps_micro(self.epsilon_micro, self.delta_inverse)
        return {
            "epsilon_micro": self.epsilon_micro,
            "delta_inverse": self.delta_inverse,
            "caps_micro": list(caps),
            "spent_micro": list(self.spent_micro),
            **({} if self.debited is None else {"debited": self.debited}),
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

    @property
    def saved(self) -> dict[str, Any]:
        """What the book remembers, as JSON values, for `restore`."""
        return {
            "problems": self.problems,
            "filters": {name: asdict(entry) for name, entry in self._filters.items()},
            "task_filters": {name: asdict(entry) for name, entry in self._task_filters.items()},
            "datasets": [[*place, dataset] for place, dataset in self._datasets.items()],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Remember again what was `saved`."""
        self.problems = saved["problems"]
        self._filters = {name: decode(_Filter, entry, strict=True) for name, entry in saved["filters"].items()}
        self._task_filters = {name: decode(_Filter, entry, strict=True) for name, entry in saved["task_filters"].items()}
        self._datasets = {(task_id, mspid): dataset for task_id, mspid, dataset in saved["datasets"]}

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
            self._task_filters[name] = _Filter(epsilon, argument["delta_inverse"], debited=None if call.rules == FIRST_RULES else 0)

    def _debit(self, call: ContractCall) -> None:
        task_id = call.argument["task_id"]
        dataset = self._datasets[task_id, call.mspid]
        for partition, cost in _costs(call.argument["spends"]).items():
            self._spend(self._filters, key("filter", call.mspid, dataset, partition), cost, call)
            name = key("task_filter", task_id, call.mspid, partition)
            self._spend(self._task_filters, name, cost, call)
            if call.rules != FIRST_RULES:
                self._task_filters[name].debited = call.argument["round"] + 1

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
