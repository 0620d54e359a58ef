"""`consortium audit`: what an auditor asks of the ledger, trusting nobody."""

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.evidence import check_proof, checkpoint, processes_option, prove
from gateway.cli.options import PathType, format_option, task_id_option
from gateway.cli.output import Result
from gateway.errors import InputError, VerificationFailed

if TYPE_CHECKING:  # verification loads what other verbs do not need
    from fabric_protos.common import common_pb2

    from fabric.client.gateway import Gateway
    from gateway.auditor.resumption import Resumption
    from gateway.auditor.verify import AuditReport

ledger_option = click.option("--config", type=PathType(), metavar="FILE", help="Which ledger, and who is asking.")
checkpoint_option = click.option(
    "--checkpoint", "kept", type=PathType(), multiple=True, metavar="FILE", help="A checkpoint the ledger must agree with."
)
blocks_option = click.option("--blocks", type=PathType(), metavar="FILE", help="A file that `audit export` wrote.")


@click.group()
def audit() -> None:
    """Verify the ledger, keep evidence of it, and read a task's story."""


for evidence_verb in (checkpoint, prove, check_proof):
    audit.add_command(evidence_verb)


@audit.command()
@ledger_option
@blocks_option
@checkpoint_option
@click.option("--resume", type=PathType(), metavar="FILE", help="Go on from the audit that wrote this file, and write it anew.")
@processes_option
@format_option
def verify(config: Path | None, blocks: Path | None, kept: tuple[Path, ...], resume: Path | None, processes: int | None) -> Result:
    """Check every block, signature and validation, and recompute trust, balances and budgets."""
    from gateway.auditor.checkpoints import read_checkpoints
    from gateway.auditor.verify import verify_file, verify_ledger
    from gateway.cli.bar import bar
    from gateway.cli.connected import with_client

    from_file, checkpoints = _from_file(config, blocks), read_checkpoints(kept)
    if from_file and resume:
        raise click.UsageError("--resume goes with --config: its file is signed by that identity, and an exported file is verified whole")
    with bar("verifying") as progress:
        if from_file:
            report = verify_file(_given(blocks), checkpoints=checkpoints, processes=processes, progress=progress)
        else:
            report = with_client(
                _given(config),
                lambda client, _: verify_ledger(
                    client, checkpoints=checkpoints, processes=processes, progress=progress, resumption=_resumption(_given(config), resume)
                ),
            )
    if not report.verified:
        raise VerificationFailed(report.finding)
    agreed = [f"agrees with the checkpoint of {one.signer}, of height {one.height}" for one in checkpoints]
    return Result({**asdict(report), "checkpoints": [one.height for one in checkpoints]}, [*_lines(report), *agreed])


@audit.command()
@click.option("--config", type=PathType(), required=True, metavar="FILE", help="Which ledger, and who is asking.")
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the events go; goes on after its last one.")
@format_option
def events(config: Path, out: Path) -> None:
    """Append the contract's events to a file, one JSON object a line and each once, until interrupted."""
    from gateway.auditor.event_log import append_events
    from gateway.cli.connected import with_client

    with_client(config, lambda client, _: append_events(client, out))


@audit.command()
@click.option("--config", type=PathType(), required=True, metavar="FILE", help="Which ledger, and who is asking.")
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the blocks go.")
@format_option
def export(config: Path, out: Path) -> Result:
    """Write every block of the ledger into a file that `audit verify --blocks` checks."""
    from gateway.auditor.export import export_ledger
    from gateway.cli.connected import with_client

    exported = with_client(config, lambda client, _: export_ledger(client, out))
    return Result(
        {"blocks": str(out), "height": exported.height, "last_hash": exported.last_hash.hex(), "bytes": exported.size},
        [f"{exported.height} blocks are in {out}", f"keep the last block's hash apart from it: {exported.last_hash.hex()}"],
    )


@audit.command(name="trail")
@ledger_option
@blocks_option
@checkpoint_option
@task_id_option
@format_option
def task_trail(config: Path | None, blocks: Path | None, kept: tuple[Path, ...], task_id: str) -> Result:
    """Tell a task's story in order, with who signed what; the blocks are verified on the way."""
    from gateway.auditor.checkpoints import read_checkpoints
    from gateway.auditor.export import read_blocks
    from gateway.auditor.trail import trail
    from gateway.cli.connected import with_client

    from_file, checkpoints = _from_file(config, blocks), read_checkpoints(kept)
    told = read_blocks(_given(blocks)) if from_file else with_client(_given(config), lambda client, _: _all_blocks(client))
    entries = trail(told, task_id, checkpoints=checkpoints)
    if not entries:
        raise InputError(f"the ledger holds nothing about a task {task_id}; `consortium task list` names the tasks")
    return Result([entry.as_json() for entry in entries], [entry.line for entry in entries])


def _from_file(config: Path | None, blocks: Path | None) -> bool:
    if (config is None) == (blocks is None):
        raise click.UsageError("give either --config, to ask the ledger, or --blocks, to read an exported file")
    return blocks is not None


def _resumption(config: Path, path: Path | None) -> "Resumption | None":
    from gateway.auditor.resumption import Resumption
    from gateway.config import load_client_config

    if path is None:
        return None
    return Resumption(path, load_client_config(config).identity.load(), datetime.datetime.now(datetime.UTC))


def _given(path: Path | None) -> Path:
    assert path is not None  # _from_file has seen that the one of both that is used was given
    return path


async def _all_blocks(client: "Gateway") -> "list[common_pb2.Block]":
    height = await client.height()
    return [block async for block in client.blocks(start=0, stop=height - 1)]


def _lines(report: "AuditReport") -> list[str]:
    return [
        f"verified: {report.height} blocks of channel {report.channel}",
        *([f"the first {report.resumed_at} of them by an earlier audit of yours"] if report.resumed_at else []),
        f"transactions: {report.transactions}, of which {report.invalid} are recorded as invalid and had no effect",
        f"first block {report.genesis_hash}",
        f"last block  {report.last_hash}",
        f"organisations: {', '.join(report.organisations)}",
        *(f"contract {each.version} is in force from block {each.block} on" for each in report.contracts),
        "trust, balances and budgets, computed again from the transactions, are what the ledger says",
    ]
