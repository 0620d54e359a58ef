"""`consortium gateway`: a hospital's gateway."""

import asyncio
from pathlib import Path

import click

from gateway.cli.options import config_option, format_option
from gateway.cli.output import Result, table


@click.group()
def gateway() -> None:
    """Run a hospital's gateway and ask how it is."""


@gateway.command()
@config_option
@format_option
def serve(config: Path) -> None:
    """Serve the gateway until interrupted."""
    from gateway.config import load_gateway_config
    from gateway.hospital.serve import serve as serve_gateway
    from gateway.logs import log_to_stderr

    settings = load_gateway_config(config)
    log_to_stderr()
    asyncio.run(serve_gateway(settings))


@gateway.command()
@config_option
@format_option
def status(config: Path) -> Result:
    """Ask the gateway how it is and what it works on."""
    from gateway.cli.own_gateway import gateway_status

    found = gateway_status(config)
    tasks = [
        {"task_id": each.task_id, "title": each.title, "status": each.status, "round": each.round, "phase": each.phase, "note": each.note}
        for each in found.tasks
    ]
    rows = [(each["task_id"], each["status"], each["round"], each["phase"], each["note"]) for each in tasks]
    return Result(
        {"mspid": found.mspid, "version": found.version, "ledger_height": found.ledger_height, "tasks": tasks},
        [
            f"gateway of {found.mspid}, version {found.version}, ledger height {found.ledger_height}",
            *(table(("task", "status", "round", "phase", "note"), rows) if rows else ["no tasks"]),
        ],
    )
