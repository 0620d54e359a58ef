"""`consortium gateway`: a hospital's gateway."""

import asyncio
from pathlib import Path

import click

from gateway.cli.options import PathType, config_option, format_option
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


@gateway.command()
@click.argument("file", metavar="FILE", type=PathType())
@click.option("--key", required=True, metavar="FILE", type=PathType(), help="The key that seals the backup; made where there is none.")
@config_option
@format_option
def backup(file: Path, key: Path, config: Path) -> Result:
    """Seal this gateway's shares of keys into a file."""
    from gateway.config import load_gateway_config
    from gateway.hospital.backup import back_up, new_key, write_backup

    settings = load_gateway_config(config)
    sealed = back_up(settings.gateway.state, key=new_key(key), mspid=settings.identity.mspid)
    write_backup(file, sealed)
    return Result(
        {"file": str(file), "bytes": len(sealed), "key": str(key)},
        [f"{len(sealed)} bytes are in {file}", f"without {key} nobody opens them: keep it elsewhere, and not with the backup"],
    )


@gateway.command()
@click.argument("file", metavar="FILE", type=PathType())
@click.option("--key", required=True, metavar="FILE", type=PathType(), help="The key that sealed the backup.")
@config_option
@format_option
def restore(file: Path, key: Path, config: Path) -> Result:
    """Bring a backup back while the gateway does not run."""
    from gateway.config import load_gateway_config
    from gateway.hospital.backup import read_backup, read_key
    from gateway.hospital.backup import restore as restore_state

    settings = load_gateway_config(config)
    tasks = restore_state(settings.gateway.state, read_backup(file), key=read_key(key), mspid=settings.identity.mspid)
    return Result({"tasks": tasks}, [f"key shares of {len(tasks)} tasks are there again: {', '.join(tasks) or 'none'}"])
