"""`consortium bench ledger`."""

import asyncio
import tempfile
from pathlib import Path

import click

from gateway.cli.bench import page_option, reported
from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result

_CALLERS = (1, 8, 32, 64)
_HOSPITALS = (4, 16, 64)


@click.command()
@click.option(
    "--fabric-home", type=PathType(), multiple=True, metavar="DIR", help="An unpacked Fabric release to compare with; repeatable."
)
@click.option("--callers", type=click.IntRange(1, 256), multiple=True, metavar="N", help="Callers at once; default: 1, 8, 32 and 64.")
@click.option("--hospitals", type=click.IntRange(4, 64), multiple=True, metavar="N", help="Hospitals of a round; default: 4, 16 and 64.")
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N", help="Rounds for each number of hospitals."
)
@click.option(
    "--trained-rounds",
    type=click.IntRange(0, 100),
    default=4,
    show_default=True,
    metavar="N",
    help="Rounds of the demo's task on each ledger, with training; 0 leaves them out.",
)
@page_option
@format_option
def ledger(
    fabric_home: tuple[Path, ...],
    callers: tuple[int, ...],
    hospitals: tuple[int, ...],
    rounds: int,
    trained_rounds: int,
    page: Path | None,
) -> Result:
    """Measure the contract's calls on the embedded ledger and on Fabric networks of this machine."""
    from gateway.bench.ledger import LedgerBench, run

    if trained_rounds == 1:
        raise click.UsageError("--trained-rounds takes 0, or at least 2: a round is counted from one settlement to the next")
    with tempfile.TemporaryDirectory(prefix="consortium-bench-") as folder:
        bench = LedgerBench(Path(folder), fabric_home, callers or _CALLERS, hospitals or _HOSPITALS, rounds, trained_rounds)
        report = asyncio.run(run(bench, lambda line: click.echo(line, err=True)))
    return reported(report, page)
