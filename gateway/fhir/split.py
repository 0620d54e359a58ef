"""Which patients train, which score models and which are held out: by a salted hash of each patient's key alone.

A patient's part depends on nothing but the key and the salt, so that neither new patients nor other hospitals' data move anybody.
The salt belongs to the data set and is kept for its life: the ledger gives training, validation and held-out patients
privacy budgets of their own (parallel composition), which holds only while no patient ever changes from one to another.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TEST_SHARE = 0.30
VALIDATION_SHARE = 0.20
"""Validation is a share of what the test patients leave."""

_SCALE = 1 << 64


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, ascending; every row is in exactly one."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def split(patient_keys: Sequence[str], *, salt: bytes) -> Split:
    """Divide patients; `salt` is secret to the hospital, so that nobody else can tell who was held out."""
    draws = np.array([_uniform(salt, key) for key in patient_keys], dtype=np.float64)
    test = draws < TEST_SHARE
    validation = ~test & (draws < TEST_SHARE + VALIDATION_SHARE * (1 - TEST_SHARE))
    return Split(*(np.flatnonzero(part).astype(np.int64) for part in (~test & ~validation, validation, test)))


def expected_validation(training: int) -> float:
    """Validation patients to expect of a hospital that tells how many train: at least 1. Their true number is nobody's business."""
    return max(1.0, training * VALIDATION_SHARE / (1 - VALIDATION_SHARE))


def expected_test(training: int) -> float:
    """Held-out patients to expect of a hospital that tells how many train: at least 1."""
    return max(1.0, training * TEST_SHARE / ((1 - TEST_SHARE) * (1 - VALIDATION_SHARE)))


def _uniform(salt: bytes, key: str) -> float:
    return int.from_bytes(hmac.digest(salt, key.encode(), "sha256")[:8], "big") / _SCALE
