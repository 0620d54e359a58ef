"""Privacy budgets recomputed: every filter from its registration or approval and the debits since, by the contract's own pure rules."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fabric.contract import budget
from fabric.contract.keys import key
from fabric.contract.statement import statement
from fabric.decoding import decode
from fabric.worldstate import WorldState
from gateway.auditor.calls import FIRST_RULES, ContractCall
from gateway.auditor.records import differences, readable, records

_PARTITIONS = ("train", "validation", "test")
_FIRST_PARTITIONS = ("train", "validation")  # held-out patients gave nothing under the first rules


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


@dataclass(frozen=True)
class _Terms:
    score_epsilon_micro: int
    delta_inverse: int
    mode: str


class BudgetBook:
    """Follows the calls that open and spend budgets."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._filters: dict[str, _Filter] = {}
        self._task_filters: dict[str, _Filter] = {}
        self._datasets: dict[tuple[str, str], str] = {}
        self._terms: dict[str, _Terms] = {}
        self._statements: dict[str, dict[str, Any]] = {}

    def observe(self, call: ContractCall) -> None:
        """Take note of one valid call."""
        argument = call.argument
        if call.function == "submit_task":
            terms = _Terms(argument["score_epsilon_micro"], argument["delta_inverse"], argument.get("mode", "unstated"))
            self._terms[argument["task_id"]] = terms
        elif call.function == "register_dataset":
            for partition in _partitions(call):
                opened = _Filter(argument["epsilon_micro"], argument["delta_inverse"])
                self._filters[key("filter", call.mspid, argument["dataset"], partition)] = opened
        elif call.function == "approve_task":
            self._approve(call)
        elif call.function == "debit":
            self._debit(call)
        elif call.function == "debit_release":
            self._debit_release(call)
        elif call.function == "debit_listing":
            for partition, cost in _costs(call.argument["spends"]).items():
                self._spend(self._filters, self._opened(call.mspid, call.argument["dataset"], partition), cost, call)

    @property
    def saved(self) -> dict[str, Any]:
        """What the book remembers, as JSON values, for `restore`."""
        return {
            "problems": self.problems,
            "filters": {name: asdict(entry) for name, entry in self._filters.items()},
            "task_filters": {name: asdict(entry) for name, entry in self._task_filters.items()},
            "datasets": [[*place, dataset] for place, dataset in self._datasets.items()],
            "terms": {task_id: asdict(terms) for task_id, terms in self._terms.items()},
            "statements": self._statements,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Remember again what was `saved`."""
        self.problems = saved["problems"]
        self._filters = {name: decode(_Filter, entry, strict=True) for name, entry in saved["filters"].items()}
        self._task_filters = {name: decode(_Filter, entry, strict=True) for name, entry in saved["task_filters"].items()}
        self._datasets = {(task_id, mspid): dataset for task_id, mspid, dataset in saved["datasets"]}
        self._terms = {task_id: decode(_Terms, terms, strict=True) for task_id, terms in saved["terms"].items()}
        self._statements = saved["statements"]

    def differences(self, state: WorldState, contract: str) -> list[str]:
        """What is wrong with the budgets in the state; empty if nothing is."""
        return [
            *self.problems,
            *differences("budget", _as_records(self._filters), records(state, contract, "filter")),
            *differences("task budget", _as_records(self._task_filters), records(state, contract, "task_filter")),
            *differences("privacy statement", self._statements, records(state, contract, "statement")),
        ]

    def _approve(self, call: ContractCall) -> None:
        argument = call.argument
        self._datasets[argument["task_id"], call.mspid] = argument["dataset"]
        caps = {each: argument["epsilon_micro" if each == "train" else "score_epsilon_micro"] for each in _partitions(call)}
        if call.rules != FIRST_RULES:
            said = statement(
                mspid=call.mspid,
                mode=self._terms[argument["task_id"]].mode,
                epsilon_micro=caps,
                delta_inverse=argument["delta_inverse"],
            )
            self._statements[key("statement", argument["task_id"], call.mspid)] = dict(said)
        for partition, epsilon in caps.items():
            name = key("task_filter", argument["task_id"], call.mspid, partition)
            opened = _Filter(epsilon, argument["delta_inverse"], debited=None if call.rules == FIRST_RULES else 0)
            if name in self._task_filters:  # held-out patients paid for the quality that the approval tells
                opened.spent_micro = self._task_filters[name].spent_micro
            self._task_filters[name] = opened

    def _debit(self, call: ContractCall) -> None:
        task_id = call.argument["task_id"]
        dataset = self._datasets[task_id, call.mspid]
        for partition, cost in _costs(call.argument["spends"]).items():
            self._spend(self._filters, self._opened(call.mspid, dataset, partition), cost, call)
            name = key("task_filter", task_id, call.mspid, partition)
            self._spend(self._task_filters, name, cost, call)
            if call.rules != FIRST_RULES:
                self._task_filters[name].debited = call.argument["round"] + 1

    def _debit_release(self, call: ContractCall) -> None:
        argument = call.argument
        for partition, cost in _costs(argument["spends"]).items():
            self._spend(self._filters, self._opened(call.mspid, argument["dataset"], partition), cost, call)
            name = key("task_filter", argument["task_id"], call.mspid, partition)
            if name not in self._task_filters:  # before the approval, which will set the cap
                terms = self._terms[argument["task_id"]]
                self._task_filters[name] = _Filter(terms.score_epsilon_micro, terms.delta_inverse, debited=0)
            self._spend(self._task_filters, name, cost, call)

    def _opened(self, mspid: str, dataset: str, partition: str) -> str:
        """The key of a data set's filter; one for held-out patients is opened by its first debit where the first rules registered it."""
        name = key("filter", mspid, dataset, partition)
        if name not in self._filters:
            registered = self._filters[key("filter", mspid, dataset, "train")]
            self._filters[name] = _Filter(registered.epsilon_micro, registered.delta_inverse)
        return name

    def _spend(self, filters: dict[str, _Filter], name: str, cost: tuple[int, ...], call: ContractCall) -> None:
        spent = filters[name]
        caps = budget.caps_micro(spent.epsilon_micro, spent.delta_inverse)
        if not budget.fits(spent.spent_micro, cost, caps):
            self.problems.append(f"block {call.block}: the debit {call.tx_id[:16]} overdraws the budget {readable(name)}")
        spent.spent_micro = budget.add(spent.spent_micro, cost)


def _partitions(call: ContractCall) -> tuple[str, ...]:
    return _FIRST_PARTITIONS if call.rules == FIRST_RULES else _PARTITIONS


def _costs(spends: list[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    """RDP of a debit by partition."""
    totals: dict[str, tuple[int, ...]] = {}
    for spend in spends:
        cost = budget.rdp_cost_micro(spend["mechanism"], spend["noise_multiplier_micro"], spend["sampling_rate_ppm"], spend["steps"])
        totals[spend["partition"]] = budget.add(totals.get(spend["partition"], (0,) * len(cost)), cost)
    return totals


def _as_records(filters: Mapping[str, _Filter]) -> dict[str, dict[str, Any]]:
    return {name: entry.record for name, entry in filters.items()}
