"""One number a patient becomes columns of the matrix, scaled by bounds that everybody knows; and what must hold for that to be sound."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.fhir.database import Database
from gateway.fhir.errors import ViewError
from gateway.fhir.expressions import group
from gateway.fhir.feature_sql import BOUNDED_RESULT
from gateway.fhir.quality import FeatureQuality, RowCounts
from gateway.fhir.sql_text import KEPT
from gateway.fhir.ucum import is_ucum
from gateway.fhir.units import conversion
from gateway.fhir.views import CompiledView, ViewColumn, Views
from gateway.task_file import FeatureSection, IndexSection, LabelSection, Scalar

_GROUPS: dict[type, str] = {str: "text", bool: "boolean", int: "number", float: "number"}


@dataclass(frozen=True)
class EncodedFeature:
    """The columns of one feature."""

    columns: npt.NDArray[np.float32]
    """(patients, names)"""
    observed: npt.NDArray[np.bool_]
    """(patients, names): False where the patient's value is missing and the column only stands in for it."""
    quality: FeatureQuality


def names(feature: FeatureSection) -> tuple[str, ...]:
    """Names of the columns that a feature becomes: the same in every hospital."""
    base = tuple(f"{feature.name}={category}" for category in feature.categories) or (feature.name,)
    return base + ((f"{feature.name}:missing",) if feature.missing == "indicator" else ())


def check_feature(feature: FeatureSection, views: Views) -> None:
    """Raise ViewError if the feature's columns cannot give what it asks for."""
    user = f"feature {feature.name}"
    view = views.view(feature.view)
    column = single(view, feature.column, user)
    kind = group(column.type)
    if not feature.categories and feature.aggregate != "count" and kind == "text":
        raise ViewError(f"{user}: column {column.name} of the view {view.name} is {column.type}; give categories, not bounds")
    if feature.moment is not None:
        check_moment(view, feature.moment, user)
    if feature.unit_column is not None:
        _check_unit(feature, view, kind)
    if feature.aggregate == "time_since" and conversion("d", feature.unit or "d") is None:
        raise ViewError(f"{user}: days do not convert to {feature.unit}; name a UCUM unit of time, such as d, wk, mo or a")
    check_where(view, feature.where, user)


def _check_unit(feature: FeatureSection, view: CompiledView, kind: str) -> None:
    user = f"feature {feature.name}"
    unit = single(view, feature.unit_column or "", user)
    if kind != "number" or group(unit.type) != "text":
        raise ViewError(f"{user}: units belong to a column of numbers and stand in a column of text; {unit.name} is {unit.type}")
    if not is_ucum(feature.unit or ""):
        raise ViewError(f"{user}: {feature.unit} is no UCUM unit; write it as UCUM does, such as mg/dL, mm[Hg] or 10*3/uL")


def check_index(index: IndexSection | None, views: Views) -> None:
    """Raise ViewError if the index's columns cannot give a moment."""
    if index is not None and index.view is not None and index.time is not None:
        view = views.view(index.view)
        check_moment(view, index.time, "index")
        check_where(view, index.where, "index")


def check_label(label: LabelSection, views: Views) -> None:
    """Raise ViewError if the label's columns cannot be compared with its values."""
    view = views.view(label.view)
    check_where(view, label.where, "label")
    if label.time is not None:
        check_moment(view, label.time, "label")
    if label.column is not None:
        for value in label.positive:
            check_where(view, {label.column: value}, "label")


def encode(feature: FeatureSection, sql: str, database: Database, *, patients: int) -> EncodedFeature:
    """The feature's columns for the patients of the matrix, by their position; `sql` is the feature's statement."""
    found = database.columns(sql)
    known = ~np.ma.getmaskarray(found["position"])
    rows = np.asarray(found["position"])[known]
    values = np.full(patients, 0.0 if feature.aggregate == "count" else np.nan)
    values[rows] = np.ma.filled(found["value"], np.nan)[known]
    strays = np.zeros(patients, dtype=bool)
    strays[rows] = np.ma.filled(found["strays"], fill_value=False)[known]
    if feature.aggregate in BOUNDED_RESULT and feature.aggregate != "count":
        strays = (values < _low(feature)) | (values > _high(feature))
        values[strays & (feature.outside == "missing")] = np.nan
    missing = np.isnan(values)
    columns = _one_hot(feature, values) if feature.categories else _scaled(feature, values)
    observed = np.repeat(~missing[:, np.newaxis], columns.shape[1], axis=1)
    if feature.missing == "indicator":
        columns, observed = np.column_stack([columns, missing]), np.column_stack([observed, np.ones_like(missing)])
    clamped = feature.outside == "clamp"
    count = int(strays.sum())
    quality = FeatureQuality(feature.name, int(missing.sum()), 0 if clamped else count, count if clamped else 0, _rows(found))
    return EncodedFeature(columns.astype(np.float32), observed, quality)


def _rows(found: Mapping[str, npt.NDArray[Any]]) -> RowCounts:
    counts = {reason: int(rows.sum()) for reason, rows in found.items() if reason not in ("position", "value", "strays")}
    kept = counts.pop(KEPT)
    return RowCounts(kept + sum(counts.values()), kept, {reason: count for reason, count in counts.items() if count})


def _scaled(feature: FeatureSection, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = _low(feature), _high(feature)
    scaled = 2 * (values - low) / (high - low) - 1
    return np.clip(np.nan_to_num(scaled, nan=0.0), -1.0, 1.0)[:, np.newaxis]


def _one_hot(feature: FeatureSection, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    chosen: npt.NDArray[np.bool_] = places[:, np.newaxis] == np.arange(1, len(feature.categories) + 1)
    return chosen.astype(np.float64)


def _low(feature: FeatureSection) -> float:
    return float(feature.low or 0.0)


def _high(feature: FeatureSection) -> float:
    return float(feature.high or 0.0)


def check_moment(view: CompiledView, name: str, user: str) -> None:
    """Raise ViewError, in the name of `user`, unless the column says when something happened."""
    column = single(view, name, user)
    if group(column.type) != "moment":
        raise ViewError(f"{user}: {name} of the view {view.name} is {column.type}; name a column of dates or times")


def check_where(view: CompiledView, wanted: Mapping[str, Scalar], user: str) -> None:
    """Raise ViewError, in the name of `user`, unless the columns can equal the values."""
    for name, value in wanted.items():
        column = single(view, name, user)
        kind = "text" if group(column.type) == "moment" else group(column.type)
        if _GROUPS[type(value)] != kind:
            raise ViewError(f"{user}: {value!r} cannot equal the column {name} of the view {view.name}, which is {column.type}")


def single(view: CompiledView, name: str, user: str) -> ViewColumn:
    """The column; raise ViewError, in the name of `user`, if it has several values in a row."""
    column = view.column(name)
    if column.collection:
        raise ViewError(f"{user}: the column {name} of the view {view.name} is a collection; use forEach to have one value in each row")
    return column
