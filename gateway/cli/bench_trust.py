"""`consortium bench trust`."""

import asyncio
import tempfile
from pathlib import Path

import click

from gateway.cli.bench import page_option, reported
from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result


@click.command()
@click.option("--data", type=PathType(), metavar="DIR", help="UCI Heart Disease as FHIR: a folder for each of its four hospitals.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=20, show_default=True, metavar="N", help="Federations of each kind.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=30, show_default=True, metavar="N", help="Rounds of each federation.")
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N", help="Federations played at once.")
@click.option(
    "--hospitals",
    type=click.IntRange(3, 100),
    multiple=True,
    metavar="N",
    help="Measure a round's bytes and transactions on the embedded ledger with so many hospitals, repeatable; default: not.",
)
@page_option
@format_option
def trust(data: Path | None, seeds: int, rounds: int, processes: int, hospitals: tuple[int, ...], page: Path | None) -> Result:
    """Measure what trust, quarantine and pay do about bad hospitals."""
    from gateway.bench.ledger_cost import costs
    from gateway.bench.results import BenchReport
    from gateway.bench.simulated_data import breast_cancer, heart
    from gateway.bench.trust import run

    def say(line: str) -> None:
        click.echo(line, err=True)

    found = [breast_cancer()] if data is None else [breast_cancer(), heart(data)]
    report = run(found, seeds=seeds, rounds=rounds, processes=processes, say=say)
    with tempfile.TemporaryDirectory(prefix="consortium-bench-") as folder:
        rows = asyncio.run(costs(Path(folder), hospitals))
    return reported(BenchReport(report.machine, [*report.results, *rows]), page)
