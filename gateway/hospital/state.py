"""What a gateway must not lose: SQLite in WAL mode, one file, one writer.

Everything else (who takes part, which phase a round is in, what was debited) is on the ledger and is asked there, so this
store holds only what nobody else has: secrets, updates not yet opened, and where the gateway had got to.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gateway.errors import ConfigError, InputError, VerificationFailed
from gateway.hospital.frames import pack, unpack
from gateway.hospital.withdrawal_batch import WithdrawalBatch, patient_hash
from gateway.sqlite_transaction import transaction

LeftOutWhen = Literal["at-approval", "since"]
_LEFT_OUT: tuple[LeftOutWhen, ...] = ("at-approval", "since")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    task_id TEXT NOT NULL, kind TEXT NOT NULL, number INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (task_id, kind, number)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Contribution:
    """One round's encrypted update, kept from before the commitment until the round settles."""

    nonce: str
    ciphertext_digest: str
    ciphertext: bytes


@dataclass(frozen=True)
class Erased:
    """What `erase_patient` destroyed: how many salts; `running`: tasks that still hold the patient's keyed hash."""

    salts: int
    running: tuple[str, ...]


@dataclass(frozen=True)
class CeremonyPart:
    """A gateway's part in one attempt at a task's key. Secret but for `public_part` and `sealing_public`."""

    secret: bytes
    """All that it deals follows from it."""
    public_part: bytes
    sealing_private: bytes
    sealing_public: bytes
    sealed: bytes | None
    """The others' shares, each sealed to its recipient, framed; None until the recipients' keys are known."""


class StateStore:
    """Typed access to the gateway's own state. Every write is on disk when the call returns."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Two gateways on one state would each release an update for one debit.
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"another gateway runs on the state folder {folder}; stop it or give this one its own") from error
        path = folder / "gateway.sqlite"
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    def document(self, task_id: str) -> bytes | None:
        return self._get(task_id, "document")

    def keep_document(self, task_id: str, document: bytes) -> None:
        self._put(task_id, "document", 0, document)

    def cohort_salt(self, task_id: str) -> bytes:
        """The secret (32 bytes) with which the cohort's digest stands on the ledger: made once for a task. Secret."""
        with transaction(self._db):
            salt = self._get(task_id, "cohort-salt")
            if salt is None:
                salt = os.urandom(32)
                self._put(task_id, "cohort-salt", 0, salt)
        return salt

    def left_out(self, task_id: str, when: LeftOutWhen) -> frozenset[str] | None:
        """Patients who are out of the task for lack of consent, each as a keyed hash; None where nothing was noted."""
        kept = self._get(task_id, f"left-out-{when}")
        return None if kept is None else frozenset(json.loads(kept))

    def keep_left_out(self, task_id: str, when: LeftOutWhen, hashes: Iterable[str]) -> None:
        self._put(task_id, f"left-out-{when}", 0, json.dumps(sorted(hashes)).encode())

    def withdrawals(self, task_id: str) -> tuple[WithdrawalBatch, ...]:
        """The batches of withdrawals that were made for the ledger, in order. Secret."""
        rows = self._db.execute("SELECT value FROM item WHERE task_id = ? AND kind = 'withdrawal' ORDER BY number", (task_id,))
        return tuple(WithdrawalBatch.parse(bytes(value)) for (value,) in rows)

    def keep_withdrawals(self, task_id: str, batch: WithdrawalBatch, hashes: Iterable[str]) -> None:
        """Keep a new batch, and as `since` the hashes of all who are out of the task: both or neither."""
        with transaction(self._db):
            number = len(self.withdrawals(task_id))
            self._put(task_id, "withdrawal", number, batch.to_bytes())
            self.keep_left_out(task_id, "since", hashes)

    def erase_patient(self, patient: str, *, over: Collection[str]) -> Erased:
        """Destroy what is kept of a patient: the salts of its withdrawals, and its keyed hash where a task is `over`.

        In a task that runs the hash stays, without which the patient could come back into it.
        """
        salts, running = 0, []
        with transaction(self._db):
            for (task_id,) in self._db.execute("SELECT task_id FROM item WHERE kind = 'cohort-salt'").fetchall():
                hashed = patient_hash(self._required(task_id, "cohort-salt"), patient)
                for number, batch in enumerate(self.withdrawals(task_id)):
                    if hashed in batch.openings:
                        self._put(task_id, "withdrawal", number, batch.without(hashed).to_bytes())
                        salts += 1
                lists = [when for when in _LEFT_OUT if hashed in (self.left_out(task_id, when) or ())]
                if lists and task_id not in over:
                    running.append(task_id)
                    continue
                for when in lists:
                    self.keep_left_out(task_id, when, (self.left_out(task_id, when) or frozenset()) - {hashed})
        self._db.execute("VACUUM")  # what was deleted would stay readable in the file
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Erased(salts, tuple(sorted(running)))

    def ceremony_part(self, task_id: str, attempt: int) -> CeremonyPart | None:
        data = self._get(task_id, "ceremony", attempt)
        if data is None:
            return None
        secret, public_part, private, public, *sealed = unpack(data)
        return CeremonyPart(secret, public_part, private, public, sealed[0] if sealed else None)

    def keep_ceremony_part(self, task_id: str, attempt: int, part: CeremonyPart) -> None:
        fields = [part.secret, part.public_part, part.sealing_private, part.sealing_public]
        self._put(task_id, "ceremony", attempt, pack(fields if part.sealed is None else [*fields, part.sealed]))

    def evidence(self, task_id: str, attempt: int) -> bytes | None:
        """What this gateway accuses another of in the key ceremony with."""
        return self._get(task_id, "key-evidence", attempt)

    def keep_evidence(self, task_id: str, attempt: int, evidence: bytes) -> None:
        self._put(task_id, "key-evidence", attempt, evidence)

    def public_key(self, task_id: str) -> bytes:
        """The task's joint public key; raise VerificationFailed where this gateway should have it and has not."""
        return self._required(task_id, "public-key")

    def holder_key(self, task_id: str) -> bytes:
        """This gateway's share of the task's joint secret. Secret."""
        return self._required(task_id, "holder-key")

    def keep_holder_key(self, task_id: str, *, public_key: bytes, holder_key: bytes) -> None:
        with transaction(self._db):
            self._put(task_id, "public-key", 0, public_key)
            self._put(task_id, "holder-key", 0, holder_key)

    def forget_ceremony(self, task_id: str) -> None:
        """Destroy what only the key ceremony needed: the secret's shares for the others and the sealing key."""
        self._db.execute("DELETE FROM item WHERE task_id = ? AND kind IN ('ceremony', 'key-evidence')", (task_id,))

    def contribution(self, task_id: str, round_number: int) -> Contribution | None:
        data = self._get(task_id, "contribution", round_number)
        if data is None:
            return None
        nonce, digest, ciphertext = unpack(data, count=3)
        return Contribution(nonce.decode(), digest.decode(), ciphertext)

    def keep_contribution(self, task_id: str, round_number: int, contribution: Contribution) -> None:
        fields = [contribution.nonce.encode(), contribution.ciphertext_digest.encode(), contribution.ciphertext]
        self._put(task_id, "contribution", round_number, pack(fields))

    def decryption_share(self, task_id: str, round_number: int, attempt: int) -> bytes | None:
        """The partial decryptions this gateway made for a quorum: made once, since each holds fresh noise."""
        return self._get(task_id, f"decryption-share.{attempt}", round_number)

    def keep_decryption_share(self, task_id: str, round_number: int, attempt: int, share: bytes) -> None:
        self._put(task_id, f"decryption-share.{attempt}", round_number, share)

    def scores(self, task_id: str, round_number: int) -> bytes | None:
        """The scores this gateway committed to as a validator, canonical JSON {"nonce", "scores"}."""
        return self._get(task_id, "scores", round_number)

    def keep_scores(self, task_id: str, round_number: int, scores: bytes) -> None:
        self._put(task_id, "scores", round_number, scores)

    def model(self, task_id: str, round_number: int) -> np.ndarray | None:
        """What round `round_number` proposed (float64, 1-D): a model's parameters, or in round 0 the vector of a normalisation."""
        data = self._get(task_id, "model", round_number)
        return None if data is None else np.frombuffer(data, dtype="<f8").copy()

    def keep_model(self, task_id: str, round_number: int, parameters: np.ndarray) -> None:
        self._put(task_id, "model", round_number, parameters.astype("<f8").tobytes())

    def told_quality(self, task_id: str) -> int | None:
        """The noisy quality of the data (ppm) that the approval tells; None where it is not drawn."""
        kept = self._get(task_id, "told-quality")
        return None if kept is None else int(kept)

    def keep_told_quality(self, task_id: str, quality_ppm: int) -> None:
        self._put(task_id, "told-quality", 0, str(quality_ppm).encode())

    def evaluation(self, task_id: str) -> bytes | None:
        """What is released about the task's model; empty where nothing is, None where that is not decided yet."""
        return self._get(task_id, "evaluation")

    def keep_evaluation(self, task_id: str, evaluation: bytes) -> None:
        self._put(task_id, "evaluation", 0, evaluation)

    def dispute_part(self, task_id: str, round_number: int, accused: str, what: str) -> bytes | None:
        """What this gateway keeps of its part in a dispute: `what` says which, and whose."""
        return self._get(task_id, f"dispute.{accused}.{what}", round_number)

    def keep_dispute_part(self, task_id: str, round_number: int, accused: str, what: str, part: bytes) -> None:
        self._put(task_id, f"dispute.{accused}.{what}", round_number, part)

    def disputed_rounds(self, task_id: str) -> set[int]:
        """Rounds of which this gateway keeps its part in an open dispute."""
        rows = self._db.execute("SELECT DISTINCT number FROM item WHERE task_id = ? AND kind LIKE 'dispute.%'", (task_id,))
        return {int(row[0]) for row in rows}

    def forget_disputes(self, task_id: str) -> None:
        """Destroy all parts in a task's disputes, once all are closed: keys to sealed shares, and findings."""
        self._db.execute("DELETE FROM item WHERE task_id = ? AND kind LIKE 'dispute.%'", (task_id,))

    def forget_rounds(self, task_id: str, *, before: int) -> None:
        """Drop updates, scores and decryption shares of settled rounds; the ledger's digests remain."""
        self._db.execute(
            "DELETE FROM item WHERE task_id = ? AND number < ? AND (kind IN ('contribution', 'scores') OR kind LIKE 'decryption-share.%')",
            (task_id, before),
        )

    def forget_models(self, task_id: str, *, before: int) -> None:
        """Drop the models of rounds before the last accepted one. That one is kept however long ago it was, and so is round 0's
        normalisation."""
        self._db.execute("DELETE FROM item WHERE task_id = ? AND number < ? AND number > 0 AND kind = 'model'", (task_id, before))

    def add_missing(self, rows: Iterable[tuple[str, str, int, bytes]]) -> None:
        """Items of a backup (task, kind, number, value), all or none; raise InputError where the store has another value for one."""
        with transaction(self._db):
            for task_id, kind, number, value in rows:
                held = self._get(task_id, kind, number)
                if held is not None and held != value:
                    raise InputError(f"this gateway has another {kind} of task {task_id} than the backup; nothing was restored")
                self._put(task_id, kind, number, value)

    def _get(self, task_id: str, kind: str, number: int = 0) -> bytes | None:
        row = self._db.execute("SELECT value FROM item WHERE task_id = ? AND kind = ? AND number = ?", (task_id, kind, number)).fetchone()
        return None if row is None else bytes(row[0])

    def _required(self, task_id: str, kind: str) -> bytes:
        value = self._get(task_id, kind)
        if value is None:
            raise VerificationFailed(f"the {kind} of task {task_id} is not in this gateway's state; restore its state folder")
        return value

    def _put(self, task_id: str, kind: str, number: int, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?)", (task_id, kind, number, value))
