"""A hospital's folder of FHIR files becomes the matrix a task trains on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.fhir import features
from gateway.fhir.database import Database
from gateway.fhir.errors import DataError, ViewError
from gateway.fhir.expressions import group
from gateway.fhir.load import Loaded, load
from gateway.fhir.quality import FeatureQuality, QualityReport
from gateway.fhir.views import Views, compile_views
from gateway.task_file import PATIENT_COLUMN, TaskFile


@dataclass(frozen=True)
class Extracted:
    """One row a patient, in the order of the patients' keys."""

    features: npt.NDArray[np.float32]
    """(patients, columns), each value in [-1, 1]."""
    labels: npt.NDArray[np.float32]
    """(patients,), 0 or 1."""
    patient_keys: tuple[str, ...]
    """Identifiers of patients: never leave the hospital, never stand in a log."""
    feature_names: tuple[str, ...]
    """One for each column of `features`, the same in every hospital."""
    report: QualityReport


def feature_names(task: TaskFile) -> tuple[str, ...]:
    """Names of the matrix's columns: what the model takes in, known without any data."""
    return tuple(name for feature in task.features for name in features.names(feature))


def check(task: TaskFile) -> Views:
    """Compile the task's views and check that features and label fit them, without data; raise ViewError with one sentence.

    A hospital reads the SQL of the views that are returned before it approves.
    """
    views = compile_views(task.views)
    for view in views.views:
        for column in view.columns:
            if column.name == PATIENT_COLUMN and (column.collection or group(column.type) != "text"):
                raise ViewError(f"view {view.name}: the column {PATIENT_COLUMN} must be one key, such as getResourceKey()")
    for feature in task.features:
        features.check_feature(feature, views)
    features.check_label(task.label, views)
    return views


def extract(task: TaskFile, folder: Path, *, quarantine: Path | None) -> Extracted:
    """Read `folder` and return the task's matrix; lines that cannot be used are listed in the file `quarantine`.

    CPU-heavy. Raises DataError or ViewError with one sentence.
    """
    views = check(task)
    database = Database(views)
    try:
        loaded = load(folder, frozenset(views.structures), database, quarantine=quarantine)
        return _matrix(task, views, database, folder, loaded)
    finally:
        database.close()


def _matrix(task: TaskFile, views: Views, database: Database, folder: Path, loaded: Loaded) -> Extracted:
    cohort = features.cohort(task.cohort.view, database)
    found, absent_is_negative = features.labels(task.label, views, database)
    patients = [key for key in cohort if absent_is_negative or key in found]
    labels = np.array([found.get(key, 0.0) for key in patients], dtype=np.float32)
    _check_label(task, labels, folder)
    encoded = [features.encode(feature, views, database, patients) for feature in task.features]
    matrix = np.concatenate([feature.columns for feature in encoded], axis=1)
    positive = int(labels.sum())
    report = QualityReport(
        files=loaded.files,
        lines=loaded.lines,
        content=loaded.content,
        cohort=len(cohort),
        unlabelled=len(cohort) - len(patients),
        positive=positive,
        negative=len(patients) - positive,
        duplicate_rows=len(patients) - len(np.unique(np.column_stack([matrix, labels]), axis=0)),
        features=_qualities(encoded),
    )
    return Extracted(matrix, labels, tuple(patients), feature_names(task), report)


def _qualities(encoded: list[features.EncodedFeature]) -> tuple[FeatureQuality, ...]:
    return tuple(feature.quality for feature in encoded)


def _check_label(task: TaskFile, labels: npt.NDArray[np.float32], folder: Path) -> None:
    if len(labels) < task.cohort.minimum_patients:
        raise DataError(
            f"{folder} has {len(labels)} patients for this task, which needs {task.cohort.minimum_patients}; add data, or do not take part"
        )
    if len(np.unique(labels)) < 2:
        only = f"only the class {labels[0]:.0f}" if len(labels) else "no patient"
        raise DataError(
            f"the label {task.label.name} has {only} among the {len(labels)} patients of {folder}; nothing can be learnt from it"
        )
