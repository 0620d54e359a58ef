"""`consortium bench attacks`."""

from pathlib import Path

import click

from gateway.cli.bench import page_option, reported
from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result


@click.command()
@click.option("--data", type=PathType(), metavar="DIR", help="UCI Heart Disease as FHIR: a folder for each of its four hospitals.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=10, show_default=True, metavar="N", help="Federations of each kind.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=30, show_default=True, metavar="N", help="Rounds of each federation.")
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N", help="Federations played at once.")
@page_option
@format_option
def attacks(data: Path | None, seeds: int, rounds: int, processes: int, page: Path | None) -> Result:
    """Measure what attacks do to the model under each way of combining the groups, and what becomes of lazy hospitals."""
    from gateway.bench.attacks import HOSPITALS, run
    from gateway.bench.simulated_data import breast_cancer, heart

    found = [breast_cancer(HOSPITALS)] if data is None else [breast_cancer(HOSPITALS), heart(data, HOSPITALS)]
    return reported(run(found, seeds=seeds, rounds=rounds, processes=processes, say=lambda line: click.echo(line, err=True)), page)
