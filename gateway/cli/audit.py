"""`consortium audit`: what an auditor asks of the ledger, trusting nobody."""

import datetime
import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fabric.contract.accounts import TOKEN
from gateway.cli.consent import check_consent, consent
from gateway.cli.evidence import check_proof, checkpoint, processes_option, prove
from gateway.cli.options import PathType, config_option, format_option, format_or_csv_option, speaks_csv, task_id_option
from gateway.cli.output import Result, table
from gateway.config import MICRO
from gateway.errors import InputError, VerificationFailed

if TYPE_CHECKING:  # verification loads what other verbs do not need
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


for evidence_verb in (checkpoint, prove, check_proof, consent, check_consent):
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
    from gateway.auditor.trail import trail, trail_of_ledger
    from gateway.cli.connected import with_client

    from_file, checkpoints = _from_file(config, blocks), read_checkpoints(kept)
    if from_file:
        entries = trail(read_blocks(_given(blocks)), task_id, checkpoints=checkpoints)
    else:
        entries = with_client(_given(config), lambda client, _: trail_of_ledger(client, task_id, checkpoints=checkpoints))
    if not entries:
        raise InputError(f"the ledger holds nothing about a task {task_id}; `consortium task list` names the tasks")
    return Result([entry.as_json() for entry in entries], [entry.line for entry in entries])


@audit.command()
@ledger_option
@blocks_option
@click.option("--organisation", metavar="MSPID", help="Only this one's lines; the treasury's are those of `consortium`.")
@format_or_csv_option
def tokens(config: Path | None, blocks: Path | None, organisation: str | None) -> Result:
    """State every movement of tokens, for finance; the ledger is audited on the way."""
    from gateway.auditor.token_statement import as_csv, statement_of_file, statement_of_ledger
    from gateway.cli.connected import with_client

    if _from_file(config, blocks):
        entries = statement_of_file(_given(blocks))
    else:
        entries = with_client(_given(config), lambda client, _: statement_of_ledger(client))
    entries = [entry for entry in entries if organisation in (None, entry.organisation)]
    if speaks_csv():
        return Result(None, as_csv(entries).splitlines())
    header = ("block", "organisation", "account", "what", "task", "round", "tokens", "then")
    rows = [
        (
            entry.block,
            entry.organisation,
            entry.account,
            entry.what,
            entry.task_id,
            "" if entry.round is None else entry.round,
            f"{entry.amount_micro / TOKEN:.6f}",
            f"{entry.after_micro / TOKEN:.6f}",
        )
        for entry in entries
    ]
    return Result([asdict(entry) for entry in entries], table(header, rows))


@audit.command()
@config_option
@click.option("--hospital", required=True, metavar="MSPID", help="Whom it is about.")
@click.option("--fairness", type=click.FloatRange(0.5, 1.0), required=True, metavar="F", help="0.5 to 1, a factor of its rewards.")
@click.option("--evidence", type=PathType(), required=True, metavar="FILE", help="The report, of which the ledger gets the digest.")
@format_option
def attest(config: Path, hospital: str, fairness: float, evidence: Path) -> Result:
    """Attest how fair a hospital's part was found off the ledger; replaces what the same organisation attested before."""
    from gateway.cli.connected import with_ledger

    try:
        digest = hashlib.sha256(evidence.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {evidence}: {error.strerror}; name the report that the attestation rests on") from error
    fairness_ppm = round(fairness * MICRO)
    receipt = with_ledger(config, lambda ledger: ledger.attest_fairness(mspid=hospital, fairness_ppm=fairness_ppm, evidence_digest=digest))
    return Result(
        {"tx_id": receipt.tx_id, "evidence_digest": digest, **receipt.result},
        [
            f"attested: {hospital} {fairness_ppm / MICRO:g}, on a report with SHA-256 {digest}",
            "keep the report; the ledger has its digest alone",
        ],
    )


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
