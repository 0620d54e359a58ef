"""`consortium budget`: what is left of a data set's privacy."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fabric.ledger import Ledger
from fabric.ledger_views import BudgetView, SpentView
from gateway.cli.connected import with_ledger
from gateway.cli.options import config_option, format_option
from gateway.cli.output import Result, table
from gateway.config import MICRO, GatewayConfig, load_client_config
from gateway.errors import InputError

if TYPE_CHECKING:  # loaded by the verb that needs it
    from gateway.privacy_spent import PartitionSpent


@click.group()
def budget() -> None:
    """Privacy budgets on the ledger."""


@budget.command()
@config_option
@click.option("--hospital", metavar="MSPID", help="Whose data set; default: the configuration's own.")
@click.option("--dataset", help="Which data set; default: the one of the gateway's configuration.")
@format_option
def show(config: Path, hospital: str | None, dataset: str | None) -> Result:
    """Show what a data set's budget is, how much of it is spent on which task, and what other accountants say."""
    from gateway.privacy_spent import spent

    settings = load_client_config(config)
    name = dataset or (settings.budget.dataset if isinstance(settings, GatewayConfig) else None)
    if name is None:
        raise InputError("name the data set with --dataset; only a gateway's configuration has one of its own")
    mspid = hospital or settings.identity.mspid

    async def ask(ledger: Ledger) -> tuple[BudgetView, tuple[SpentView, ...]]:
        return await ledger.budget(mspid, name), await ledger.spends(mspid, name)

    view, events = with_ledger(config, ask)
    return _result(view, spent(view, events))


def _result(view: BudgetView, partitions: "Sequence[PartitionSpent]") -> Result:
    epsilon = view.epsilon_micro / MICRO
    data = {
        "mspid": view.mspid,
        "dataset": view.dataset,
        "epsilon": epsilon,
        "delta": 1 / view.delta_inverse,
        "partitions": {
            each.partition: {
                "epsilon_spent": each.opinions.ledger,
                "epsilon_left": each.left,
                "epsilon_by_pld": each.opinions.pld,
                "epsilon_by_prv": each.opinions.prv,
                "tasks": each.by_task,
            }
            for each in partitions
        },
    }
    rows = [(each.partition, *(_rounded(value) for value in (*astuple(each.opinions), each.left, epsilon))) for each in partitions]
    tasks = [(task_id, each.partition, _rounded(alone)) for each in partitions for task_id, alone in each.by_task.items()]
    lines = [
        f"data set {view.dataset} of {view.mspid}, δ = {1 / view.delta_inverse:g}",
        *table(("patients", "ε spent", "by PLD", "by PRV", "ε left", "ε in all"), rows),
    ]
    return Result(data, [*lines, "", *table(("task", "patients", "ε alone"), tasks)] if tasks else lines)


def _rounded(value: float) -> float:
    return round(value, 4)
