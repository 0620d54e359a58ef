"""`consortium channel`: who belongs to the channel, and how its administrators change that together."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import Function, PathType, config_option, format_option
from gateway.cli.output import Result

if TYPE_CHECKING:  # loaded by the verb that needs it
    from gateway.channel.current import CurrentChannel


@click.group()
def channel() -> None:
    """See who belongs to a real channel, and change it: one administrator proposes, others sign, one hands in."""


def _files(name: str, what: str, *, required: bool = False) -> Callable[[Function], Function]:
    return click.option(name, type=PathType(), multiple=True, required=required, metavar="FILE", help=f"{what}; once for each.")


_update = click.argument("update", type=PathType(), metavar="UPDATE")
_update_out = click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the update is written.")


@channel.command()
@config_option
@format_option
def show(config: Path) -> Result:
    """Say who belongs to the channel, and until when their authorities' certificates are valid."""
    from gateway.cli.channel_report import channel_report

    return channel_report(_current(config))


@channel.command()
@click.option("--mspid", required=True, metavar="ID", help="The organisation's MSP id.")
@_files("--ca", "Certificate of an authority that issues identities", required=True)
@_files("--intermediate", "Certificate of an authority below it")
@_files("--tls-ca", "Certificate of an authority that issues TLS certificates", required=True)
@_files("--crl", "Revocation list of one of the authorities")
@click.option("--anchor", multiple=True, metavar="HOST:PORT", help="Where other organisations find the peer; once for each.")
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the definition is written.")
@format_option
def define(
    mspid: str,
    ca: tuple[Path, ...],
    intermediate: tuple[Path, ...],
    tls_ca: tuple[Path, ...],
    crl: tuple[Path, ...],
    anchor: tuple[str, ...],
    out: Path,
) -> Result:
    """Write what the others need to know of an organisation: no secrets."""
    from datetime import UTC, datetime

    from gateway.channel.definition import define as make
    from gateway.cli.channel_report import organisation_facts, organisation_lines

    now = datetime.now(UTC)
    made = make(
        mspid, authorities=ca, intermediates=intermediate, tls_authorities=tls_ca, revocation_lists=crl, anchor_peers=anchor, now=now
    )
    _write(out, made.model_dump_json(indent=2).encode() + b"\n")
    facts = organisation_facts(made.msp)
    return Result({"file": str(out), **facts}, [f"wrote {out}", *organisation_lines(facts, mspid)])


@channel.command()
@config_option
@click.option("--organisation", type=PathType(), required=True, metavar="FILE", help="The organisation's definition.")
@_update_out
@format_option
def propose(config: Path, organisation: Path, out: Path) -> Result:
    """Compute the update that adds an organisation, or exchanges the authorities and revocation lists of one that belongs."""
    from datetime import UTC, datetime

    from gateway.channel.definition import read_definition
    from gateway.channel.update import judge
    from gateway.channel.update import propose as compute
    from gateway.cli.channel_report import update_report

    definition = read_definition(organisation, datetime.now(UTC))
    current = _current(config)
    update = compute(current, definition)
    _write(out, update.to_bytes())
    return update_report(current, judge(current, update), f"wrote {out}")


@channel.command()
@_update
@config_option
@format_option
def review(update: Path, config: Path) -> Result:
    """Say what an update would change, who signed it, and what is missing."""
    from gateway.channel.update import judge, read_update
    from gateway.cli.channel_report import update_report

    read, current = read_update([update]), _current(config)
    return update_report(current, judge(current, read), f"{update} is for channel {read.channel}")


@channel.command()
@_update
@config_option
@_update_out
@format_option
def sign(update: Path, config: Path, out: Path) -> Result:
    """Sign an update as the administrator of the configuration."""
    from gateway.channel.update import judge, read_update
    from gateway.channel.update import sign as sign_update
    from gateway.cli.channel_report import update_report
    from gateway.config import load_client_config

    read, current = read_update([update]), _current(config)
    signed = sign_update(current, read, load_client_config(config).identity.load())
    _write(out, signed.to_bytes())
    return update_report(current, judge(current, signed), f"wrote {out}")


@channel.command()
@click.argument("updates", type=PathType(), metavar="UPDATE...", nargs=-1, required=True)
@config_option
@format_option
def submit(updates: tuple[Path, ...], config: Path) -> Result:
    """Hand in an update, with the signatures of all the files given, and wait until it is in force."""
    from gateway.channel.update import read_update
    from gateway.channel.update import submit as hand_in
    from gateway.cli.connected import with_client
    from gateway.config import load_client_config

    merged, identity = read_update(updates), load_client_config(config).identity.load()
    block = with_client(config, lambda client, _: hand_in(client, merged, identity))
    return Result({"channel": merged.channel, "block": block}, [f"channel {merged.channel} is changed from block {block} on"])


def _current(config: Path) -> "CurrentChannel":
    from gateway.channel.current import read_channel
    from gateway.cli.connected import with_client

    return with_client(config, lambda client, _: read_channel(client))


def _write(path: Path, data: bytes) -> None:
    from gateway.errors import InputError

    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
