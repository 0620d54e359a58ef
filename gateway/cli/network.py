"""`consortium network`: a real Fabric network on this machine, for trials and tests, and the manifests of one of real machines."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import PathType, format_option
from gateway.cli.output import Result, table

if TYPE_CHECKING:  # loaded by the verb that needs it
    from gateway.network.description import Network
    from gateway.network.home import FabricHome
    from gateway.network.render import Target


@click.group()
def network() -> None:
    """Run a real Fabric network on this machine, or write the manifests of one of real machines."""


_out = click.option("--out", type=PathType(), required=True, metavar="DIR", help="The network's folder.")


@network.command()
@click.option("--fabric-home", type=PathType(), required=True, metavar="DIR", help="An unpacked Fabric release, 2.5 or 3.1.")
@_out
@click.option("--orgs", type=click.IntRange(1, 16), metavar="N", help="How many organisations, 1 to 16; default: 3.")
@click.option("--orderers", metavar="KIND:N", help="raft:1, raft:3, raft:5, bft:4 or bft:7; default: raft:3.")
@format_option
def up(fabric_home: Path, out: Path, orgs: int | None, orderers: str | None) -> Result:
    """Start a network, and make it first if the folder holds none."""
    from gateway.network.home import open_home
    from gateway.network.up import up as bring_up

    home = open_home(fabric_home)
    made = _made_or_new(out, home, orgs, orderers)
    bring_up(made, home, lambda line: click.echo(line, err=True))
    return _status(made)


@network.command()
@click.option("--fabric-home", type=PathType(), required=True, metavar="DIR", help="The unpacked Fabric release that the network runs on.")
@_out
@format_option
def upgrade(fabric_home: Path, out: Path) -> Result:
    """Put this program's version of the contract on a running network that is under an earlier one."""
    from gateway.network.description import load
    from gateway.network.home import open_home
    from gateway.network.upgrade import upgrade as put

    return _status(put(load(out), open_home(fabric_home), lambda line: click.echo(line, err=True)))


@network.command()
@_out
@format_option
def down(out: Path) -> Result:
    """Stop a network; its ledger, certificates and configuration stay."""
    from gateway.network.description import load
    from gateway.network.status import down as take_down

    stopped = take_down(load(out))
    return Result({"stopped": stopped}, [f"stopped {', '.join(stopped)}" if stopped else "nothing of it ran"])


@network.command()
@_out
@format_option
def status(out: Path) -> Result:
    """Say which programs of a network run, and where they listen."""
    from gateway.network.description import load

    return _status(load(out))


@network.command()
@click.option("--description", type=PathType(), required=True, metavar="FILE", help="network.json with the hosts' names and ports.")
@click.option("--target", type=click.Choice(["compose", "kubernetes"]), required=True, help="For what the manifests are.")
@_out
@click.option("--fabric-version", metavar="VERSION", help="Release of the official images, in full; default: the newest that was tried.")
@format_option
def render(description: Path, target: "Target", out: Path, fabric_version: str | None) -> Result:
    """Write the manifests of a network of real machines: what each organisation runs, and the channel's first policies."""
    from gateway.network.description import read_description
    from gateway.network.render import FABRIC_VERSION
    from gateway.network.render import render as write

    written = write(read_description(description), target, out, fabric_version=fabric_version or FABRIC_VERSION)
    return Result({"files": [str(path) for path in written]}, [f"wrote {path}" for path in written])


def _made_or_new(out: Path, home: "FabricHome", orgs: int | None, orderers: str | None) -> "Network":
    from gateway.errors import InputError
    from gateway.network.create import create
    from gateway.network.description import DESCRIPTION, load, parse_orderers

    if not (out / DESCRIPTION).exists():
        ordering = parse_orderers(orderers or "raft:3")
        home.require(ordering.consensus)  # before anything is made
        mspids = [f"Org{number}MSP" for number in range(1, (orgs or 3) + 1)]
        return create(out, mspids, ordering, client="client")
    if orgs or orderers:
        raise InputError(f"{out} holds a network already, whose organisations and orderers stay; leave --orgs and --orderers out")
    return load(out)


def _status(found: "Network") -> Result:
    from gateway.network.status import status as ask

    programs = ask(found)
    data = {
        "folder": str(found.folder),
        "up": all(each.state == "running" for each in programs),
        "contract": found.description.contract,
        "sequence": found.description.sequence,
        "upgrade": found.description.upgrade.contract if found.description.upgrade else None,
        "programs": [{"name": each.name, "endpoint": each.endpoint, "state": each.state, "pid": each.pid} for each in programs],
    }
    rows = [(each.name, each.endpoint, each.state, each.pid or "") for each in programs]
    contract = f"contract {found.description.contract}, definition {found.description.sequence}"
    upgrading = [f"an upgrade to contract {data['upgrade']} is under way: ask for it again to finish it"] if data["upgrade"] else []
    return Result(data, [*table(("program", "listens on", "state", "process"), rows), contract, *upgrading])
