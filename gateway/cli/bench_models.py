"""`consortium bench models`."""

from pathlib import Path

import click

from gateway.cli.bench import page_option, reported
from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result


@click.command()
@click.option("--data", type=PathType(), metavar="DIR", help="UCI Heart Disease as FHIR: a folder for each of its four hospitals.")
@click.option("--seeds", type=click.IntRange(2, 1000), default=20, show_default=True, metavar="N", help="Divisions of the patients.")
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N", help="Divisions measured at once.")
@page_option
@format_option
def models(data: Path | None, seeds: int, processes: int, page: Path | None) -> Result:
    """Measure how good models become alone, pooled, federated, and under differential privacy."""
    from gateway.bench.model_data import breast_cancer, heart_all, heart_complete
    from gateway.bench.models import run

    found = [breast_cancer()] if data is None else [heart_complete(data), heart_all(data), breast_cancer()]
    return reported(run(found, seeds=seeds, processes=processes, say=lambda line: click.echo(line, err=True)), page)
