"""`consortium chaincode`: the contract for real peers."""

import asyncio
from pathlib import Path

import click

from gateway.cli.options import PathType, format_option


@click.group()
def chaincode() -> None:
    """Run the contract for an organisation's real peers."""


@chaincode.command()
@click.option("--config", type=PathType(), required=True, metavar="FILE", help="chaincode.toml: address, package and certificates.")
@format_option
def serve(config: Path) -> None:
    """Serve the contract to peers until interrupted."""
    from gateway.chaincode.config import load_chaincode_config
    from gateway.chaincode.serve import serve as serve_chaincode
    from gateway.logs import log_to_stderr

    settings = load_chaincode_config(config)
    log_to_stderr()
    asyncio.run(serve_chaincode(settings))
