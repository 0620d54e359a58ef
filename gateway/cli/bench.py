"""`consortium bench`: measurements of the product, each with the machine it was taken on. One verb, one file beside this one."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.options import PathType
from gateway.cli.output import Result

if TYPE_CHECKING:  # loaded by the verb that needs it
    from gateway.bench.results import BenchReport

VERBS = {
    "attacks": "gateway.cli.bench_attacks:attacks",
    "fhir": "gateway.cli.bench_fhir:fhir",
    "ledger": "gateway.cli.bench_ledger:ledger",
    "models": "gateway.cli.bench_models:models",
    "round": "gateway.cli.bench_round:aggregation_round",
    "training": "gateway.cli.bench_training:training",
    "trust": "gateway.cli.bench_trust:trust",
}
Function = TypeVar("Function", bound=Callable[..., Any])


@click.group(cls=LazyGroup, verbs=VERBS)
def bench() -> None:
    """Measure the product on this machine."""


def page_option(function: Function) -> Function:
    """`--page`, of every verb of the group."""
    text = "Also put the tables into this Markdown page, between its two marks."
    return click.option("--page", type=PathType(), metavar="FILE", callback=_checked, help=text)(function)


def _checked(_: click.Context, __: click.Parameter, page: Path | None) -> Path | None:
    from gateway.bench.results import check_page

    if page is not None:
        check_page(page)
    return page


def reported(report: "BenchReport", page: Path | None) -> Result:
    """What every verb of the group returns."""
    from gateway.bench.results import write_page

    if page is not None:
        write_page(page, report)
    return Result(report.data, report.lines)
