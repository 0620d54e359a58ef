"""A patient's last rows before the index become steps of the matrix, in the order of time. One patient stays one row of it."""

import numpy as np

from gateway.fhir.database import Database
from gateway.fhir.errors import ViewError
from gateway.fhir.expressions import group, identifier, quote
from gateway.fhir.features import EncodedFeature, check_moment, check_where, single
from gateway.fhir.quality import FeatureQuality, RowCounts
from gateway.fhir.sql_text import KEPT, SEQUENCE_ROWS
from gateway.fhir.timed_rows import timed_rows
from gateway.fhir.views import Views
from gateway.task_inputs import SequenceColumn, SequenceSection

NAME = "sequence"
PRESENT, RECENCY = 0, 1
"""Places of a step's first inputs: 1 where there is a step; when it was, from -1 at the window's begin to 1 at the index."""


def names(sequence: SequenceSection) -> tuple[str, ...]:
    """Names of the inputs: step by step from the earliest, which is 1."""
    columns = [name for each in sequence.columns for name in ([f"{each.name}={category}" for category in each.categories] or [each.name])]
    return tuple(
        name
        for step in range(1, sequence.steps + 1)
        for name in (f"{NAME}[{step}]", f"{NAME}[{step}]:recency", *(f"{NAME}[{step}].{column}" for column in columns))
    )


def check_sequence(sequence: SequenceSection, views: Views) -> None:
    """Raise ViewError if the view cannot give what the sequence asks for."""
    view = views.view(sequence.view)
    if view.resource == "Patient":
        raise ViewError(f"{NAME}: nothing in a Patient says since when it is so; take the rows of another resource than {view.name} has")
    check_moment(view, sequence.time, NAME)
    check_where(view, sequence.where, NAME)
    for each in sequence.columns:
        kind = group(single(view, each.column, NAME).type)
        if kind == "moment" or (kind == "text" and not each.categories):
            raise ViewError(
                f"{NAME}: {each.column} of the view {view.name} is a column of {kind}; name a number, or give categories of a text"
            )


def sequence_sql(sequence: SequenceSection) -> str:
    """Every row with its patient's `position`, its `step` from 1, `days` before the index, its values, and why it is not used.

    Rows of one time stand in the order of their values, so that every run orders alike.
    """
    values = [f"{_value(each)} AS {_place(number)}" for number, each in enumerate(sequence.columns)]
    rows = timed_rows(sequence.view, sequence.where, sequence.time, sequence.window_days, values, [], indexed=True)
    order = ", ".join(["begun DESC", *(_place(number) for number in range(len(values)))])
    places = ", ".join(_place(number) for number in range(len(values)))
    # S608: names are quoted by identifier(), literals are escaped.
    return f"""SELECT position, step, days, {places},
       CASE WHEN reason = {quote(KEPT)} AND step < 1 THEN 'earlier' ELSE reason END AS reason
  FROM (SELECT *, days_between(begun, index_begun) AS days,
               {sequence.steps} + 1 - row_number() OVER (PARTITION BY position, reason ORDER BY {order}) AS step
          FROM ({rows}))"""  # noqa: S608


def encode_sequence(sequence: SequenceSection, database: Database, *, patients: int) -> EncodedFeature:
    """The sequence's inputs for the patients of the matrix, from the table of its rows."""
    columns = ", ".join(["position", "step", "days", *(_place(number) for number in range(len(sequence.columns)))])
    found = database.columns(f"SELECT {columns} FROM task.{SEQUENCE_ROWS} WHERE reason = {quote(KEPT)}")  # noqa: S608  # constants
    position, step = np.asarray(found["position"], dtype=np.int64), np.asarray(found["step"], dtype=np.int64) - 1
    block = np.zeros((patients, sequence.steps, sequence.channels), dtype=np.float32)
    observed = np.zeros(block.shape, dtype=bool)
    observed[np.unique(position)] = True  # a step that is not there misses nothing, unless none is
    block[position, step, PRESENT] = 1.0
    block[position, step, RECENCY] = np.clip(1.0 - 2.0 * np.asarray(found["days"], dtype=np.float64) / sequence.window_days, -1.0, 1.0)
    observed[:, :, PRESENT] = True
    place, strays = RECENCY + 1, np.zeros(patients, dtype=bool)
    for number, each in enumerate(sequence.columns):
        values = np.ma.filled(found[_place(number)].astype(np.float64), np.nan)
        known = ~np.isnan(values)
        observed[position[~known], step[~known], place : place + each.channels] = False
        rows, steps, values = position[known], step[known], values[known]
        if each.categories:
            block[rows, steps, place + values.astype(np.int64) - 1] = 1.0
        else:
            low, high = float(each.low or 0.0), float(each.high or 0.0)
            strays[rows[(values < low) | (values > high)]] = True
            block[rows, steps, place] = np.clip(2.0 * (values - low) / (high - low) - 1.0, -1.0, 1.0)
        place += each.channels
    missing = patients - len(np.unique(position))
    quality = FeatureQuality(NAME, missing, 0, int(strays.sum()), row_counts(database, SEQUENCE_ROWS))
    return EncodedFeature(block.reshape(patients, -1), observed.reshape(patients, -1), quality)


def row_counts(database: Database, table: str) -> RowCounts:
    """What became of the rows of a table of the schema `task` that has a column `reason`."""
    counts = dict(database.rows(f"SELECT reason, count(*) FROM task.{identifier(table)} GROUP BY reason ORDER BY reason", []))  # noqa: S608
    kept = counts.pop(KEPT, 0)
    return RowCounts(kept + sum(counts.values()), kept, counts)


def _place(number: int) -> str:
    return f"value_{number}"


def _value(column: SequenceColumn) -> str:
    name = identifier(column.column)
    if not column.categories:
        return f"CAST({name} AS DOUBLE)"
    return f"CAST(list_position([{', '.join(map(quote, column.categories))}], CAST({name} AS VARCHAR)) AS DOUBLE)"
