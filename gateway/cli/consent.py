"""Verbs about withdrawals of consent: a patient's opening and erasure in the hospital, and the auditor's proof."""

import datetime
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.evidence import hash_of, processes_option
from gateway.cli.options import PathType, config_option, format_option, task_id_option
from gateway.cli.output import Result
from gateway.errors import InputError

if TYPE_CHECKING:  # verification loads what other verbs do not need
    from gateway.auditor.consent import ConsentProven

opening_option = click.option("--opening", type=PathType(), metavar="FILE", help="The patient's, which `data opening` wrote. Private.")
patient_option = click.option("--patient", required=True, metavar="ID", help="The patient's FHIR id.")


@click.command()
@config_option
@task_id_option
@patient_option
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="New file, readable by its owner only.")
@format_option
def opening(config: Path, task_id: str, patient: str, out: Path) -> Result:
    """Write what shows that a patient's withdrawal stands on the ledger: for the patient, and nobody else."""
    from gateway.config import load_gateway_config
    from gateway.hospital.openings import find_opening

    settings = load_gateway_config(config)
    found = find_opening(settings.gateway.state, task_id=task_id, mspid=settings.identity.mspid, patient=patient)
    try:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(found.to_bytes())
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give the name of a new file") from error
    return Result(
        {"file": str(out), "digest": found.digest}, [f"the opening is in {out}; it names the patient: give it to the patient alone"]
    )


@click.command()
@config_option
@patient_option
@format_option
def erase(config: Path, patient: str) -> Result:
    """Destroy the salts and keyed hashes that a stopped gateway keeps of a patient."""
    from gateway.cli.connected import with_ledger
    from gateway.config import load_gateway_config
    from gateway.hospital.state import StateStore

    settings = load_gateway_config(config)
    tasks = with_ledger(config, lambda ledger: ledger.tasks())
    over = {each.task_id for each in tasks if each.phase in ("finished", "abandoned", "aborted")}
    state = StateStore(settings.gateway.state)
    try:
        erased = state.erase_patient(patient, over=over)
    finally:
        state.close()
    left = [f"task {task_id} runs: it keeps the patient's keyed hash, so that nobody comes back; erase again when it is over"
            for task_id in erased.running]  # fmt: skip
    return Result(asdict(erased), [f"{erased.salts} salts of this patient are destroyed; what stands on the ledger is nobody's now", *left])


@click.command()
@config_option
@task_id_option
@click.option("--round", "round_number", type=click.IntRange(0), required=True, metavar="N", help="The round that came after.")
@opening_option
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the proof goes. It does not name the patient.")
@processes_option
@format_option
def consent(config: Path, task_id: str, round_number: int, opening: Path | None, out: Path, processes: int | None) -> Result:
    """Prove that a patient's withdrawal stood on the ledger before a round was opened."""
    from gateway.auditor.consent import prove_withdrawal
    from gateway.cli.bar import bar
    from gateway.cli.connected import with_client
    from gateway.config import load_client_config
    from gateway.hospital.openings import read_opening

    if opening is None:
        raise click.UsageError("--opening is needed: without the patient's salt nobody can tell which withdrawal is meant")
    found = read_opening(opening)
    if found.task_id != task_id:
        raise InputError(f"the opening is of task {found.task_id}; give --task {found.task_id}, or the opening of {task_id}")
    identity, now = load_client_config(config).identity.load(), datetime.datetime.now(datetime.UTC)
    with bar("verifying") as progress:
        proven = with_client(
            config,
            lambda client, _: prove_withdrawal(
                client, found, out, identity, round_number=round_number, now=now, processes=processes, progress=progress
            ),
        )
    genesis = proven.recorded.genesis_hash.hex()
    return Result(
        {"proof": str(out), **_data(proven)},
        [*_lines(proven), f"the proof is in {out}; check it with `audit check-consent {out} --genesis-hash {genesis} --opening FILE`"],
    )


@click.command(name="check-consent")
@click.argument("file", type=PathType())
@opening_option
@click.option("--genesis-hash", metavar="HEX", help="Hash of the channel's first block, from a source you trust.")
@click.option("--roots", type=PathType(), metavar="FILE", help="TOML file that names each organisation's root certificates.")
@format_option
def check_consent(file: Path, opening: Path | None, genesis_hash: str | None, roots: Path | None) -> Result:
    """Check a proof that `audit consent` wrote, without a ledger, and with the opening whose it is."""
    from gateway.auditor.consent import check_withdrawal
    from gateway.hospital.openings import read_opening

    if genesis_hash is None and roots is None:
        raise click.UsageError("give --genesis-hash, --roots or both: evidence that vouches for itself proves nothing")
    found = None if opening is None else read_opening(opening)
    proven = check_withdrawal(file, opening=found, genesis_hash=None if genesis_hash is None else hash_of(genesis_hash), roots=roots)
    whose = "it is the withdrawal of the opening's patient" if found else "whose withdrawal it is shows to who has the patient's opening"
    return Result({**_data(proven), "opened": found is not None}, [*_lines(proven), whose])


def _data(proven: "ConsentProven") -> dict[str, object]:
    return {
        "task_id": proven.task_id,
        "hospital": proven.mspid,
        "round": proven.round,
        "commitment": proven.commitment,
        "genesis_hash": proven.recorded.genesis_hash.hex(),
        "recorded": {"tx_id": proven.recorded.transaction.tx_id, "block": proven.recorded.block},
        "round_opened": {"tx_id": proven.opened.transaction.tx_id, "block": proven.opened.block},
        "prover": proven.recorded.prover.signer,
    }


def _lines(proven: "ConsentProven") -> list[str]:
    return [
        f"proved: {proven.mspid} recorded withdrawal {proven.commitment[:12]} from task {proven.task_id} in block {proven.recorded.block}",
        f"round {proven.round} was opened after that, in block {proven.opened.block}",
    ]
