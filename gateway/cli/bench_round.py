"""`consortium bench round`."""

from pathlib import Path

import click

from gateway.cli.bench import page_option, reported
from gateway.cli.options import format_option
from gateway.cli.output import Result

_PARAMETERS = (10_000, 100_000, 1_000_000)
_HOSPITALS = (4, 8)


@click.command(name="round")
@click.option(
    "--parameters",
    type=click.IntRange(1, 16_000_000),
    multiple=True,
    metavar="N",
    help="Parameters of the model, repeatable; default: 10,000, 100,000 and 1,000,000.",
)
@click.option("--hospitals", type=click.IntRange(3, 16), multiple=True, metavar="N", help="Hospitals, repeatable; default: 4 and 8.")
@click.option(
    "--variant",
    type=click.Choice(["ours", "plain", "nvflare_parameters"]),
    multiple=True,
    help="What to measure, repeatable; default: all three, one after the other.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N", help="Rounds that are measured; the median counts."
)
@page_option
@format_option
def aggregation_round(
    parameters: tuple[int, ...], hospitals: tuple[int, ...], variant: tuple[str, ...], rounds: int, page: Path | None
) -> Result:
    """Measure a round of aggregation beside plaintext and NVFLARE's encryption parameters."""
    from gateway.bench.round import VARIANTS, RoundBench, run

    bench = RoundBench(parameters or _PARAMETERS, hospitals or _HOSPITALS, variant or VARIANTS, rounds)
    return reported(run(bench, lambda line: click.echo(line, err=True)), page)
