"""The data that `consortium bench models` measures on, how their patients are divided, and the settings they are trained with."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from gateway.errors import InputError
from gateway.fhir.extract import extract
from gateway.fhir.samples import write_breast_cancer
from gateway.fhir.split import split
from gateway.hospital.cohort import Patients, with_intercepts
from gateway.task_file import NormalisationSection, TaskFile, load

Hospitals = Mapping[str, Patients]
TASKS = Path(__file__).resolve().parents[2] / "deploy" / "samples" / "tasks"

FLAMBY_TRAIN_SHARE = 0.66
FLAMBY_DELTA = 1e-3
_MISSING_MOSTLY = ("vessels_coloured", "st_slope", "thallium_scan")
"""Attributes that FLamby leaves out."""


@dataclass(frozen=True)
class Setting:
    """Rounds and learning rate, chosen on training patients: see docs/benchmarks/models.md."""

    rounds: int
    learning_rate: float


@dataclass(frozen=True)
class Parts:
    """One division of the patients."""

    train: Hospitals
    test: Hospitals


@dataclass(frozen=True)
class TrialData:
    """All patients of a data set by hospital, the task they are for, and its settings by epsilon (None: without privacy)."""

    name: str
    task: TaskFile
    hospitals: Hospitals
    keys: Mapping[str, tuple[str, ...]]
    divided: Callable[[Patients, tuple[str, ...], int], tuple[NDArray[np.int64], NDArray[np.int64]]]
    settings: Mapping[float | None, Setting]

    @property
    def patients(self) -> int:
        return sum(len(each) for each in self.hospitals.values())

    def divide(self, seed: int) -> Parts:
        """Training and test patients of every hospital, the same for the same seed."""
        rows = {mspid: self.divided(each, self.keys[mspid], seed) for mspid, each in self.hospitals.items()}
        return Parts(
            {mspid: _rows(self.hospitals[mspid], train) for mspid, (train, _) in rows.items()},
            {mspid: _rows(self.hospitals[mspid], test) for mspid, (_, test) in rows.items()},
        )

    def task_for(self, epsilon: float | None, mode: str) -> TaskFile:
        """The task at this epsilon."""
        setting = self.settings[epsilon]
        changes: dict[str, Any] = {} if epsilon is None else {"epsilon": epsilon, "mode": mode}
        return self.task.model_copy(
            update={
                "task": self.task.task.model_copy(update={"rounds": setting.rounds}),
                "training": self.task.training.model_copy(update={"learning_rate": setting.learning_rate}),
                "privacy": self.task.privacy.model_copy(update=changes),
                "normalisation": NormalisationSection(),
            }
        )


def heart_complete(folder: Path) -> TrialData:
    """UCI Heart Disease as FLamby uses it: ten attributes, patients who have them all, a zero being a value like any other."""
    task = load(TASKS / "heart.toml")
    kept = tuple(each.model_copy(update={"missing": "middle"}) for each in task.features if each.name not in _MISSING_MOSTLY)
    views = tuple(view.model_copy(update={"where": ()}) if view.name == "measurement" else view for view in task.views)
    model = task.model.model_copy(update={"intercepts": ()})
    settings = {None: Setting(50, 2.0), 8.0: Setting(25, 2.0), 3.0: Setting(25, 1.0), 1.0: Setting(25, 0.5)}
    return read_trial(
        "heart, complete cases", _flamby(task.model_copy(update={"features": kept, "views": views, "model": model})), folder, settings
    )


def heart_all(folder: Path) -> TrialData:
    """UCI Heart Disease with every patient: missingness indicators and an intercept for each hospital."""
    settings = {None: Setting(50, 2.0), 8.0: Setting(25, 3.0), 3.0: Setting(25, 2.0), 1.0: Setting(25, 0.8)}
    return read_trial("heart, all patients", _flamby(load(TASKS / "heart.toml")), folder, settings)


def breast_cancer() -> TrialData:
    """The Wisconsin patients that scikit-learn ships, divided over six hospitals and by the product's own split."""
    settings = {None: Setting(50, 2.0), 8.0: Setting(25, 2.0), 3.0: Setting(25, 1.0), 1.0: Setting(25, 0.25)}
    with tempfile.TemporaryDirectory(prefix="consortium-bench-") as folder:
        write_breast_cancer(Path(folder))
        return read_trial("breast cancer", load(TASKS / "breast-cancer.toml"), Path(folder), settings, divided=product_split)


def flamby_split(patients: Patients, _: tuple[str, ...], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and test rows as FLamby divides a hospital's patients: 66 to 34 at random, stratified where each label has three."""
    stratify = patients.labels if np.bincount(patients.labels.astype(int), minlength=2).min() > 2 else None
    train, test = train_test_split(
        np.arange(len(patients)), train_size=FLAMBY_TRAIN_SHARE, test_size=1 - FLAMBY_TRAIN_SHARE, random_state=seed, stratify=stratify
    )
    return train, test


def product_split(_: Patients, keys: tuple[str, ...], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and test rows as a gateway divides its patients; the validation patients, who train nothing, are left out."""
    parts = split(keys, salt=seed.to_bytes(32, "big"))
    return parts.train, parts.test


def _flamby(task: TaskFile) -> TaskFile:
    return task.model_copy(update={"privacy": task.privacy.model_copy(update={"delta": FLAMBY_DELTA})})


def read_trial(
    name: str, task: TaskFile, folder: Path, settings: Mapping[float | None, Setting], *, divided: Any = flamby_split
) -> TrialData:
    """Extract every hospital below `folder`; with no missingness indicators, patients with a missing value are left out."""
    hospitals, keys = {}, {}
    complete_only = all(feature.missing == "middle" for feature in task.features)
    for data in sorted(patients.parent for patients in folder.glob("*/Patient.ndjson*")):
        extracted = extract(task, data, quarantine=None)
        features, observed = with_intercepts(task, extracted, data.name)
        rows = np.flatnonzero(observed.all(axis=1) | (not complete_only))
        hospitals[data.name] = Patients(features[rows], observed[rows], extracted.labels[rows])
        keys[data.name] = tuple(extracted.patient_keys[row] for row in rows)
    if not hospitals:
        raise InputError(f"{folder} holds no folder with Patient.ndjson; name the one that holds the hospitals' folders")
    return TrialData(name, task, hospitals, keys, divided, settings)


def _rows(patients: Patients, rows: NDArray[np.int64]) -> Patients:
    return Patients(patients.features[rows], patients.observed[rows], patients.labels[rows])
