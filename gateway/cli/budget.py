"""`consortium budget`: what is left of a data set's privacy."""

from pathlib import Path

import click

from fabric.ledger_views import BudgetView
from gateway.cli.connected import with_ledger
from gateway.cli.options import config_option, format_option
from gateway.cli.output import Result, table
from gateway.config import MICRO, GatewayConfig, load_client_config
from gateway.errors import InputError


@click.group()
def budget() -> None:
    """Privacy budgets on the ledger."""


@budget.command()
@config_option
@click.option("--hospital", metavar="MSPID", help="Whose data set; default: the configuration's own.")
@click.option("--dataset", help="Which data set; default: the one of the gateway's configuration.")
@format_option
def show(config: Path, hospital: str | None, dataset: str | None) -> Result:
    """Show what a data set's budget is and how much of it is spent."""
    settings = load_client_config(config)
    name = dataset or (settings.budget.dataset if isinstance(settings, GatewayConfig) else None)
    if name is None:
        raise InputError("name the data set with --dataset; only a gateway's configuration has one of its own")
    view = with_ledger(config, lambda ledger: ledger.budget(hospital or settings.identity.mspid, name))
    return Result(_data(view), _lines(view))


def _data(view: BudgetView) -> dict[str, object]:
    return {
        "mspid": view.mspid,
        "dataset": view.dataset,
        "epsilon": view.epsilon_micro / MICRO,
        "delta": 1 / view.delta_inverse,
        "partitions": {each.partition: {"epsilon_spent": each.epsilon_spent_micro / MICRO} for each in view.filters},
    }


def _lines(view: BudgetView) -> list[str]:
    rows = [(each.partition, each.epsilon_spent_micro / MICRO, view.epsilon_micro / MICRO) for each in view.filters]
    return [
        f"data set {view.dataset} of {view.mspid}, δ = {1 / view.delta_inverse:g}",
        *table(("patients", "ε spent", "ε in all"), rows),
    ]
