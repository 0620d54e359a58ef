"""A hospital's patients for one task, extracted once and split before anything else is done with them."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.fhir.extract import Extracted, extract
from gateway.fhir.split import split
from gateway.task_file import TaskFile

SALT_BYTES = 32


@dataclass(frozen=True)
class Patients:
    """Features (patients, columns) and labels (patients,) of one part of the cohort."""

    features: NDArray[np.float32]
    labels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Cohort:
    """The three disjoint parts: each patient's privacy budget is spent by one of them only."""

    extracted: Extracted
    train: Patients
    validation: Patients
    test: Patients


def read_cohort(task: TaskFile, folder: Path, *, quarantine: Path | None, salt: bytes) -> Cohort:
    """Extract and split. Run by the hospital; CPU-heavy. Raises DataError or ViewError with one sentence."""
    extracted = extract(task, folder, quarantine=quarantine)
    parts = split(extracted.patient_keys, salt=salt)

    def patients(rows: NDArray[np.int64]) -> Patients:
        return Patients(extracted.features[rows], extracted.labels[rows])

    return Cohort(extracted, patients(parts.train), patients(parts.validation), patients(parts.test))


def split_salt(state: Path) -> bytes:
    """The secret that decides which patients are held out: made once for a gateway's state folder, never changed after."""
    path = state / "split-salt"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_suffix(".part")
    part.write_bytes(os.urandom(SALT_BYTES))
    part.chmod(0o600)
    # A crash before this line leaves no salt, and nobody was split yet.
    part.replace(path)
    return path.read_bytes()
