"""`consortium data export`: a FHIR server's resources as a folder that every other verb reads."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result, table
from gateway.errors import ConfigError, InputError

if TYPE_CHECKING:  # HTTP loads what other verbs do not need
    from gateway.fhir.export.run import Exported
    from gateway.fhir.export.settings import DataSection


@click.command()
@click.option("--config", type=PathType(), metavar="FILE", help="A file with a section [data], such as a hospital's configuration.")
@click.option("--server", metavar="URL", help="The server's FHIR base URL, instead of a file, for one that asks for no token.")
@click.option("--ca", type=PathType(), metavar="FILE", help="With --server: PEM file of the authorities that may vouch for it.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="With --server: a resource type; may be given several times.")
@click.option("--group", metavar="ID", help="With --server: export this group's patients.")
@click.option("--search", is_flag=True, help="With --server: read page by page, for a server without Bulk Data.")
@click.option("--out", type=PathType(), metavar="DIR", help="The folder, for the export alone. Default: that of the hospital's gateway.")
@click.option("--full", is_flag=True, help="Ask for everything, not only for what changed since the last export.")
@format_option
def export(
    config: Path | None,
    server: str | None,
    ca: Path | None,
    types: tuple[str, ...],
    group: str | None,
    search: bool,
    out: Path | None,
    full: bool,
) -> Result:
    """Bring a folder up to the state of a FHIR server, by Bulk Data or by search."""
    from gateway.fhir.export.run import export as run

    if (config is None) == (server is None):
        raise click.UsageError("give --config or --server, one of the two")
    if config is not None and (ca or types or group or search):
        raise click.UsageError("--ca, --type, --group and --search belong to --server; a file says it in [data]")
    settings, folder = _from_file(config) if config is not None else (_section(str(server), ca, types, group, search=search), None)
    folder = out or folder
    if folder is None:
        raise click.UsageError("give --out, the folder that the export fills")
    return _result(asyncio.run(run(settings, folder, full=full, tell=_tell)), folder)


def _from_file(path: Path) -> "tuple[DataSection, Path | None]":
    from gateway.config import load_gateway_config
    from gateway.fhir.export.settings import load_data_section
    from gateway.toml_file import read

    if "gateway" not in read(path):
        return load_data_section(path), None
    config = load_gateway_config(path)
    if config.data is None:
        raise ConfigError(f"{path} has no section [data], which names the FHIR server")
    return config.data, config.gateway.data


def _section(server: str, ca: Path | None, types: tuple[str, ...], group: str | None, *, search: bool) -> "DataSection":
    from pydantic import ValidationError

    from gateway.fhir.export.settings import DataSection
    from gateway.toml_file import first_problem

    method, level = ("search" if search else "bulk"), ("group" if group else "system")
    try:
        return DataSection.model_validate(
            {"server": server, "ca": ca, "types": types, "group": group or "", "method": method, "level": level}
        )
    except ValidationError as error:
        raise InputError(first_problem(error)) from error


def _tell(sentence: str) -> None:
    print(f"consortium: {sentence}", file=sys.stderr, flush=True)


def _result(found: "Exported", folder: Path) -> Result:
    data = {
        "folder": str(folder),
        "since": found.since,
        "transaction_time": found.transaction_time,
        "read": found.read,
        "kept": found.kept,
        "replaced": found.replaced,
        "deleted": found.deleted,
        "resources": dict(found.resources),
        "failures": list(found.failures),
    }
    asked = "everything" if found.since is None else f"what changed since {found.since}"
    return Result(
        data,
        [
            f"asked for {asked}",
            f"{found.read} lines: {found.kept} kept, {found.replaced} replaced by newer ones, {found.deleted} deleted",
            *table(("type", "resources"), list(found.resources.items())),
            *(f"the server could not export: {sentence}" for sentence in found.failures),
            f"in {folder}" + ("" if found.transaction_time is None else f", as of {found.transaction_time}"),
        ],
    )
