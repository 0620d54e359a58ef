"""Checkpoint files: what an auditor verified, signed, to be kept where the ledger's operators cannot change it."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from fabric.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from fabric.crypto import SigningIdentity
from fabric.statement import StatementError
from gateway.auditor.export import replacing
from gateway.auditor.verify import AuditReport
from gateway.errors import InputError, VerificationFailed


def write_checkpoint(path: Path, report: AuditReport, identity: SigningIdentity, *, now: datetime.datetime) -> Checkpoint:
    """Sign the height and hashes of a ledger that an audit found good. `now` has a time zone. Raises InputError."""
    if not report.verified:
        raise ValueError("a checkpoint says that its signer verified the ledger, and this one does not verify")
    data = end_of(report, identity, now=now)
    write_file(path, data)
    return open_checkpoint(data)


def end_of(report: AuditReport, identity: SigningIdentity, *, now: datetime.datetime) -> bytes:
    """A new signed checkpoint of the newest block that was verified."""
    return sign_checkpoint(
        identity,
        channel=report.channel,
        height=report.height,
        genesis_hash=bytes.fromhex(report.genesis_hash),
        block_hash=bytes.fromhex(report.last_hash),
        made_at=now,
    )


def read_checkpoints(paths: Sequence[Path]) -> list[Checkpoint]:
    """Read checkpoint files; raise InputError, or VerificationFailed for one that its signer did not sign in this form."""
    return [read_checkpoint(path) for path in paths]


def write_file(path: Path, data: bytes) -> None:
    """Write evidence as a whole or not at all; raise InputError."""
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place for the file") from error


def read_file(path: Path, *, made_by: str) -> bytes:
    """Read evidence that the verb `made_by` wrote; raise InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; name a file that `consortium audit {made_by}` wrote") from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint file, as `read_checkpoints` does."""
    try:
        return open_checkpoint(read_file(path, made_by="checkpoint"))
    except StatementError as error:
        raise VerificationFailed(f"the checkpoint {path} cannot be relied upon: {error}") from error
