"""What the ledger gets to know of patients who withdraw: one digest of salted commitments, padded so that not even their number shows.

A batch is as long as the next multiple of PADDED; what is no patient's is random and looks the same. With the salt of one patient, the
hospital, and then the patient, can show that the commitment is in the batch. Without it nobody can tell whether anybody's is.
"""

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fabric.contract.commitments import withdrawal_batch, withdrawal_commitment

SALT_BYTES = 32
PADDED = 16


@dataclass(frozen=True)
class WithdrawalBatch:
    """Commitments, sorted, and the salts (hex) that are still kept, by `patient_hash`. Secret but for the digest."""

    commitments: tuple[str, ...]
    openings: Mapping[str, str]

    @property
    def digest(self) -> str:
        return withdrawal_batch(self.commitments)

    def without(self, hashed: str) -> "WithdrawalBatch":
        """The batch when a patient's salt is destroyed: the commitment stays, and can never be opened again."""
        return replace(self, openings={each: salt for each, salt in self.openings.items() if each != hashed})

    def to_bytes(self) -> bytes:
        return json.dumps({"commitments": self.commitments, "openings": dict(self.openings)}).encode()

    @classmethod
    def parse(cls, data: bytes) -> "WithdrawalBatch":
        """Of what `to_bytes` wrote."""
        fields = json.loads(data)
        return cls(tuple(fields["commitments"]), fields["openings"])


def patient_hash(salt: bytes, patient: str) -> str:
    """How the state knows a patient of a task; `salt`: the task's cohort salt."""
    return hmac.new(salt, b"patient " + patient.encode(), "sha256").hexdigest()


def new_batch(
    task_id: str, mspid: str, patients: Mapping[str, str], *, random_hex: Callable[[int], str] = secrets.token_hex
) -> WithdrawalBatch:
    """Commit to patients' withdrawals from a task, each with a salt of its own. `patients`: their ids by `patient_hash`."""
    openings = {hashed: random_hex(SALT_BYTES) for hashed in patients}
    commitments = [withdrawal_commitment(task_id, mspid, openings[hashed], patient) for hashed, patient in patients.items()]
    padding = [random_hex(SALT_BYTES) for _ in range(-len(commitments) % PADDED)]
    return WithdrawalBatch(tuple(sorted([*commitments, *padding])), openings)
