"""`consortium bench fhir`."""

from pathlib import Path

import click

from gateway.cli.bench import page_option, reported
from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result


@click.command()
@click.option(
    "--source", type=PathType(), multiple=True, required=True, metavar="DIR", help="Folder of FHIR files, repeatable: measured as one."
)
@click.option("--peers", is_flag=True, help="Measure what one would use otherwise in the same run.")
@click.option("--repeats", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N", help="Runs of each; the median counts.")
@click.option("--plot", type=PathType(), metavar="FILE", help="Also draw the results into this SVG file.")
@page_option
@format_option
def fhir(source: tuple[Path, ...], peers: bool, repeats: int, plot: Path | None, page: Path | None) -> Result:
    """Measure how fast FHIR files become rows of a view, a matrix, and a verdict on each resource."""
    from gateway.bench.fhir import FhirBench, run
    from gateway.bench.fhir_plot import write_plot

    report = run(FhirBench(source, peers, repeats), lambda line: click.echo(line, err=True))
    if plot is not None:
        write_plot(plot, report.results)
    return reported(report, page)
