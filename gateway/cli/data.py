"""`consortium data`: what a hospital's files hold, and what they are worth to a task. Everything stays in the hospital."""

import csv
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.consent import erase, opening
from gateway.cli.export import export
from gateway.cli.options import PathType, format_option, speaks_json
from gateway.cli.output import Result, table
from gateway.cli.records import export_records
from gateway.errors import InputError

if TYPE_CHECKING:  # reading FHIR loads what other verbs do not need
    from gateway.fhir.check import CheckReport
    from gateway.fhir.concept_maps import ConceptMaps
    from gateway.fhir.elements import FhirVersion
    from gateway.fhir.extract import Extracted, LeftOut
    from gateway.fhir.store import StorePlace
    from gateway.fhir.view_engines import EngineName
    from gateway.fhir.views import CompiledView
    from gateway.task_file import TaskFile
    from privacy.normalisation import InputNormalisation

source_option = click.option("--source", type=PathType(), required=True, metavar="DIR", help="Folder of FHIR files.")
task_option = click.option("--task", type=PathType(), required=True, metavar="FILE", help="The task file that names what is needed.")
quarantine_option = click.option("--quarantine", type=PathType(), metavar="FILE", help="Where lines that cannot be used are listed.")
maps_option = click.option(
    "--concept-maps", type=PathType(), metavar="DIR", help="Folder of ConceptMaps that translate the hospital's own codes."
)
consent_option = click.option(
    "--config",
    type=PathType(),
    metavar="FILE",
    help="A hospital's configuration: who is left out ([consent]), and where the state folder is that knows what was validated before.",
)
version_option = click.option(
    "--fhir-version", type=click.Choice(["R4", "R5"]), default="R4", show_default=True, help="Release of FHIR that the files follow."
)


@click.group()
def data() -> None:
    """Get FHIR data from a server, look at them, check them for a task, extract them, or write sample data."""


data.add_command(export)
data.add_command(export_records)
data.add_command(opening)
data.add_command(erase)


@data.command()
@click.argument("view", type=PathType(), metavar="VIEW.json")
@source_option
@version_option
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "pathling"]),
    default="duckdb",
    show_default=True,
    help="What evaluates the view: DuckDB in this process, or Pathling on Spark.",
)
@format_option
def view(view: Path, source: Path, fhir_version: "FhirVersion", engine: "EngineName") -> Result | None:
    """Print the rows of a ViewDefinition of SQL-on-FHIR as NDJSON."""
    from gateway.fhir.view_engines import view_engine
    from gateway.fhir.view_file import load_view
    from gateway.fhir.views import compile_views

    definition = load_view(view)
    views = compile_views([definition], fhir_version)
    for note in views.views[0].notes:
        print(f"consortium: {note}", file=sys.stderr)
    batches = view_engine(engine).rows(definition, source, fhir_version)
    if speaks_json():
        rows = [json.loads(row) for batch in batches for row in batch]
        return Result({"columns": [column.name for column in views.views[0].columns], "rows": rows}, [])
    try:
        for batch in batches:
            sys.stdout.write("".join(f"{row}\n" for row in batch))
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads, such as `head`, has seen enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return None


@data.command()
@task_option
@format_option
def explain(task: Path) -> Result:
    """Show what a task would read: its views, all of its SQL, and the SQL's digest, to which an approval is bound."""
    from gateway.fhir.extract import check as check_task
    from gateway.task_file import load

    sql = check_task(load(task))
    found = [
        {
            "name": each.name,
            "resource": each.resource,
            "columns": [{"name": column.name, "type": column.type, "collection": column.collection} for column in each.columns],
            "notes": list(each.notes),
            "sql": each.sql,
        }
        for each in sql.views.views
    ]
    statements = [{"name": name, "sql": text} for name, text in sql.statements]
    lines = [line for each in sql.views.views for line in _explained(each)]
    lines += [line for name, text in sql.statements for line in (f"statement {name}", "", text, "")]
    return Result(
        {"digest": sql.digest, "views": found, "statements": statements, "reads": dict(sql.views.structures)},
        [*lines, f"digest of the SQL: {sql.digest}"],
    )


@data.command()
@source_option
@click.option("--task", type=PathType(), metavar="FILE", help="A task file, to see what the data are worth to it.")
@maps_option
@consent_option
@click.option("--model", type=PathType(), metavar="FILE", help="A model of the task, to compare with the federation's statistics in it.")
@quarantine_option
@click.option("--html", type=PathType(), metavar="FILE", help="Where the report is written as a page with plots.")
@version_option
@format_option
def check(
    source: Path,
    task: Path | None,
    concept_maps: Path | None,
    config: Path | None,
    model: Path | None,
    quarantine: Path | None,
    html: Path | None,
    fhir_version: "FhirVersion",
) -> Result:
    """Validate every resource and say what is wrong with the data: lines, units, values, references, and what a task would miss."""
    from gateway.fhir.check import check_folder
    from gateway.task_file import load

    found = None if task is None else load(task)
    if found is None and model is not None:
        raise click.UsageError("--model belongs to --task: it tells how the task's patients compare")
    report = check_folder(
        source,
        found,
        quarantine=quarantine,
        version=fhir_version,
        maps=_maps(concept_maps),
        left_out=None if found is None else _left_out(config, source),
        federation=None if found is None or model is None else _federation(model, found),
        store=_store(config),
    )
    if html is not None:
        _write_page(report, html, title=f"Data of {source.resolve().name}")
    return Result(report.to_dict(), _lines(report) + ([f"report: {html}"] if html is not None else []))


@data.command()
@source_option
@task_option
@maps_option
@consent_option
@quarantine_option
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="CSV file of features and label, readable by its owner only.")
@format_option
def extract(source: Path, task: Path, concept_maps: Path | None, config: Path | None, quarantine: Path | None, out: Path) -> Result:
    """Write the matrix that a task would train on, without patients' identifiers. For the hospital's own eyes."""
    extracted = _extract(source, task, quarantine, concept_maps, config)
    try:
        # Opened with its final mode: patients' values must never be readable by others, not even for a moment.
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([*extracted.feature_names, "label"])
            for row, label in zip(extracted.features.tolist(), extracted.labels.tolist(), strict=True):
                rows.writerow([*row, int(label)])
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give the name of a new file") from error
    patients, columns = extracted.features.shape
    return Result({"file": str(out), "patients": patients, "features": columns}, [f"{patients} patients, {columns} features: {out}"])


@data.command()
@click.option("--out", type=PathType(), required=True, metavar="DIR", help="Folder to make, with one folder for each hospital.")
@click.option("--hospitals", type=click.IntRange(3, 16), default=6, show_default=True)
@format_option
def sample(out: Path, hospitals: int) -> Result:
    """Write the Wisconsin breast cancer patients as FHIR, split over hospitals."""
    from gateway.fhir.samples import write_breast_cancer

    if out.exists():
        raise InputError(f"{out} exists already; give the name of a new folder")
    folders = write_breast_cancer(out, hospitals=hospitals)
    return Result({"folders": [str(folder) for folder in folders]}, [f"{len(folders)} hospitals' patients are in {out}"])


def _extract(folder: Path, task: Path, quarantine: Path | None, concept_maps: Path | None, config: Path | None) -> "Extracted":
    from gateway.fhir.extract import extract
    from gateway.task_file import load

    maps, left_out = _maps(concept_maps), _left_out(config, folder)
    return extract(load(task), folder, quarantine=quarantine, maps=maps, left_out=left_out, store=_store(config))


def _maps(folder: Path | None) -> "ConceptMaps | None":
    from gateway.fhir.concept_maps import load_concept_maps

    return None if folder is None else load_concept_maps(folder)


def _left_out(config: Path | None, folder: Path) -> "LeftOut | None":
    """Whom a hospital's [consent] leaves out of `folder` now; None where it asks nobody."""
    from gateway.config import load_gateway_config

    section = None if config is None else load_gateway_config(config).consent
    return None if section is None else section.source(folder).read(datetime.now(UTC)).left_out


def _store(config: Path | None) -> "StorePlace | None":
    """Where a hospital keeps what was validated."""
    from gateway.config import load_gateway_config

    return None if config is None else load_gateway_config(config).store


def _federation(path: Path, task: "TaskFile") -> "InputNormalisation":
    """The statistics of round 0 in a model file; raise InputError where the model is not of the task or has none."""
    from gateway.hospital.plan import column_names
    from privacy.models import ModelError, from_safetensors

    try:
        saved = from_safetensors(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the model {path}: {error.strerror}") from error
    except ModelError as error:
        raise InputError(f"{path} is no model file: {error}") from error
    if saved.spec.inputs != len(column_names(task)):
        raise InputError(
            f"the model {path} takes in {saved.spec.inputs} inputs, the task has {len(column_names(task))}; name a model of this task"
        )
    if saved.normalisation is None:
        raise InputError(
            f"the model {path} has no statistics of the federation: its task had no [normalisation], or round 0 was not accepted"
        )
    return saved.normalisation


def _explained(view: "CompiledView") -> list[str]:
    columns = [(column.name, f"{column.type}{' collection' if column.collection else ''}") for column in view.columns]
    return [f"view {view.name}, of {view.resource}", *view.notes, "", *table(("column", "type"), columns), "", view.sql, ""]


def _write_page(report: "CheckReport", path: Path, *, title: str) -> None:
    from gateway.fhir.check_page import render_check

    page = render_check(report, title=title)
    try:
        # Exact counts of a hospital's patients: readable by its owner only, as what `extract` writes.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; make its folder writable") from error


def _lines(report: "CheckReport") -> list[str]:
    lines, task = report.profile.lines, report.task
    dropped = sum(lines.dropped.values())
    found = [
        f"{lines.read} lines in {report.profile.files} files: {lines.kept} kept, {dropped} dropped",
        ", ".join(f"{count} {resource}" for resource, count in report.profile.resources.items()),
        f"content {report.profile.content}",
        *(f"look at: {finding.sentence}" for finding in report.findings),
    ]
    if task is None:
        return found
    features = [(feature.name, feature.missing, feature.outside, feature.clamped) for feature in task.features]
    return [
        *found,
        "",
        f"for the task: {task.patients} patients, {task.positive} with the label, {task.negative} without",
        *(f"left out for lack of consent: {count} patients, {reason}" for reason, count in task.left_out.items()),
        f"quality {task.quality_ppm / 10_000:.1f} %",
        *(f"look at: {warning}" for warning in task.warnings()),
        "",
        *table(("feature", "missing", "outside its bounds", "clamped"), features),
    ]
