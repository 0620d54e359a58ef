"""Rows of views become columns of the matrix: one value a patient, scaled by bounds that everybody knows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.fhir.database import Database
from gateway.fhir.errors import ViewError
from gateway.fhir.expressions import group, identifier
from gateway.fhir.quality import FeatureQuality
from gateway.fhir.views import CompiledView, ViewColumn, Views
from gateway.task_file import PATIENT_COLUMN, FeatureSection, LabelSection, Scalar

_AGGREGATES = {
    "mean": "avg(value ORDER BY value)",  # in one order, so that every run rounds alike
    "minimum": "min(value)",
    "maximum": "max(value)",
    "mode": "mode(value ORDER BY value)",
    "first": "first(value ORDER BY moment, value)",
    "last": "last(value ORDER BY moment, value)",
    "count": "count(value)",
}

_COMPLETIONS = ("''", "'-01'", "'-01-01'")
"""What makes a date, a month and a year a full date."""

_GROUPS: dict[type, str] = {str: "text", bool: "boolean", int: "number", float: "number"}


@dataclass(frozen=True)
class EncodedFeature:
    """The columns of one feature."""

    columns: npt.NDArray[np.float32]
    """(patients, names)"""
    names: tuple[str, ...]
    quality: FeatureQuality


def names(feature: FeatureSection) -> tuple[str, ...]:
    """Names of the columns that a feature becomes: the same in every hospital."""
    base = tuple(f"{feature.name}={category}" for category in feature.categories) or (feature.name,)
    return base + ((f"{feature.name}:missing",) if feature.missing == "indicator" else ())


def check_feature(feature: FeatureSection, views: Views) -> None:
    """Raise ViewError if the feature's columns cannot give what it asks for."""
    view = views.view(feature.view)
    column = _single(view, feature.column, f"feature {feature.name}")
    if not feature.categories and feature.aggregate != "count" and group(column.type) == "text":
        raise ViewError(
            f"feature {feature.name}: column {column.name} of the view {view.name} is {column.type}; give categories, not bounds"
        )
    if feature.order_by is not None:
        order = _single(view, feature.order_by, f"feature {feature.name}")
        if group(order.type) not in ("moment", "number"):
            raise ViewError(f"feature {feature.name}: order_by {order.name} is {order.type}; name a column of dates or numbers")
    _check_where(view, feature.where, f"feature {feature.name}")


def check_label(label: LabelSection, views: Views) -> None:
    """Raise ViewError if the label's columns cannot be compared with its values."""
    view = views.view(label.view)
    _check_where(view, label.where, "label")
    if label.column is not None:
        for value in label.positive:
            _check_where(view, {label.column: value}, "label")


def cohort(view: str, database: Database) -> list[str]:
    """Keys of the patients in the cohort's view, in order of their code points."""
    patient = identifier(PATIENT_COLUMN)
    # S608 here and below: names are quoted by identifier(), values are bound.
    rows = database.rows(f"SELECT DISTINCT {patient} FROM rows.{identifier(view)} WHERE {patient} IS NOT NULL", [])  # noqa: S608
    return sorted(row[0] for row in rows)


def labels(label: LabelSection, views: Views, database: Database) -> tuple[dict[str, float], bool]:
    """Patients and their labels, and whether a patient who is not among them has the label 0 (else: has none)."""
    condition, values = _where(label.where)
    patient, table = identifier(PATIENT_COLUMN), f"rows.{identifier(label.view)}"
    if label.column is None:
        rows = database.rows(f"SELECT DISTINCT {patient}, 1 FROM {table} WHERE {condition}", values)  # noqa: S608
        return {key: float(found) for key, found in rows}, True
    column = identifier(label.column)
    marks = ", ".join("?" for _ in label.positive)
    rows = database.rows(
        f"SELECT {patient}, max(CASE WHEN {column} IN ({marks}) THEN 1 ELSE 0 END) FROM {table}"  # noqa: S608
        f" WHERE {condition} AND {column} IS NOT NULL GROUP BY {patient}",
        [*label.positive, *values],
    )
    return {key: float(found) for key, found in rows}, False


def encode(feature: FeatureSection, views: Views, database: Database, patients: Sequence[str]) -> EncodedFeature:
    """The feature's columns for `patients`, in their order."""
    found = _values(feature, views.view(feature.view), database)
    absent = (0, False) if feature.aggregate == "count" else (None, False)
    values, strays = zip(*(found.get(key, absent) for key in patients), strict=True)
    missing = np.array([value is None for value in values], dtype=bool)
    clamped = feature.outside == "clamp"
    quality = FeatureQuality(feature.name, int(missing.sum()), 0 if clamped else sum(strays), sum(strays) if clamped else 0)
    columns = _one_hot(feature, values) if feature.categories else _scaled(feature, values)
    if feature.missing == "indicator":
        columns = np.column_stack([columns, missing])
    return EncodedFeature(columns.astype(np.float32), names(feature), quality)


def _values(feature: FeatureSection, view: CompiledView, database: Database) -> dict[str, tuple[Any, bool]]:
    """Patient → aggregated value or None, and whether some value was outside the bounds or categories."""
    condition, values = _where(feature.where)
    value = _as_text(feature.column) if feature.categories else _as_number(view.column(feature.column))
    moment = _moment(view.column(feature.order_by)) if feature.order_by else "NULL"
    usable, limits = _usable(feature)
    inside, bounds = _inside(feature)
    rows = database.rows(
        f"SELECT patient, {_AGGREGATES[feature.aggregate]} FILTER (WHERE {usable}), bool_or(NOT ({inside}))"  # noqa: S608
        f" FROM (SELECT {identifier(PATIENT_COLUMN)} AS patient, {value} AS value, {moment} AS moment"
        f" FROM rows.{identifier(view.name)} WHERE {condition}) WHERE patient IS NOT NULL AND value IS NOT NULL GROUP BY patient",
        [*limits, *bounds, *values],
    )
    return {key: (found, strays) for key, found, strays in rows}


def _usable(feature: FeatureSection) -> tuple[str, list[Any]]:
    """Which values are aggregated: all of them where the bounds only clamp."""
    return ("true", []) if feature.outside == "clamp" else _inside(feature)


def _inside(feature: FeatureSection) -> tuple[str, list[Any]]:
    if feature.categories:
        return f"value IN ({', '.join('?' for _ in feature.categories)})", list(feature.categories)
    if feature.aggregate == "count":  # a count is clamped: its bounds are not those of the values
        return "true", []
    return "value BETWEEN ? AND ?", [feature.low, feature.high]


def _scaled(feature: FeatureSection, values: Sequence[Any]) -> npt.NDArray[np.float64]:
    low, high = float(feature.low or 0.0), float(feature.high or 0.0)
    numbers = np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
    scaled = 2 * (numbers - low) / (high - low) - 1
    return np.clip(np.nan_to_num(scaled, nan=0.0), -1.0, 1.0)[:, np.newaxis]


def _one_hot(feature: FeatureSection, values: Sequence[Any]) -> npt.NDArray[np.float64]:
    return np.array([[float(value == category) for category in feature.categories] for value in values], dtype=np.float64).reshape(
        len(values), len(feature.categories)
    )


def _as_text(column: str) -> str:
    return f"CAST({identifier(column)} AS VARCHAR)"


def _as_number(column: ViewColumn) -> str:
    name = identifier(column.name)
    if group(column.type) == "moment":
        return _years(name)
    if group(column.type) == "text":  # only counted
        return f"CASE WHEN {name} IS NOT NULL THEN 1.0 END"
    return f"CAST({name} AS DOUBLE)"


def _moment(column: ViewColumn) -> str:
    """What `first` and `last` sort by: times on one time line; a partial date is the beginning of its period."""
    name = identifier(column.name)
    if group(column.type) == "number":
        return name
    return f"coalesce({', '.join(f'TRY_CAST({name} || {rest} AS TIMESTAMPTZ)' for rest in _COMPLETIONS)})"


def _years(name: str) -> str:
    """A date as years; a partial date is the beginning of its period. 372 days of 31 a month keep a day inside its month."""
    month, day = (f"coalesce((TRY_CAST(substr({name}, {start}, 2) AS DOUBLE) - 1) / {parts}, 0)" for start, parts in ((6, 12), (9, 372)))
    return f"(TRY_CAST(substr({name}, 1, 4) AS DOUBLE) + {month} + {day})"


def _where(wanted: Mapping[str, Scalar]) -> tuple[str, list[Scalar]]:
    patient = identifier(PATIENT_COLUMN)
    return " AND ".join([f"{patient} IS NOT NULL", *(f"{identifier(column)} = ?" for column in wanted)]), list(wanted.values())


def _check_where(view: CompiledView, wanted: Mapping[str, Scalar], user: str) -> None:
    for name, value in wanted.items():
        column = _single(view, name, user)
        kind = "text" if group(column.type) == "moment" else group(column.type)
        if _GROUPS[type(value)] != kind:
            raise ViewError(f"{user}: {value!r} cannot equal the column {name} of the view {view.name}, which is {column.type}")


def _single(view: CompiledView, name: str, user: str) -> ViewColumn:
    column = view.column(name)
    if column.collection:
        raise ViewError(f"{user}: the column {name} of the view {view.name} is a collection; use forEach to have one value in each row")
    return column
