"""A hospital's patients for one task, extracted once and split before anything else is done with them."""

import os
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gateway.fhir.concept_maps import load_concept_maps
from gateway.fhir.extract import Extracted, LeftOut, extract
from gateway.fhir.quality import QualityReport
from gateway.fhir.split import split
from gateway.fhir.store import StorePlace
from gateway.task_file import TaskFile
from privacy.normalisation import InputNormalisation

SALT_BYTES = 32


@dataclass(frozen=True)
class Patients:
    """Features (patients, columns) and labels (patients,) of one part of the cohort; `observed` is False where a value is missing."""

    features: NDArray[np.floating]
    observed: NDArray[np.bool_]
    labels: NDArray[np.float32]
    keys: tuple[str, ...] = ()
    """Identifiers of a hospital's patients, who may withdraw: never leave the hospital, never stand in a log."""
    withdrawn: int = 0
    """Patients who were here when the task was approved and have withdrawn since."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def approved(self) -> int:
        """How many the approval is of: the public number on which noise, sampling and debits rest, whoever has withdrawn since."""
        return len(self) + self.withdrawn

    def without(self, keys: Set[str]) -> Self:
        """Without these patients: no copy of their rows is kept."""
        rows = [row for row, key in zip(range(len(self)), self.keys, strict=True) if key not in keys]
        return replace(
            self,
            features=self.features[rows],
            observed=self.observed[rows],
            labels=self.labels[rows],
            keys=tuple(self.keys[row] for row in rows),
            withdrawn=self.withdrawn + len(self) - len(rows),
        )

    def normalised(self, normalisation: InputNormalisation | None) -> Self:
        """As the model takes them in; as they are where it has no normalisation."""
        if normalisation is None:
            return self
        return replace(self, features=normalisation.apply(self.features, self.observed))


@dataclass(frozen=True)
class Cohort:
    """The three disjoint parts: each patient's privacy budget is spent by one of them only."""

    report: QualityReport
    views_digest: str
    """Of the SQL that made it."""
    train: Patients
    validation: Patients
    test: Patients

    @property
    def parts(self) -> tuple[Patients, Patients, Patients]:
        return self.train, self.validation, self.test

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def without(self, keys: Set[str]) -> Self:
        """The cohort after these patients have withdrawn; the report stays that of the approval."""
        train, validation, test = (part.without(keys) for part in self.parts)
        return replace(self, train=train, validation=validation, test=test)

    def normalised(self, normalisation: InputNormalisation | None) -> Self:
        """The cohort as the model takes it in."""
        train, validation, test = (part.normalised(normalisation) for part in self.parts)
        return replace(self, train=train, validation=validation, test=test)


def read_cohort(
    task: TaskFile,
    folder: Path,
    *,
    quarantine: Path | None,
    salt: bytes,
    mspid: str,
    concept_maps: Path | None = None,
    left_out: LeftOut | None = None,
    store: StorePlace | None = None,
) -> Cohort:
    """Extract, without the patients for whom `left_out` gives a reason, and split. Run by the hospital `mspid`; CPU-heavy.

    What the `store` knows is not validated again. Raises DataError or ViewError with one sentence.
    """
    maps = None if concept_maps is None else load_concept_maps(concept_maps)
    extracted = extract(task, folder, quarantine=quarantine, maps=maps, left_out=left_out, store=store)
    features, observed = with_intercepts(task, extracted, mspid)
    parts = split(extracted.patient_keys, salt=salt)

    def patients(rows: NDArray[np.int64]) -> Patients:
        keys = tuple(extracted.patient_keys[row] for row in rows)
        return Patients(features[rows], observed[rows], extracted.labels[rows], keys)

    return Cohort(extracted.report, extracted.views_digest, patients(parts.train), patients(parts.validation), patients(parts.test))


def with_intercepts(task: TaskFile, extracted: Extracted, mspid: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The model's inputs and whether they were observed, both (patients, inputs): the features, and the hospitals' own intercepts."""
    own = np.array([name == mspid for name in task.model.intercepts], dtype=np.float32)
    columns = np.tile(own, (len(extracted.labels), 1))
    return np.column_stack([extracted.features, columns]), np.column_stack([extracted.observed, np.ones(columns.shape, dtype=bool)])


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
