"""A patient's own key to a withdrawal: salt and id behind one commitment of a batch. The hospital gives it to the patient alone."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fabric.contract.commitments import withdrawal_batch, withdrawal_commitment
from gateway.errors import InputError, VerificationFailed
from gateway.hospital.withdrawal_batch import WithdrawalBatch, patient_hash

FORMAT = "consortium-withdrawal-opening-1"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Opening:
    """Who withdrew from which task of which hospital, and the batch that the ledger holds the digest of. Private: it names the patient."""

    task_id: str
    mspid: str
    patient: str
    salt: str
    commitments: tuple[str, ...]

    @property
    def commitment(self) -> str:
        return withdrawal_commitment(self.task_id, self.mspid, self.salt, self.patient)

    @property
    def digest(self) -> str:
        return withdrawal_batch(self.commitments)

    def to_bytes(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode()


def read_opening(path: Path) -> Opening:
    """Read an opening's file; raise InputError if it is none, VerificationFailed if its patient is not in its batch."""
    try:
        data = path.read_bytes()[: MAX_BYTES + 1]
        fields: Mapping[str, Any] = json.loads(data) if len(data) <= MAX_BYTES else {}
        if fields["format"] != FORMAT:
            raise ValueError("another format")
        texts = {name: _text(fields[name]) for name in ("task_id", "mspid", "patient", "salt")}
        opening = Opening(**texts, commitments=tuple(_text(each) for each in fields["commitments"]))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; name a file that `consortium data opening` wrote") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not what `consortium data opening` writes; ask the hospital for the patient's opening") from error
    if opening.commitment not in opening.commitments:
        raise VerificationFailed(f"{path} does not open its batch: patient and salt belong to another commitment")
    return opening


def find_opening(state: Path, *, task_id: str, mspid: str, patient: str) -> Opening:
    """The opening of a patient's withdrawal from a task, read beside a running gateway. Run by the hospital.

    Raises InputError where the patient has not withdrawn from this task, or is erased.
    """
    try:
        database = sqlite3.connect(f"{(state / 'gateway.sqlite').resolve().as_uri()}?mode=ro", uri=True)
        try:
            kinds = "SELECT value FROM item WHERE task_id = ? AND kind = ? ORDER BY number"
            salts = database.execute(kinds, (task_id, "cohort-salt")).fetchall()
            batches = [WithdrawalBatch.parse(bytes(value)) for (value,) in database.execute(kinds, (task_id, "withdrawal"))]
        finally:
            database.close()
    except sqlite3.Error as error:
        raise InputError(f"there is no gateway's state in {state} ({error}); name the configuration of the task's gateway") from error
    for (cohort_salt,) in salts:
        hashed = patient_hash(bytes(cohort_salt), patient)
        for batch in batches:
            if hashed in batch.openings:
                return Opening(task_id, mspid, patient, batch.openings[hashed], batch.commitments)
    raise InputError(f"no withdrawal of this patient from task {task_id} is kept here: there was none, or the patient is erased")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
