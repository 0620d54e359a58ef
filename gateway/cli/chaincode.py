"""`consortium chaincode`: the contract for real peers."""

import asyncio
from pathlib import Path

import click

from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result


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


@chaincode.command()
@click.option("--mspid", required=True, metavar="ID", help="The organisation's MSP id.")
@click.option("--organisation", type=PathType(), required=True, metavar="DIR", help="Its folder of certificates, as hospital-ca makes it.")
@click.option("--address", default="chaincode:9999", show_default=True, metavar="HOST:PORT", help="Where its peer reaches the service.")
@click.option("--listen", default="0.0.0.0:9999", show_default=True, metavar="HOST:PORT", help="Where the service listens.")
@format_option
def package(mspid: str, organisation: Path, address: str, listen: str) -> Result:
    """Write what the organisation's peer installs, consortium.tgz, and the service's configuration, chaincode.toml."""
    from fabric.contract.release import RELEASE
    from fabric.devpki import Organisation
    from gateway.errors import InputError
    from gateway.network.description import CHAINCODE
    from gateway.network.package import write_package, write_service_config

    own, file, config = Organisation(mspid, organisation), organisation / f"{CHAINCODE}.tgz", organisation / "chaincode.toml"
    try:
        package_id = write_package(own, CHAINCODE, address, file)
        write_service_config(own, listen, package_id, config)
    except OSError as error:
        raise InputError(f"cannot use {error.filename}: {error.strerror}") from error
    data = {"package": str(file), "config": str(config), "package_id": package_id, "version": RELEASE.rules}
    return Result(data, [f"wrote {file} and {config}", f"package id {package_id}", f"version {RELEASE.rules}"])
