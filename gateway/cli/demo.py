"""`consortium demo`: the whole way once."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import PathType, format_option, speaks_json
from gateway.cli.output import Result, table

if TYPE_CHECKING:  # the demo loads what the command line's help does not need
    from gateway.demo.run import DemoResult


@click.command()
@click.option("--hospitals", type=PathType(), metavar="DIR", help="One folder of FHIR files for each hospital, 3 to 16; default: samples.")
@click.option("--task", type=PathType(), metavar="FILE", help="Task file; default: the breast cancer sample.")
@click.option("--rounds", type=click.IntRange(1, 10_000), help="Train this many rounds instead of the task file's.")
@click.option(
    "--misbehave",
    multiple=True,
    metavar="N=KIND",
    help="Let hospital N cheat: label-flip, noise, replay, scale, offline, false-key-share or false-decryption.",
)
@click.option("--out", type=PathType(), default=Path("demo-output"), show_default=True, metavar="DIR", help="For the results.")
@click.option("--ledger", type=click.Choice(["embedded", "fabric"]), default="embedded", show_default=True, help="Which ledger to run on.")
@click.option("--fabric-home", type=PathType(), metavar="DIR", help="An unpacked Fabric release, 2.5 or 3.1, for --ledger fabric.")
@click.option("--keep-running", is_flag=True, help="Leave ledger and gateways up until interrupted.")
@format_option
def demo(
    hospitals: Path | None,
    task: Path | None,
    rounds: int | None,
    misbehave: tuple[str, ...],
    out: Path,
    ledger: str,
    fabric_home: Path | None,
    keep_running: bool,
) -> Result:
    """Let hospitals on this machine train a model together, and verify what they did."""
    from gateway.cli.live import view_for
    from gateway.demo.document import DEFAULT_TASK
    from gateway.demo.run import DemoSettings, run_demo

    if (ledger == "fabric") != (fabric_home is not None):
        raise click.UsageError("--ledger fabric and --fabric-home DIR go together; give both or neither")
    settings = DemoSettings(out, task or DEFAULT_TASK, hospitals, rounds, misbehave, keep_running, fabric_home)
    with view_for(quiet=speaks_json()) as view:
        result = asyncio.run(run_demo(settings, view))
    return _result(result)


def _result(result: "DemoResult") -> Result:
    from gateway.researcher.outcome import MICRO, summary

    found = summary(result.outcome)
    auc = found["auc"]
    rows = [
        (each.mspid, each.patients, f"{each.epsilon:.3f}", f"{each.trust_ppm / MICRO:.3f}", f"{each.tokens_micro / MICRO:.2f}")
        for each in result.outcome.hospitals
    ]
    lines = [
        *table(("hospital", "patients", "ε spent", "trust", "tokens"), rows),
        "",
        f"AUC on held-out patients: federated {_number(auc['federated'])}, hospitals alone {_number(auc['local_mean'])} on average,",
        f"all data in one place without privacy {_number(auc['pooled_plain'])}",
        f"ledger: {found['ledger']['height']} blocks, verified; {found['seconds']['total']:.0f} s in all",
        f"report: {result.report}",
    ]
    return Result({**found, "report": str(result.report)}, lines)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
