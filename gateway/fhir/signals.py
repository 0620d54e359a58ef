"""A recording in FHIR's SampledData becomes inputs of the matrix, one for each sample. One patient stays one row of it."""

import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gateway.fhir.database import Database
from gateway.fhir.errors import ViewError
from gateway.fhir.expressions import group, identifier, quote
from gateway.fhir.features import EncodedFeature, check_moment, check_where, single
from gateway.fhir.quality import FeatureQuality, RowCounts
from gateway.fhir.sequences import row_counts
from gateway.fhir.sql_text import KEPT, SIGNAL_ROWS, literal
from gateway.fhir.timed_rows import timed_rows
from gateway.fhir.views import Views
from gateway.task_inputs import SignalSection

NAME = "signal"
_AT_ONCE = 256
"""Patients whose recordings are read together: as text they take several times the room of their numbers."""
_RECORDINGS = f"""SELECT position, samples, origin, factor FROM task.{SIGNAL_ROWS}
 WHERE reason = {quote(KEPT)} AND position BETWEEN ? AND ?"""  # noqa: S608  # constants
_OUTSIDE = {"U": np.inf, "L": -np.inf, "E": np.nan}
"""What SampledData says of a sample in the place of a number: above or below what the device can tell, or an error."""
_SAMPLE = re.compile(r"-?[0-9]*\.?[0-9]+")  # FHIR's own definition of a number in SampledData.data


def names(signal: SignalSection) -> tuple[str, ...]:
    """Names of the inputs, sample by sample from 1."""
    return tuple(f"{NAME}[{number}]" for number in range(1, signal.samples + 1))


def check_signal(signal: SignalSection, views: Views) -> None:
    """Raise ViewError if the view cannot give what the signal asks for."""
    view = views.view(signal.view)
    if view.resource == "Patient":
        raise ViewError(f"{NAME}: nothing in a Patient says since when it is so; take the rows of another resource than {view.name} has")
    check_moment(view, signal.time, NAME)
    check_where(view, signal.where, NAME)
    wanted = [(signal.column, "text"), *((name, "number") for name in (signal.origin, signal.factor) if name is not None)]
    for name, kind in wanted:
        column = single(view, name, NAME)
        if group(column.type) != kind:
            raise ViewError(f"{NAME}: {name} of the view {view.name} is {column.type}; name a column of {kind}")


def signal_sql(signal: SignalSection, *, indexed: bool) -> str:
    """Every row with its patient's `position`, its `samples`, `origin` and `factor`, and why it is not used."""
    origin = literal(0.0) if signal.origin is None else f"CAST({identifier(signal.origin)} AS DOUBLE)"
    factor = literal(1.0) if signal.factor is None else f"coalesce(CAST({identifier(signal.factor)} AS DOUBLE), 1.0)"
    columns = [f"{identifier(signal.column)} AS samples", f"{origin} AS origin", f"{factor} AS factor"]
    refusals = [("samples IS NULL OR origin IS NULL", "no-value")]
    rows = timed_rows(signal.view, signal.where, signal.time, signal.window_days, columns, refusals, indexed=indexed)
    direction = "DESC" if signal.aggregate == "latest" else "ASC"
    # S608: names are quoted by identifier(), literals are escaped.
    return f"""SELECT position, samples, origin, factor,
       CASE WHEN reason = {quote(KEPT)} AND place > 1 THEN 'another' ELSE reason END AS reason
  FROM (SELECT *, row_number() OVER (PARTITION BY position, reason ORDER BY begun {direction}, samples, origin, factor) AS place
          FROM ({rows}))"""  # noqa: S608


def encode_signal(signal: SignalSection, database: Database, *, patients: int) -> EncodedFeature:
    """The signal's inputs for the patients of the matrix, from the table of its rows."""
    columns = np.zeros((patients, signal.samples), dtype=np.float32)
    observed = np.zeros(columns.shape, dtype=bool)
    strays = unusable = 0
    for start in range(0, patients, _AT_ONCE):
        for position, text, origin, factor in database.rows(_RECORDINGS, [start, start + _AT_ONCE - 1]):
            samples = parsed(text)
            if samples is None or len(samples) != signal.samples:
                unusable += 1
                continue
            values = samples * factor + origin
            seen = ~np.isnan(values)
            strays += bool((seen & ((values < signal.low) | (values > signal.high))).any())
            scaled = 2.0 * (np.clip(values, signal.low, signal.high) - signal.low) / (signal.high - signal.low) - 1.0
            columns[position] = np.nan_to_num(scaled, nan=0.0)
            observed[position] = seen
    rows = _without(row_counts(database, SIGNAL_ROWS), unusable)
    missing = int((~observed.any(axis=1)).sum())
    return EncodedFeature(columns, observed, FeatureQuality(NAME, missing, 0, strays, rows))


def parsed(text: str) -> npt.NDArray[np.float64] | None:
    """The samples of SampledData.data, NaN for an error and infinities beyond the limits; None if it is something else."""
    words = text.split()
    if not all(word in _OUTSIDE or _SAMPLE.fullmatch(word) for word in words):
        return None
    return np.array([_OUTSIDE[word] if word in _OUTSIDE else float(word) for word in words], dtype=np.float64)


def _without(rows: RowCounts, unusable: int) -> RowCounts:
    if not unusable:
        return rows
    return replace(rows, kept=rows.kept - unusable, dropped={**rows.dropped, "samples": unusable})
