"""Small hospitals of real patients for the benches of trust and attacks, each patient in one hospital and in one part."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.bench.model_data import TASKS, TrialData, heart_complete, read_trial
from gateway.fhir.samples import write_breast_cancer
from gateway.fhir.split import split
from gateway.hospital.cohort import Patients
from gateway.task_file import TaskFile, load

HOSPITALS = 12
_WHOLE_HOSPITALS = 4  # of which equal parts are made


@dataclass(frozen=True)
class Parts:
    """A hospital's patients as its gateway would divide them."""

    train: Patients
    validation: Patients
    test: Patients


@dataclass(frozen=True)
class SimulatedData:
    """Hospitals by MSP id, and the task they are for."""

    name: str
    task: TaskFile
    hospitals: Mapping[str, Patients]
    keys: Mapping[str, tuple[str, ...]]

    def divide(self, seed: int) -> dict[str, Parts]:
        """By the product's split; `seed` stands for the hospitals' secret salts."""
        found = {}
        for mspid, patients in self.hospitals.items():
            rows = split(self.keys[mspid], salt=seed.to_bytes(32, "big"))
            found[mspid] = Parts(*(_rows(patients, part) for part in (rows.train, rows.validation, rows.test)))
        return found


def breast_cancer(hospitals: int = HOSPITALS) -> SimulatedData:
    """The Wisconsin patients that scikit-learn ships, over four hospitals of unlike size and case mix, each divided as in `heart`."""
    with tempfile.TemporaryDirectory(prefix="consortium-bench-") as folder:
        write_breast_cancer(Path(folder), hospitals=_WHOLE_HOSPITALS)
        trial = read_trial("breast cancer", load(TASKS / "breast-cancer.toml"), Path(folder), {})
    return SimulatedData(trial.name, trial.task, *_divided(trial, hospitals // _WHOLE_HOSPITALS))


def heart(folder: Path, hospitals: int = HOSPITALS) -> SimulatedData:
    """UCI Heart Disease, complete cases: each of its four hospitals divided into as many of equal size as make up `hospitals`."""
    trial = heart_complete(folder)
    return SimulatedData("heart", trial.task, *_divided(trial, hospitals // len(trial.hospitals)))


def enlarged(parts: Parts, times: int, seed: int) -> Parts:
    """A hospital so many times as large: patients drawn with replacement, within training and validation patients apart."""
    if times == 1:
        return parts
    draws = np.random.default_rng(seed)

    def drawn(patients: Patients) -> Patients:
        return _rows(patients, draws.integers(len(patients), size=times * len(patients)))

    return Parts(drawn(parts.train), drawn(parts.validation), parts.test)


def _divided(trial: TrialData, pieces: int) -> tuple[dict[str, Patients], dict[str, tuple[str, ...]]]:
    hospitals, keys = {}, {}
    for mspid, patients in trial.hospitals.items():
        for piece in range(pieces):
            rows = np.arange(piece, len(patients), pieces)
            hospitals[f"{mspid}-{piece + 1}"] = _rows(patients, rows)
            keys[f"{mspid}-{piece + 1}"] = tuple(trial.keys[mspid][row] for row in rows)
    return hospitals, keys


def _rows(patients: Patients, rows: NDArray[np.int64]) -> Patients:
    return Patients(patients.features[rows], patients.observed[rows], patients.labels[rows])
