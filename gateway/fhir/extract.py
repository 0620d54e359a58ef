"""A hospital's folder of FHIR files becomes the matrix a task trains on."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.fhir import features, sequences, signals
from gateway.fhir.concept_maps import ConceptMaps
from gateway.fhir.consents import check_patient_key
from gateway.fhir.database import Database
from gateway.fhir.errors import DataError, ViewError
from gateway.fhir.expressions import group, identifier
from gateway.fhir.inputs import input_names
from gateway.fhir.leakage import check_leakage
from gateway.fhir.load import load
from gateway.fhir.moments import MACROS
from gateway.fhir.plausible import plausible_values
from gateway.fhir.quality import FeatureQuality, QualityReport, RowCounts
from gateway.fhir.sink import Loaded
from gateway.fhir.sql_text import COHORT, KEPT, LABEL_ROWS, PATIENTS, UNITS, condition
from gateway.fhir.store import StorePlace
from gateway.fhir.task_sql import TaskSql, task_sql
from gateway.fhir.units import conversion
from gateway.fhir.views import compile_views
from gateway.task_file import PATIENT_COLUMN, TaskFile

LeftOut = Callable[[str], str | None]
"""Patient's id → the reason for which a patient without consent is left out, or None."""


@dataclass(frozen=True)
class Extracted:
    """One row a patient, in the order of the patients' keys."""

    features: npt.NDArray[np.float32]
    """(patients, columns), each value in [-1, 1]."""
    observed: npt.NDArray[np.bool_]
    """(patients, columns), False where the value is missing and 0 stands for it."""
    labels: npt.NDArray[np.float32]
    """(patients,), 0 or 1."""
    patient_keys: tuple[str, ...]
    """Identifiers of patients: never leave the hospital, never stand in a log."""
    feature_names: tuple[str, ...]
    """One for each column of `features`, the same in every hospital."""
    views_digest: str
    """Digest of the SQL that made it (TaskSql.digest)."""
    report: QualityReport


def check(task: TaskFile) -> TaskSql:
    """Compile the task and check that features and label fit their views, without data; raise ViewError with one sentence.

    A hospital reads the SQL that is returned before it approves.
    """
    views = compile_views(task.views)
    for view in views.views:
        for column in view.columns:
            if column.name == PATIENT_COLUMN and (column.collection or group(column.type) != "text"):
                raise ViewError(f"view {view.name}: the column {PATIENT_COLUMN} must be one key, such as getResourceKey()")
    for feature in task.features:
        features.check_feature(feature, views)
    if task.sequence is not None:
        sequences.check_sequence(task.sequence, views)
    if task.signal is not None:
        signals.check_signal(task.signal, views)
    features.check_index(task.index, views)
    features.check_label(task.label, views)
    check_leakage(task)
    return task_sql(task, views)


def extract(
    task: TaskFile,
    folder: Path,
    *,
    quarantine: Path | None,
    maps: ConceptMaps | None = None,
    left_out: LeftOut | None = None,
    store: StorePlace | None = None,
) -> Extracted:
    """Read `folder` and return the task's matrix; lines that cannot be used are listed in the file `quarantine`.

    `maps` translate the hospital's own codes before the views read them. Patients for whom `left_out` gives a reason are in nothing of
    it but in a count; with None, nobody is asked for consent. What the `store` knows is not validated again.
    CPU-heavy. Raises DataError or ViewError with one sentence.
    """
    sql = check(task)
    if left_out is not None:
        check_patient_key(task)
    database = Database(sql.views)
    try:
        loaded = load(folder, frozenset(sql.views.structures), database, quarantine=quarantine, maps=maps, store=store)
        return _extracted(task, sql, database, folder, loaded, maps, left_out)
    finally:
        database.close()


@dataclass(frozen=True)
class Matrix:
    """What a task makes of the views' rows, one row a patient in the order of the keys."""

    features: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.float32]
    patient_keys: tuple[str, ...]
    qualities: tuple[FeatureQuality, ...]
    left_out: Mapping[str, int]
    """Reason → patients of the cohort's view."""


def matrix(task: TaskFile, sql: TaskSql, database: Database, *, left_out: LeftOut | None = None) -> Matrix:
    """Run the task's statements over the rows of its views, without the patients for whom `left_out` gives a reason."""
    for macro in MACROS:
        database.rows(macro, [])
    database.make(COHORT, sql.cohort)
    without = {} if left_out is None else _leave_out(database, left_out)
    database.make(LABEL_ROWS, sql.label_rows)
    database.make(PATIENTS, sql.patients)
    foreign = _convert_units(task, database)
    patients = database.rows(f"SELECT patient, label FROM task.{PATIENTS} ORDER BY position", [])  # noqa: S608  # a constant
    for table, statement in sql.blocks.items():
        database.make(table, statement)
    encoded = [
        *([] if task.sequence is None else [sequences.encode_sequence(task.sequence, database, patients=len(patients))]),
        *([] if task.signal is None else [signals.encode_signal(task.signal, database, patients=len(patients))]),
        *(features.encode(feature, sql.features[feature.name], database, patients=len(patients)) for feature in task.features),
    ]
    return Matrix(
        features=np.concatenate([feature.columns for feature in encoded], axis=1),
        observed=np.concatenate([feature.observed for feature in encoded], axis=1),
        labels=np.array([label for _, label in patients], dtype=np.float32),
        patient_keys=tuple(key for key, _ in patients),
        qualities=tuple(replace(feature.quality, foreign_units=foreign.get(feature.quality.name, ())) for feature in encoded),
        left_out=without,
    )


def _leave_out(database: Database, left_out: LeftOut) -> dict[str, int]:
    """Take patients out of the cohort, so that no later statement sees them; return how many by reason."""
    reasons = {patient: left_out(patient) for (patient,) in database.rows(f"SELECT patient FROM task.{COHORT}", [])}  # noqa: S608  # a constant
    without = {patient: reason for patient, reason in reasons.items() if reason is not None}
    chosen = "patient IN (SELECT unnest(CAST(? AS VARCHAR[])))"
    database.rows(f"DELETE FROM task.{COHORT} WHERE {chosen}", [list(without)])  # noqa: S608  # constants
    return dict(sorted(Counter(without.values()).items()))


def _convert_units(task: TaskFile, database: Database) -> dict[str, tuple[str, ...]]:
    """Fill the table of units with those that occur and convert; return the others by feature."""
    table: list[tuple[str, str, float, float, float, float]] = []
    foreign: dict[str, tuple[str, ...]] = {}
    for feature in task.features:
        if feature.unit is None or feature.unit_column is None:
            continue
        plausible = plausible_values().get(feature.loinc or "")
        unit = identifier(feature.unit_column)
        # S608: names are quoted, literals are escaped.
        found = f"SELECT DISTINCT coalesce({unit}, '') FROM rows.{identifier(feature.view)} WHERE {condition(feature.where)} ORDER BY 1"  # noqa: S608
        units = [code for (code,) in database.rows(found, [])]
        for code in units:
            into = conversion(code, feature.unit, feature.loinc)
            if into is not None:
                low, high = plausible.ranges.get(code, _ANY) if plausible else _ANY
                table.append((feature.name, code, into.factor, into.shift, low, high))
        converted = {row[1] for row in table if row[0] == feature.name}
        foreign[feature.name] = tuple(code for code in units if code not in converted)
    database.make(UNITS, _UNITS, [list(column) for column in zip(*table, strict=True)] or [[]] * 6)
    return foreign


_ANY = (-math.inf, math.inf)
_UNITS = "SELECT " + ", ".join(
    f"unnest(CAST(? AS {kind}[])) AS {name}"
    for name, kind in zip(("feature", "unit", "factor", "shift", "low", "high"), ["VARCHAR"] * 2 + ["DOUBLE"] * 4, strict=True)
)


def _extracted(
    task: TaskFile,
    sql: TaskSql,
    database: Database,
    folder: Path,
    loaded: Loaded,
    maps: ConceptMaps | None,
    left_out: LeftOut | None,
) -> Extracted:
    found = matrix(task, sql, database, left_out=left_out)
    _check_label(task, found.labels, folder)
    without = "count(*) FILTER (WHERE begun IS NULL)" if task.index else "0"
    ((cohort, without_index),) = database.rows(f"SELECT count(*), {without} FROM task.{COHORT}", [])  # noqa: S608  # constants
    label_rows = dict(database.rows(f"SELECT reason, count(*) FROM task.{LABEL_ROWS} GROUP BY reason ORDER BY reason", []))  # noqa: S608
    kept = label_rows.pop(KEPT, 0)
    positive = int(found.labels.sum())
    report = QualityReport(
        files=loaded.files,
        lines=loaded.lines,
        content=loaded.content if maps is None else _with_maps(loaded.content, maps),
        cohort=cohort,
        without_index=without_index,
        unlabelled=cohort - without_index - len(found.labels),
        positive=positive,
        negative=len(found.labels) - positive,
        label_rows=RowCounts(kept + sum(label_rows.values()), kept, label_rows),
        duplicate_rows=len(found.labels) - len(np.unique(np.column_stack([found.features, found.labels]), axis=0)),
        features=found.qualities,
        codes=loaded.codes,
        left_out=found.left_out,
    )
    return Extracted(found.features, found.observed, found.labels, found.patient_keys, input_names(task), sql.digest, report)


def _with_maps(content: str, maps: ConceptMaps) -> str:
    """One digest of the resources and of what translated them."""
    return hashlib.sha256(f"{content} {maps.digest}".encode()).hexdigest()


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
