"""SQL of a view's rows that are compared with the index one by one: what a sequence or a signal is made of."""

from collections.abc import Mapping, Sequence

from gateway.fhir import moments
from gateway.fhir.expressions import identifier
from gateway.fhir.feature_sql import known, unless_before
from gateway.fhir.sql_text import PATIENTS, case, condition
from gateway.task_file import PATIENT_COLUMN
from gateway.task_values import Scalar


def timed_rows(
    view: str,
    where: Mapping[str, Scalar],
    time: str,
    window_days: float | None,
    columns: Sequence[str],
    refusals: Sequence[tuple[str, str]],
    *,
    indexed: bool,
) -> str:
    """Every row with the `position` of its patient, when it happened, `columns`, and the `reason` for which it is not used.

    `refusals` are reasons of the rows themselves, beside those of their time.
    """
    reasons = [("position IS NULL", "not-in-cohort"), ("begun IS NULL", "no-time")]
    if indexed:
        reasons.append((unless_before("begun + length", "zoned"), "after-index"))
    if window_days is not None:
        reasons.append((f"begun < index_begun - {moments.interval(window_days)}", "before-window"))
    found = ", ".join([f"{identifier(PATIENT_COLUMN)} AS patient", moments.columns(time), *columns])
    # S608: names are quoted by identifier(), literals are escaped.
    return f"""SELECT *, {case([*reasons, *refusals])} AS reason
  FROM (SELECT {found}
          FROM rows.{identifier(view)} WHERE {condition(where)})
  LEFT JOIN (SELECT {known(indexed=indexed)} FROM task.{PATIENTS}) USING (patient)"""  # noqa: S608
