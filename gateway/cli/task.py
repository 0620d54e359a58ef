"""`consortium task`: what researchers do with tasks, and how a hospital's staff decides about them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fabric.client.gateway import Gateway
from fabric.ledger import Ledger
from fabric.ledger_views import BudgetView, TaskTerms, TaskView
from gateway.cli.connected import with_client, with_gateways, with_ledger
from gateway.cli.options import PathType, config_option, format_option, speaks_json, task_id_option
from gateway.cli.output import Result, table
from gateway.connect import Access
from gateway.errors import InputError, TaskIncomplete

if TYPE_CHECKING:  # loaded by the verb that needs it
    from gateway.researcher.task_plan import Verdict

_SHORT = 12  # hex digits of a digest that people compare by eye

_SECONDS = click.FloatRange(0, min_open=True)

document_option = click.option("--document", type=PathType(), required=True, metavar="FILE", help="The task file that was submitted.")


@click.group()
def task() -> None:
    """Submit, decide about, follow and finish training tasks."""


@task.command()
@click.argument("document", type=PathType(), metavar="FILE")
@config_option
@click.option(
    "--patients", type=click.IntRange(1), metavar="N", help="Training patients of a hospital; default: the fewest that the task takes."
)
@click.option("--seconds", type=_SECONDS, metavar="N", help="Also tell the best rounds and local steps that end within this time.")
@click.option("--step-seconds", type=_SECONDS, metavar="N", help="With --seconds: what a local step takes the slowest hospital.")
@click.option("--encryption-seconds", type=_SECONDS, metavar="N", help="With --seconds: encrypting, summing and opening a round.")
@click.option("--ledger-seconds", type=_SECONDS, metavar="N", help="With --seconds: the ledger calls of a round.")
@format_option
def plan(
    document: Path,
    config: Path,
    patients: int | None,
    seconds: float | None,
    step_seconds: float | None,
    encryption_seconds: float | None,
    ledger_seconds: float | None,
) -> Result:
    """Tell what a task would cost each hospital's data, and whether that fits, before it is submitted."""
    from gateway.researcher.round_plan import RoundSeconds, best_schedule
    from gateway.researcher.task_plan import plan as judge
    from gateway.task_file import parse

    measured = [each for each in (step_seconds, encryption_seconds, ledger_seconds) if each is not None]
    if len(measured) != (0 if seconds is None else 3):
        raise click.UsageError("--seconds, --step-seconds, --encryption-seconds and --ledger-seconds go together; give all of them or none")

    parsed = parse(_read(document), source=str(document))

    async def budgets(ledger: Ledger) -> list[BudgetView]:
        return [await ledger.budget(each.mspid, each.dataset) for each in await ledger.datasets()]

    trained_on = patients or parsed.cohort.minimum_patients
    verdicts = judge(parsed, with_ledger(config, budgets), patients=trained_on)
    rows = [
        (each.mspid, each.dataset, each.partition, each.epsilon, round(each.noise_multiplier, 3), round(each.epsilon_left, 4), _offer(each))
        for each in verdicts
    ]
    refused = {(each.mspid, each.dataset) for each in verdicts if not each.fits}
    fitting = len({each.mspid for each in verdicts if (each.mspid, each.dataset) not in refused})
    lines = [
        *table(("hospital", "data set", "patients", "ε asked", "noise", "ε left", "verdict"), rows),
        f"{fitting} hospitals can take part; the task needs {parsed.task.minimum_hospitals}",
    ]
    found = {"hospitals": fitting, "data_sets": [asdict(each) for each in verdicts]}
    if seconds is None:
        return Result(found, lines)
    hospitals = max(parsed.task.minimum_hospitals, len({each.mspid for each in verdicts}))
    best = best_schedule(parsed, seconds, RoundSeconds(*measured), patients=trained_on, hospitals=hospitals)
    line = f"within {seconds:g} s: {best.rounds} rounds of {best.local_steps} local steps, which take {best.seconds:.4g} s"
    return Result({**found, "schedule": asdict(best)}, [*lines, line])


@task.command()
@config_option
@document_option
@click.option("--id", "task_id", metavar="ID", help="The task's id; default: made of its title and digest.")
@format_option
def submit(config: Path, document: Path, task_id: str | None) -> Result:
    """Put a task on the ledger and bring its document to the hospitals."""
    from gateway.researcher.submit import submit_task, task_id_for
    from gateway.task_file import parse

    data = _read(document)
    chosen = task_id or task_id_for(parse(data, source=str(document)).task.title, data)
    submitted = with_gateways(config, lambda access: submit_task(access, data, task_id=chosen, source=str(document)))
    found = {
        "task_id": submitted.task_id,
        "digest": submitted.digest,
        "tx_id": submitted.tx_id,
        "block": submitted.block_number,
        "delivered": list(submitted.delivered),
        "refused": dict(submitted.refused),
    }
    line = f"task {submitted.task_id} is on the ledger in block {submitted.block_number}"
    return Result(found, [line, *_delivery(submitted.delivered, submitted.refused)])


@task.command()
@config_option
@task_id_option
@document_option
@format_option
def deliver(config: Path, task_id: str, document: Path) -> Result:
    """Bring the document of a task that is on the ledger to the hospitals again."""
    from gateway.researcher.submit import deliver as deliver_document

    data = _read(document)
    delivered, refused = with_gateways(config, lambda access: deliver_document(access, task_id, data))
    return Result({"task_id": task_id, "delivered": list(delivered), "refused": refused}, _delivery(delivered, refused))


@task.command(name="list")
@config_option
@format_option
def list_tasks(config: Path) -> Result:
    """List the tasks on the ledger."""
    tasks = with_ledger(config, lambda ledger: ledger.tasks())
    rows = [(each.task_id, each.phase, f"{each.round}/{each.rounds}", len(each.participants), each.organisation) for each in tasks]
    return Result([asdict(each) for each in tasks], table(("task", "phase", "round", "hospitals", "by"), rows))


@task.command()
@config_option
@task_id_option
@format_option
def show(config: Path, task_id: str) -> Result:
    """Show a task's terms, the hospitals' decisions and where it stands."""
    view = with_ledger(config, lambda ledger: ledger.task(task_id))
    return Result(asdict(view), _lines(view))


@task.command()
@config_option
@task_id_option
@format_option
def approve(config: Path, task_id: str) -> Result:
    """Approve a task, as a hospital's staff; the gateway signs what its policy allows."""
    return _decide(config, task_id, approve=True, reason="")


@task.command()
@config_option
@task_id_option
@click.option("--reason", required=True, help="One sentence; it stands on the ledger for all to read.")
@format_option
def reject(config: Path, task_id: str, reason: str) -> Result:
    """Reject a task, as a hospital's staff."""
    return _decide(config, task_id, approve=False, reason=reason)


@task.command()
@config_option
@task_id_option
@click.option("--reason", required=True, help="One sentence; it stands on the ledger for all to read.")
@format_option
def abort(config: Path, task_id: str, reason: str) -> Result:
    """End a task of one's own organisation; what is left of its reward goes back."""
    receipt = with_ledger(config, lambda ledger: ledger.abort_task(task_id=task_id, reason=reason))
    return Result({"task_id": task_id, "tx_id": receipt.tx_id}, [f"task {task_id} is aborted"])


@task.command()
@config_option
@task_id_option
@format_option
def watch(config: Path, task_id: str) -> Result:
    """Follow a task until it is over: a live table on a terminal, lines elsewhere."""
    from gateway.cli.live import view_for
    from gateway.researcher.watch import watch as follow

    quiet = speaks_json()

    async def until_over(client: Gateway, _: Ledger) -> Result:
        with view_for(quiet=quiet) as view:
            async for progress in follow(client, task_id):
                view.show(progress)
        if progress.phase != "finished":
            raise TaskIncomplete(f"task {task_id} is {progress.standing}")
        return Result({"task_id": task_id, "phase": progress.phase, "rounds": progress.round}, [f"task {task_id} is finished"])

    return with_client(config, until_over)


@task.command()
@config_option
@task_id_option
@click.option("--out", type=PathType(), required=True, metavar="DIR", help="Where report.html and summary.json go.")
@format_option
def result(config: Path, task_id: str, out: Path) -> Result:
    """Gather what the ledger and the hospitals tell about a task, as report.html and summary.json."""
    from gateway.researcher.gather import gather
    from gateway.researcher.outcome import summary
    from gateway.researcher.results import write_results

    async def collect(access: Access) -> Result:
        outcome = await gather(access, task_id)
        report, summary_file = write_results(outcome, out)
        return Result(summary(outcome), [f"report: {report}", f"summary: {summary_file}"])

    return with_gateways(config, collect)


@task.command()
@config_option
@task_id_option
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the model goes, as safetensors.")
@format_option
def model(config: Path, task_id: str, out: Path) -> Result:
    """Fetch a task's newest accepted model and check it against the ledger."""
    from gateway.researcher.evaluations import fetch_model
    from gateway.researcher.gather import model_digest

    async def fetch(access: Access) -> tuple[str, bytes]:
        view = await access.ledger.task(task_id)
        expected = await model_digest(access.ledger, view)
        return expected, await fetch_model(access, view, expected_digest=expected)

    digest, data = with_gateways(config, fetch)
    try:
        out.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; choose another place for the model") from error
    return Result({"model": str(out), "digest": digest, "bytes": len(data)}, [f"model {digest} is in {out}"])


def _decide(config: Path, task_id: str, *, approve: bool, reason: str) -> Result:
    from gateway.cli.own_gateway import decide_task

    tx_id = decide_task(config, task_id, approve=approve, reason=reason)
    return Result({"task_id": task_id, "tx_id": tx_id}, [f"task {task_id} is {'approved' if approve else 'rejected'}"])


def _permit(terms: TaskTerms) -> str:
    expiry = f", valid until {terms.permit_expires}" if terms.permit_expires else ""
    return f", permit {terms.permit}{expiry}" if terms.permit else ""


def _offer(verdict: "Verdict") -> str:
    if verdict.fits:
        return "fits"
    if verdict.partition == "test":  # of whom no round takes anything
        lower = "no amount of noise makes it fit" if verdict.largest_epsilon is None else f"ε = {verdict.largest_epsilon:.4g} would"
        return f"does not fit; {lower}"
    rounds = f"{verdict.most_rounds} rounds would at this noise"
    if verdict.largest_epsilon is None:
        return f"does not fit; {rounds}, and no amount of noise makes all of them fit"
    return f"does not fit; {rounds}, all of them with ε = {verdict.largest_epsilon:.4g} (noise {verdict.its_noise_multiplier:.4g})"


def _delivery(delivered: Sequence[str], refused: Mapping[str, str]) -> list[str]:
    return [f"{len(delivered)} gateways have its document", *(f"not delivered: {why}" for why in refused.values())]


def _read(document: Path) -> bytes:
    try:
        return document.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the task file {document}: {error.strerror}") from error


def _lines(view: TaskView) -> list[str]:
    from gateway.researcher.gather import standing

    terms = view.terms
    lines = [
        f"{terms.title} ({terms.task_id})",
        f"by {terms.organisation}, purpose {terms.purpose}{_permit(terms)}",
        f"document {terms.digest}",
        f"{standing(view)}; round {view.round} of {terms.rounds}",
    ]
    rows = [
        (
            each.mspid,
            "approved" if each.approved else f"rejected: {each.reason}",
            each.patients,
            f"{each.epsilon_micro / 1_000_000:g}",
            *((digest or "")[:_SHORT] for digest in (each.views_digest, each.cohort_digest)),
        )
        for each in view.decisions
    ]
    return [*lines, *table(("hospital", "decision", "patients", "ε allowed", "SQL", "cohort"), rows)]
