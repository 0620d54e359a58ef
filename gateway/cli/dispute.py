"""`consortium dispute`: hold a hospital to account for a past update."""

from dataclasses import asdict
from pathlib import Path

import click

from fabric.contract.disputes import BOND
from fabric.ledger_views import DisputeView
from gateway.cli.connected import with_ledger
from gateway.cli.options import config_option, format_option, task_id_option
from gateway.cli.output import Result, table
from gateway.config import MICRO


@click.group()
def dispute() -> None:
    """Hold a hospital to account for a past update: an audit committee opens it and judges."""


@dispute.command(name="open")
@config_option
@task_id_option
@click.option("--round", "round_number", type=click.IntRange(min=1), required=True, metavar="N", help="The settled round of the update.")
@click.option("--hospital", required=True, metavar="MSPID", help="Whose update.")
@click.option("--reason", required=True, help="Why, in a sentence; it stands on the ledger.")
@format_option
def open_(config: Path, task_id: str, round_number: int, hospital: str, reason: str) -> Result:
    """Put a bond on it that an update was no honest one; it burns if the committee finds the update sound."""
    receipt = with_ledger(
        config, lambda ledger: ledger.open_dispute(task_id=task_id, round_number=round_number, accused=hospital, reason=reason)
    )
    return Result(
        {"tx_id": receipt.tx_id, "block": receipt.block_number, **receipt.result},
        [
            f"disputed: {hospital}'s update of round {round_number} of task {task_id}, with a bond of {BOND // MICRO} tokens",
            f"the gateways do the rest; `consortium dispute show --task {task_id}` tells how it stands",
        ],
    )


@dispute.command()
@config_option
@task_id_option
@format_option
def show(config: Path, task_id: str) -> Result:
    """Show a task's disputes: who judges, what was found, and what came of it."""
    disputes = with_ledger(config, lambda ledger: ledger.disputes(task_id))
    if not disputes:
        return Result([], [f"no update of task {task_id} was disputed"])
    return Result([asdict(each) for each in disputes], [line for each in disputes for line in _lines(each)])


def _lines(each: DisputeView) -> list[str]:
    done = {
        "seating": [seat.mspid for seat in each.seats],
        "opening": [share.mspid for share in each.shares],
        "finding": list(each.committed),
        "revealing": [found.mspid for found in each.findings],
    }.get(each.phase)
    stands = (
        each.outcome if done is None else f"{each.phase}, {each.elapsed} of {each.limit} heartbeats; done by: {', '.join(done) or 'nobody'}"
    )
    return [
        f"{each.accused}, round {each.round}: {stands}",
        f"  accused by {each.accuser}: {each.reason}",
        f"  judges: {', '.join(each.committee)}; key holders: {', '.join(each.quorum)}",
        *(f"  fined: {', '.join(each.fined)}" for _ in each.fined[:1]),
        *("  " + line for line in table(("judge", "finding"), [(found.mspid, found.finding) for found in each.findings]) if each.findings),
    ]
