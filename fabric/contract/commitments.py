"""What a hospital commits to before it reveals. Gateways compute these; the contract computes them again.

The MSP id is inside, so a commitment copied from another hospital can never be opened by the one who copied it; the task
and round are inside, so it can never be opened a second time elsewhere.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from fabric import canonical


def commitment(task_id: str, round_number: int, mspid: str, nonce: str, ciphertext_digest: str) -> str:
    """Hex SHA-256 that `commit` takes. `nonce`: 32 fresh random bytes in hex, which hide the digest until the reveal."""
    return _digest(
        {"ciphertext_digest": ciphertext_digest, "mspid": mspid, "nonce": nonce, "round": round_number, "task_id": task_id},
    )


def score_commitment(task_id: str, round_number: int, mspid: str, nonce: str, scores: Mapping[str, Any]) -> str:
    """Hex SHA-256 that `commit_scores` takes; `scores` exactly as `reveal_scores` will send them."""
    return _digest({"mspid": mspid, "nonce": nonce, "round": round_number, "scores": scores, "task_id": task_id})


def finding_commitment(task_id: str, round_number: int, accused: str, finding: Mapping[str, Any]) -> str:
    """Hex SHA-256 that `commit_finding` takes; `finding`: {mspid, finding, nonce, opened_digest}, as `reveal_finding` will send it."""
    return _digest({**finding, "accused": accused, "round": round_number, "task_id": task_id, "what": "finding"})


def withdrawal_commitment(task_id: str, mspid: str, salt: str, patient: str) -> str:
    """Hex SHA-256 of one patient's withdrawal. `salt`: 32 random bytes in hex, of this patient alone; who has not got it learns nothing."""
    return _digest({"mspid": mspid, "patient": patient, "salt": salt, "task_id": task_id, "what": "withdrawal"})


def withdrawal_batch(commitments: Iterable[str]) -> str:
    """Hex SHA-256 that `record_withdrawals` takes, of a batch of commitments in any order."""
    return _digest({"commitments": sorted(commitments), "what": "withdrawals"})


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical.dumps(content)).hexdigest()
