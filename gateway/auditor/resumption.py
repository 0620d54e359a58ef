"""What an audit knows when it ends, kept in a file so that the next one goes on from there instead of from the first block.

The file is a statement (`fabric.statement`) that the auditor signs, and after it an SQLite database with the SHA-256 digest that the
statement names:

    meta    one row of JSON: where the verifier stands, and what the books of trust, tokens and budgets remember
    state   every key of the world state
    known   every transaction id

It replaces the blocks before it, so it is worth what its signer is worth: only the identity that signed it goes on from it.
"""

import datetime
import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fabric.crypto import SigningIdentity
from fabric.decoding import decode
from fabric.statement import StatementError, open_statement, sign_statement
from fabric.verify import Position
from gateway.auditor.export import replacing
from gateway.auditor.known_ids import IdsOnDisk
from gateway.auditor.state_on_disk import StateOnDisk
from gateway.errors import InputError, VerificationFailed

KIND = "consortium-audit-state-1"

_LONGEST_STATEMENT = 64 * 1024  # bytes; a certificate and a few numbers
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class AuditState:
    """Where the verifier stands, and what the books remember by their names (JSON values)."""

    position: Position
    books: Mapping[str, Any]


@dataclass(frozen=True)
class Resumption:
    """The file that audits of one auditor go on from; `now` has a time zone."""

    path: Path
    identity: SigningIdentity
    now: datetime.datetime

    def read(self, known: IdsOnDisk, state: StateOnDisk) -> AuditState | None:
        """What the audit before knew; None where there was none. Raises as `read_state` does."""
        return read_state(self.path, known, state, self.identity) if self.path.exists() else None

    def write(self, audited: AuditState, known: IdsOnDisk, state: StateOnDisk) -> None:
        """Keep what the audit knows now; raise InputError."""
        write_state(self.path, audited, known, state, self.identity, now=self.now)


def write_state(
    path: Path, audited: AuditState, known: IdsOnDisk, state: StateOnDisk, identity: SigningIdentity, *, now: datetime.datetime
) -> None:
    """Sign and write the file as a whole or not at all; raise InputError. `now` has a time zone."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder) / "state.sqlite"
            _fill(database, audited, known, state)
            with database.open("rb") as body, replacing(path) as file:
                content = {
                    "height": audited.position.height,
                    "block_hash": audited.position.last_hash,
                    "genesis_hash": audited.position.genesis_hash,
                    "digest": hashlib.file_digest(body, "sha256").hexdigest(),
                    "made_at": now.astimezone(datetime.UTC).isoformat(timespec="seconds"),
                }
                file.write(sign_statement(identity, KIND, content))
                body.seek(0)
                shutil.copyfileobj(body, file, _CHUNK)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place for the file") from error


def read_state(path: Path, known: IdsOnDisk, state: StateOnDisk, identity: SigningIdentity) -> AuditState:
    """Read a file that `identity` signed, and add its transaction ids to `known` and its keys to `state`, which must be empty.

    Raises VerificationFailed for a file that was changed or that another signed, InputError for one that cannot be read.
    """
    try:
        with path.open("rb") as file, tempfile.TemporaryDirectory() as folder:
            digest = _signed_digest(file.readline(_LONGEST_STATEMENT), identity)
            database = Path(folder) / "state.sqlite"
            # Copied before it is checked: what was checked is then what is opened.
            with database.open("w+b") as body:
                shutil.copyfileobj(file, body, _CHUNK)
                body.seek(0)
                if hashlib.file_digest(body, "sha256").hexdigest() != digest:
                    raise StatementError("it was changed after it was signed")
            with closing(sqlite3.connect(database)) as opened:
                return _read(opened, known, state)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; name a file that `consortium audit verify --resume` wrote") from error
    except StatementError as error:
        raise VerificationFailed(f"the audit cannot go on from {path}: {error}; remove the file to begin with the first block") from error
    except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
        reason = f"{path} is not in the form that this program writes ({error})"
        raise InputError(f"{reason}; remove it to begin with the first block") from error


def _signed_digest(line: bytes, identity: SigningIdentity) -> str:
    statement = open_statement(line, KIND)
    if statement.identity != identity.serialized:
        raise StatementError(f"{statement.signer} signed it, and an auditor takes nobody's word but its own")
    return str(statement.content.get("digest"))


def _fill(path: Path, audited: AuditState, known: IdsOnDisk, state: StateOnDisk) -> None:
    with closing(sqlite3.connect(path)) as database:
        known.copy_to(database)
        state.copy_to(database)
        database.execute("CREATE TABLE meta (content TEXT NOT NULL)")
        meta = {"position": asdict(audited.position), "books": audited.books}
        database.execute("INSERT INTO meta VALUES (?)", (json.dumps(meta),))
        database.commit()


def _read(database: sqlite3.Connection, known: IdsOnDisk, state: StateOnDisk) -> AuditState:
    meta = json.loads(database.execute("SELECT content FROM meta").fetchone()[0])
    state.copy_from(database)
    known.copy_from(database)
    return AuditState(decode(Position, meta["position"], strict=True), meta["books"])
