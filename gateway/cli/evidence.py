"""Verbs of `consortium audit` that make and check evidence to be kept or shown elsewhere."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import PathType, config_option, format_option
from gateway.cli.output import Result
from gateway.errors import VerificationFailed

if TYPE_CHECKING:  # verification loads what other verbs do not need
    from fabric.evidence import Proven

processes_option = click.option(
    "--processes", type=click.IntRange(min=1), metavar="N", help="Processes that check signatures; default: one for each core."
)


@click.command()
@config_option
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the checkpoint goes.")
@processes_option
@format_option
def checkpoint(config: Path, out: Path, processes: int | None) -> Result:
    """Verify the ledger, then sign its height and last hash, to be kept where no operator can change it."""
    from gateway.auditor.checkpoints import write_checkpoint
    from gateway.auditor.verify import verify_ledger
    from gateway.cli.bar import bar
    from gateway.cli.connected import with_client
    from gateway.config import load_client_config

    identity = load_client_config(config).identity.load()
    with bar("verifying") as progress:
        report = with_client(config, lambda client, _: verify_ledger(client, processes=processes, progress=progress))
    if not report.verified:
        raise VerificationFailed(f"no checkpoint was made, for {report.finding}")
    made = write_checkpoint(out, report, identity, now=datetime.datetime.now(datetime.UTC))
    data = {
        "checkpoint": str(out),
        "channel": made.channel,
        "height": made.height,
        "genesis_hash": made.genesis_hash.hex(),
        "block_hash": made.block_hash.hex(),
        "signer": made.signer,
    }
    return Result(
        data,
        [
            f"verified {made.height} blocks of channel {made.channel}; the last one is {made.block_hash.hex()}",
            f"{data['signer']} signed it in {out}",
            "keep the file away from the ledger; `audit verify --checkpoint` holds any later ledger against it",
        ],
    )


@click.command()
@config_option
@click.option("--tx", "tx_id", required=True, metavar="ID", help="The transaction's id; `audit trail --format json` tells ids.")
@click.option("--checkpoint", "until", type=PathType(), metavar="FILE", help="End at this checkpoint; default: a new one, of now.")
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the evidence goes.")
@processes_option
@format_option
def prove(config: Path, tx_id: str, until: Path | None, out: Path, processes: int | None) -> Result:
    """Write evidence that a transaction stands in the ledger, for those who have no ledger."""
    from gateway.auditor.proof import prove as write
    from gateway.cli.bar import bar
    from gateway.cli.connected import with_client
    from gateway.config import load_client_config

    identity, now = load_client_config(config).identity.load(), datetime.datetime.now(datetime.UTC)
    with bar("verifying") as progress:
        proven = with_client(
            config, lambda client, _: write(client, tx_id, out, identity, now=now, checkpoint=until, processes=processes, progress=progress)
        )
    genesis = proven.genesis_hash.hex()
    return Result(
        {"evidence": str(out), **_data(proven)},
        [*_lines(proven), f"the evidence is in {out}; check it with `audit check-proof {out} --genesis-hash {genesis}`"],
    )


@click.command(name="check-proof")
@click.argument("file", type=PathType())
@click.option("--genesis-hash", metavar="HEX", help="Hash of the channel's first block, from a source you trust.")
@click.option("--roots", type=PathType(), metavar="FILE", help="TOML file that names each organisation's root certificates.")
@format_option
def check_proof(file: Path, genesis_hash: str | None, roots: Path | None) -> Result:
    """Check evidence that `audit prove` wrote, without a ledger."""
    from gateway.auditor.proof import check_proof as check

    if genesis_hash is None and roots is None:
        raise click.UsageError("give --genesis-hash, --roots or both: evidence that vouches for itself proves nothing")
    proven = check(file, genesis_hash=None if genesis_hash is None else hash_of(genesis_hash), roots=roots)
    return Result(_data(proven), _lines(proven))


def hash_of(text: str) -> bytes:
    """What `--genesis-hash` names; raise click.UsageError."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise click.UsageError("--genesis-hash takes a SHA-256 hash: 64 hexadecimal digits")
    return value


def _data(proven: "Proven") -> dict[str, object]:
    transaction = proven.transaction
    return {
        "tx_id": transaction.tx_id,
        "channel": proven.channel,
        "genesis_hash": proven.genesis_hash.hex(),
        "block": proven.block,
        "block_hash": proven.block_hash.hex(),
        "position": proven.position,
        "code": proven.code,
        "chaincode": transaction.chaincode,
        "function": transaction.function,
        "args": [arg.decode("utf-8", "replace") for arg in transaction.args[1:]],
        "event": transaction.event.name if transaction.event else "",
        "timestamp": transaction.timestamp.isoformat() if transaction.timestamp else "",
        "creator": proven.creator.name,
        "endorsers": list(proven.endorsing),
        "orderers": [member.name for member in proven.orderers],
        "checkpoint_height": proven.checkpoint.height,
        "prover": proven.prover.signer,
    }


def _lines(proven: "Proven") -> list[str]:
    transaction, checkpoint_of = proven.transaction, proven.checkpoint
    return [
        f"proved: transaction {transaction.tx_id}",
        f"called {transaction.function} of {transaction.chaincode}, signed by {proven.creator.name}",
        f"endorsed by {', '.join(proven.endorsing) or 'nobody'}",
        f"stands in block {proven.block} of channel {proven.channel}, signed by {', '.join(member.name for member in proven.orderers)}",
        f"that block stands before {checkpoint_of.said_by}, of height {checkpoint_of.height}",
        f"its validation code is {proven.code}, as {proven.prover.signer} computed it from the whole ledger",
    ]
