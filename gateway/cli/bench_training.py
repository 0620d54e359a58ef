"""`consortium bench training`."""

from pathlib import Path

import click

from gateway.cli.bench import page_option, reported
from gateway.cli.options import format_option
from gateway.cli.output import Result


@click.command()
@click.option("--large", is_flag=True, help="Also measure adapters on a base of 100 million parameters; takes 2 GiB of memory.")
@click.option(
    "--steps", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="N", help="Steps of a run, of which the mean counts."
)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N", help="Threads that torch computes with.")
@page_option
@format_option
def training(large: bool, steps: int, threads: int, page: Path | None) -> Result:
    """Measure a step of private training beside a plain one, for each kind of model."""
    from gateway.bench.training import run

    return reported(run(large=large, steps=steps, threads=threads, say=lambda line: click.echo(line, err=True)), page)
