"""`consortium ledger`: the embedded ledger."""

import asyncio
from pathlib import Path

import click

from gateway.cli.options import PathType, format_option


@click.group()
def ledger() -> None:
    """Run a ledger for development and trials."""


@ledger.command()
@click.option("--config", type=PathType(), required=True, metavar="FILE", help="ledger.toml, as `consortium init` writes it.")
@format_option
def dev(config: Path) -> None:
    """Serve the embedded ledger until interrupted."""
    from fabric.devledger.config import load
    from fabric.devledger.server import serve
    from gateway.logs import log_to_stderr

    log_to_stderr()
    asyncio.run(serve(load(config)))
