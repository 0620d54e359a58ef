"""Debiting a hospital's privacy budget, before anything is released.

One key holds a data set's filter, so two debits of it can never both pass on the state before them: the ledger's version
check makes the second run again on what the first one left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fabric.contract import budget, normalisation
from fabric.contract.arguments import FewEntries, Mechanism, NoiseMultiplier, Partition, Round, Share, SpendSteps, TaskId
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.phases import announce_own, in_phase, require_member
from fabric.contract.records import Debit, Spend, TaskFilter
from fabric.contract.registry import filter_of, put_owned
from fabric.contract.release import DEBITS_IN_RECORDS
from fabric.contract.tasks import terms_of

DEBITED = ("train", "validation")
"""Whose patients a round takes from."""


@dataclass(frozen=True)
class SpendEvent:
    partition: Partition
    mechanism: Mechanism
    noise_multiplier_micro: NoiseMultiplier
    sampling_rate_ppm: Share
    steps: SpendSteps


@dataclass(frozen=True)
class DebitRound:
    task_id: TaskId
    round: Round
    spends: Annotated[tuple[SpendEvent, ...], FewEntries]


def debit(call: Call, argument: DebitRound) -> dict[str, Any]:
    record = in_phase(call, argument.task_id, argument.round, "commit")
    require_member(call, record["participants"], "a participant")
    _check_mode(call, argument)
    if argument.round == normalisation.ROUND and any(spend.partition != "train" for spend in argument.spends):
        raise ContractError("BAD_ARGUMENT", "round 0 takes nothing from validation patients; debit the training patients alone")
    place = (argument.task_id, argument.round, call.mspid)
    if any(debited(call, argument.task_id, argument.round, partition) for partition in DEBITED):
        raise ContractError("ALREADY_DEBITED", f"{call.mspid} has debited round {argument.round} of task {argument.task_id}; go on without")
    dataset = call.state.get("decision", argument.task_id, call.mspid)["dataset"]
    for partition, cost in sorted(costs(argument.spends).items()):
        charge(call, dataset, partition, cost)
        before = call.state.get("task_filter", argument.task_id, call.mspid, partition)
        after = {**spent(before, cost, f"task {argument.task_id} ({partition} patients)"), "debited": argument.round + 1}
        put_owned(call.state, call.mspid, "task_filter", (argument.task_id, call.mspid, partition), after)
    call.state.put("debit", place, Debit(mspid=call.mspid, dataset=dataset, spends=as_records(argument.spends)))
    return announce_own(call, record, "debit")


def debited(call: Call, task_id: str, number: int, partition: str) -> bool:
    """Whether the caller, a participant, has debited these patients for the open round."""
    opened: TaskFilter = call.state.get("task_filter", task_id, call.mspid, partition)
    if opened["debited"] != DEBITS_IN_RECORDS:
        return opened["debited"] > number
    record: Debit | None = call.state.get("debit", task_id, number, call.mspid)
    return record is not None and any(spend["partition"] == partition for spend in record["spends"])


def _check_mode(call: Call, argument: DebitRound) -> None:
    """What a round may take: nothing of held-out patients; in mode distributed, one noisy step under each sum that is opened."""
    if any(spend.partition == "test" for spend in argument.spends):
        raise ContractError("BAD_ARGUMENT", "a round takes nothing from held-out patients; debit those who train and those who validate")
    distributed = terms_of(call.state, argument.task_id)["mode"] == "distributed"
    if distributed and any(spend.partition == "train" and spend.steps != 1 for spend in argument.spends):
        raise ContractError(
            "MODE_NEEDS_ONE_STEP",
            "in mode distributed a hospital adds a share of the noise, which protects one step in each secure sum; debit one step a round",
        )


def charge(call: Call, dataset: str, partition: str, cost: tuple[int, ...]) -> None:
    """Take a cost from the caller's data set, or refuse with BUDGET_EXCEEDED."""
    after = spent(filter_of(call.state, call.mspid, dataset, partition), cost, f"data set {dataset} ({partition} patients)")
    put_owned(call.state, call.mspid, "filter", (call.mspid, dataset, partition), after)


def as_records(spends: tuple[SpendEvent, ...]) -> list[Spend]:
    return [
        Spend(
            partition=spend.partition,
            mechanism=spend.mechanism,
            noise_multiplier_micro=spend.noise_multiplier_micro,
            sampling_rate_ppm=spend.sampling_rate_ppm,
            steps=spend.steps,
        )
        for spend in spends
    ]


def costs(spends: tuple[SpendEvent, ...]) -> dict[str, tuple[int, ...]]:
    """RDP by partition."""
    totals: dict[str, tuple[int, ...]] = {}
    for spend in spends:
        try:
            cost = budget.rdp_cost_micro(spend.mechanism, spend.noise_multiplier_micro, spend.sampling_rate_ppm, spend.steps)
        except ValueError as error:
            raise ContractError("BAD_ARGUMENT", f"{error}") from error
        totals[spend.partition] = budget.add(totals.get(spend.partition, (0,) * len(cost)), cost)
    return totals


def spent(before: Mapping[str, Any], cost: tuple[int, ...], owner: str) -> dict[str, Any]:
    """The filter with the cost added."""
    if not budget.fits(before["spent_micro"], cost, before["caps_micro"]):
        so_far = budget.epsilon_spent_micro(before["spent_micro"], before["delta_inverse"])
        raise ContractError(
            "BUDGET_EXCEEDED",
            f"{owner} has spent an ε of {so_far} of {before['epsilon_micro']} micro-units and this debit "
            "does not fit; use more noise, fewer steps or a smaller sampling rate, or leave the task",
        )
    return {**before, "spent_micro": list(budget.add(before["spent_micro"], cost))}
