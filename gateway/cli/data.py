"""`consortium data`: what a hospital's files are worth to a task. Everything stays in the hospital."""

import csv
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result, table
from gateway.errors import InputError

if TYPE_CHECKING:  # reading FHIR loads what other verbs do not need
    from gateway.fhir.extract import Extracted
    from gateway.fhir.quality import QualityReport

data_option = click.option("--data", type=PathType(), required=True, metavar="DIR", help="Folder of FHIR NDJSON files.")
task_option = click.option("--document", type=PathType(), required=True, metavar="FILE", help="The task file that names what is needed.")
quarantine_option = click.option("--quarantine", type=PathType(), metavar="FILE", help="Where lines that cannot be used are listed.")


@click.group()
def data() -> None:
    """Check FHIR data against a task, extract it, or write sample data."""


@data.command()
@data_option
@task_option
@quarantine_option
@format_option
def check(data: Path, document: Path, quarantine: Path | None) -> Result:
    """Say what the data hold for a task: patients, labels, missing values, lines set aside."""
    report = _extract(data, document, quarantine).report
    found = {**asdict(report), "patients": report.patients, "quality_ppm": report.quality_ppm, "warnings": list(report.warnings())}
    return Result(found, _lines(report))


@data.command()
@data_option
@task_option
@quarantine_option
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="CSV file of features and label, readable by its owner only.")
@format_option
def extract(data: Path, document: Path, quarantine: Path | None, out: Path) -> Result:
    """Write the matrix that a task would train on, without patients' identifiers. For the hospital's own eyes."""
    extracted = _extract(data, document, quarantine)
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


def _extract(folder: Path, document: Path, quarantine: Path | None) -> "Extracted":
    from gateway.fhir.extract import extract
    from gateway.task_file import load

    return extract(load(document), folder, quarantine=quarantine)


def _lines(report: "QualityReport") -> list[str]:
    rows = [(feature.name, feature.missing, feature.outside) for feature in report.features]
    return [
        f"{report.patients} patients: {report.positive} with the label, {report.negative} without",
        f"{report.lines.read} lines in {report.files} files, {report.lines.quarantined} set aside",
        f"quality {report.quality_ppm / 10_000:.1f} %",
        *(f"look at: {warning}" for warning in report.warnings()),
        "",
        *table(("feature", "missing", "outside its bounds"), rows),
    ]
