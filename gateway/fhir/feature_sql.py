"""The SQL of one feature: which rows of its view count, and what becomes of a patient's rows."""

from gateway.fhir import moments
from gateway.fhir.expressions import group, identifier, quote
from gateway.fhir.sql_text import KEPT, PATIENTS, UNITS, case, condition, literal
from gateway.fhir.units import conversion
from gateway.fhir.views import CompiledView, ViewColumn
from gateway.task_file import PATIENT_COLUMN, FeatureSection

BOUNDED_RESULT = frozenset({"count", "slope", "time_since"})
"""Aggregates whose bounds are those of the result and not of each value."""

_USED = f"FILTER (WHERE reason = {quote(KEPT)})"
_AGGREGATES = {
    "mean": f"avg(value ORDER BY value) {_USED}",  # in one order, so that every run rounds alike
    "min": f"min(value) {_USED}",
    "max": f"max(value) {_USED}",
    "mode": f"mode(value ORDER BY value) {_USED}",
    "first": f"first(value ORDER BY begun, value) {_USED}",
    "latest": f"last(value ORDER BY begun, value) {_USED}",
    "count": f"count(value) {_USED}",
    "slope": f"CASE WHEN count(DISTINCT day) {_USED} > 1 THEN regr_slope(value, day ORDER BY day, value) {_USED} END",
    "time_since": f"min(value) {_USED}",
}


def feature_sql(feature: FeatureSection, view: CompiledView, *, indexed: bool) -> str:
    """One line for each patient: `position`, `value` (a number, or a category's place from 1), `strays`, then rows by reason.

    Rows of people who are not in the matrix stand together in a line without position.
    """
    column = view.column(feature.column)
    result = _AGGREGATES[feature.aggregate]
    if feature.categories:
        result = f"list_position([{', '.join(map(quote, feature.categories))}], {result})"
    reasons = _reasons(feature, column, indexed=indexed)
    names = dict.fromkeys([KEPT, *(reason for _, reason in reasons)])
    counts = ",\n       ".join(f"count(*) FILTER (WHERE reason = {quote(name)}) AS {identifier(name)}" for name in names)
    # S608: names are quoted by identifier(), literals are escaped.
    return f"""SELECT position, CAST({result} AS DOUBLE) AS value, {_strays(feature)} AS strays,
       {counts}
  FROM (SELECT *, {case(reasons)} AS reason
          FROM (SELECT *, {_value(feature, column)} AS value{_day(feature, indexed=indexed)}
                  FROM (SELECT {_read(feature, column, indexed=indexed)}
                          FROM rows.{identifier(view.name)} WHERE {condition(feature.where)})
                  LEFT JOIN (SELECT {known(indexed=indexed)} FROM task.{PATIENTS}) USING (patient){_units(feature)}))
 GROUP BY position"""  # noqa: S608


def _strays(feature: FeatureSection) -> str:
    """Whether some value of the patient was outside the bounds or categories."""
    if feature.aggregate in BOUNDED_RESULT:
        return "false"
    if feature.outside == "missing":
        return "bool_or(reason = 'outside')"
    return f"bool_or(reason = {quote(KEPT)} AND NOT ({_inside(feature)}))"


def _read(feature: FeatureSection, column: ViewColumn, *, indexed: bool) -> str:
    """The row as the view gives it, with the period in which it happened."""
    found = [f"{identifier(PATIENT_COLUMN)} AS patient", f"{_raw(feature, column)} AS raw"]
    if feature.moment is not None:
        found.append(moments.columns(feature.moment))
    if _dated_value(feature, column, indexed=indexed):
        name = identifier(column.name)
        found.append(f"moment_begun({name}) + moment_length({name}) AS value_ended, moment_zoned({name}) AS value_zoned")
    if feature.unit_column is not None:
        found.append(f"{identifier(feature.unit_column)} AS unit")
    return ", ".join(found)


def _raw(feature: FeatureSection, column: ViewColumn) -> str:
    name, kind = identifier(column.name), group(column.type)
    if feature.categories:
        return f"CAST({name} AS VARCHAR)"
    if kind == "moment" and feature.aggregate != "time_since":
        return _years(name)
    if kind in ("text", "moment"):  # only counted, or only a moment
        return f"CASE WHEN {name} IS NOT NULL THEN 1.0 END"
    return f"CAST({name} AS DOUBLE)"


def known(*, indexed: bool) -> str:
    """SQL of what is known of the matrix's patients, to compare rows with."""
    return "position, patient" + (", begun AS index_begun, zoned_slack, dated_slack" if indexed else "")


def _units(feature: FeatureSection) -> str:
    if feature.unit_column is None:
        return ""
    names = f"SELECT unit, factor, shift, low, high FROM task.{UNITS} WHERE feature = {quote(feature.name)}"  # noqa: S608
    return f"\n                  LEFT JOIN ({names}) USING (unit)"


def _value(feature: FeatureSection, column: ViewColumn) -> str:
    if feature.aggregate == "time_since":
        into = conversion("d", feature.unit or "d")
        return f"days_between(begun, index_begun) * {literal(into.factor if into else 1.0)}"
    return "raw * factor + shift" if feature.unit_column is not None else "raw"


def _day(feature: FeatureSection, *, indexed: bool) -> str:
    if feature.aggregate != "slope":
        return ""
    return f", days_between({'index_begun' if indexed else quote('2000-01-01') + '::TIMESTAMP'}, begun) AS day"


def _reasons(feature: FeatureSection, column: ViewColumn, *, indexed: bool) -> list[tuple[str, str]]:
    found = [("position IS NULL", "not-in-cohort"), ("raw IS NULL", "no-value")]
    if feature.moment is not None:
        found.append(("begun IS NULL", "no-time"))
        if indexed:
            found.append((unless_before("begun + length", "zoned"), "after-index"))
    if _dated_value(feature, column, indexed=indexed):
        found.append((unless_before("value_ended", "value_zoned"), "after-index"))
    if feature.window_days is not None:
        found.append((f"begun < index_begun - {moments.interval(feature.window_days)}", "before-window"))
    if feature.unit_column is not None:
        found += [("factor IS NULL", "unit"), ("NOT raw BETWEEN low AND high", "implausible")]
    if feature.outside == "missing" and feature.aggregate not in BOUNDED_RESULT:
        found.append((f"NOT ({_inside(feature)})", "outside"))
    return found


def unless_before(ended: str, zoned: str) -> str:
    """SQL that is true unless what ended then had certainly ended when the index began."""
    return f"NOT coalesce({ended} + CASE WHEN {zoned} THEN zoned_slack ELSE dated_slack END <= index_begun, false)"


def _dated_value(feature: FeatureSection, column: ViewColumn, *, indexed: bool) -> bool:
    """Whether a row's value is itself a moment, which the row's own time says nothing about: an end, say, of what has begun."""
    return indexed and group(column.type) == "moment" and feature.moment not in (None, feature.column)


def _inside(feature: FeatureSection) -> str:
    if feature.categories:
        return f"value IN ({', '.join(map(quote, feature.categories))})"
    return f"value BETWEEN {literal(feature.low or 0.0)} AND {literal(feature.high or 0.0)}"


def _years(name: str) -> str:
    """A date as years; a partial date is the beginning of its period. 372 days of 31 a month keep a day inside its month."""
    month, day = (f"coalesce((TRY_CAST(substr({name}, {start}, 2) AS DOUBLE) - 1) / {parts}, 0)" for start, parts in ((6, 12), (9, 372)))
    return f"(TRY_CAST(substr({name}, 1, 4) AS DOUBLE) + {month} + {day})"
