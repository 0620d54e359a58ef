"""`consortium data records`: what a gateway noted of its use of patients' data, for those who keep a hospital's audit trail."""

import os
from pathlib import Path

import click

from gateway.cli.options import PathType, config_option, format_option
from gateway.cli.output import Result
from gateway.errors import InputError


@click.command("records")
@config_option
@click.option("--task", "task_id", metavar="ID", help="Only what belongs to this task. Default: all tasks.")
@click.option("--out", type=PathType(), required=True, metavar="DIR", help="New folder for AuditEvent.ndjson and Provenance.ndjson.")
@format_option
def export_records(config: Path, task_id: str | None, out: Path) -> Result:
    """Write the gateway's AuditEvents and the models' Provenance as FHIR R4 NDJSON."""
    from gateway.config import load_gateway_config
    from gateway.hospital.record_log import TYPES, records

    folder = load_gateway_config(config).gateway.records
    if not folder.is_dir():
        raise InputError(f"there are no records in {folder}; they are there once the gateway has run")
    counts = {}
    try:
        out.mkdir(mode=0o700)
        for kind in TYPES:
            with os.fdopen(os.open(out / f"{kind}.ndjson", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                counts[kind] = 0
                for line in records(folder, kind, task_id):
                    file.write(line)
                    counts[kind] += 1
    except OSError as error:
        raise InputError(f"cannot copy the records to {out}: {error.strerror}; give the name of a new folder") from error
    return Result({"folder": str(out), "resources": counts}, [f"{count} {kind} in {out}" for kind, count in counts.items()])
