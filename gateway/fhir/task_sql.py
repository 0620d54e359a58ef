"""Everything a task asks of a hospital's data as SQL: who is in, what is known of them, what is predicted.

A hospital reads this text before it approves, and its digest is part of the approval. The views' rows stand in the schema `rows`; what
the statements make of them, in their order, in the schema `task`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.fhir import moments
from gateway.fhir.expressions import identifier
from gateway.fhir.feature_sql import feature_sql
from gateway.fhir.sequences import sequence_sql
from gateway.fhir.signals import signal_sql
from gateway.fhir.sql_text import COHORT, LABEL_ROWS, PATIENTS, SEQUENCE_ROWS, SIGNAL_ROWS, case, condition, literal
from gateway.fhir.views import Views
from gateway.task_file import PATIENT_COLUMN, IndexSection, LabelSection, TaskFile

_PATIENT = identifier(PATIENT_COLUMN)
_NO_SLACK = "INTERVAL 0 HOUR"


@dataclass(frozen=True)
class TaskSql:
    """The views of a task and the statements over their rows."""

    views: Views
    cohort: str
    """Every patient of the cohort's view, with the period of the index."""
    label_rows: str
    """Every row that could make the label, and why it counts or does not."""
    patients: str
    """Patients with a label, numbered in the order of their keys."""
    features: Mapping[str, str]
    """Feature → one number for each patient, and the rows used and not used."""
    blocks: Mapping[str, str]
    """Table of a sequence's or a signal's rows → every row, and why it is not used."""

    @property
    def statements(self) -> tuple[tuple[str, str], ...]:
        """Name and SQL in the order in which they run."""
        return (
            *(("moments", macro) for macro in moments.MACROS),
            (COHORT, self.cohort),
            (LABEL_ROWS, self.label_rows),
            (PATIENTS, self.patients),
            *self.blocks.items(),
            *self.features.items(),
        )

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the views' digest and all statements: what a hospital has read and approves."""
        content = json.dumps([self.views.digest, *self.statements], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


def task_sql(task: TaskFile, views: Views) -> TaskSql:
    """The SQL of a task whose sections fit `views`."""
    indexed = task.index is not None
    return TaskSql(
        views=views,
        cohort=_cohort(task.cohort.view, task.index),
        label_rows=_label_rows(task.label, indexed=indexed),
        patients=_patients(task.label, indexed=indexed),
        features={feature.name: feature_sql(feature, views.view(feature.view), indexed=indexed) for feature in task.features},
        blocks=({} if task.sequence is None else {SEQUENCE_ROWS: sequence_sql(task.sequence)})
        | ({} if task.signal is None else {SIGNAL_ROWS: signal_sql(task.signal, indexed=indexed)}),
    )


# S608 here and below: names are quoted by identifier(), literals are escaped.
def _cohort(view: str, index: IndexSection | None) -> str:
    people = f"(SELECT DISTINCT {_PATIENT} AS patient FROM rows.{identifier(view)} WHERE {_PATIENT} IS NOT NULL) AS people"  # noqa: S608
    if index is None:
        return f"SELECT patient FROM {people}"  # noqa: S608
    if index.view is None or index.time is None:
        moment = f"TIMESTAMP '{index.date} 00:00:00'"
        return f"SELECT patient, {moment} AS begun, {moment} AS ended, {_NO_SLACK} AS zoned_slack, {_NO_SLACK} AS dated_slack FROM {people}"  # noqa: S608
    since = "begun IS NOT NULL" if index.date is None else f"begun >= TIMESTAMP '{index.date} 00:00:00'"
    # The first of moments that are each known to lie in a period lies between the first beginning and the first end. Rows that are
    # certainly later change nothing.
    return f"""SELECT patient, begun, ended, zoned_slack, dated_slack FROM {people}
  LEFT JOIN (SELECT patient, min(begun) AS begun, any_value(first_ended) AS ended,
                    CASE WHEN bool_or(NOT zoned) THEN {moments.SLACK} ELSE {_NO_SLACK} END AS zoned_slack,
                    CASE WHEN bool_or(zoned) THEN {moments.SLACK} ELSE {_NO_SLACK} END AS dated_slack
               FROM (SELECT *, min(begun + length) OVER (PARTITION BY patient) AS first_ended
                       FROM (SELECT {_PATIENT} AS patient, {moments.columns(index.time)}
                               FROM rows.{identifier(index.view)} WHERE {condition(index.where)})
                      WHERE {since})
              WHERE begun < first_ended + {moments.SLACK} GROUP BY patient) AS events USING (patient)"""  # noqa: S608


def _label_rows(label: LabelSection, *, indexed: bool) -> str:
    value = "true" if label.column is None else f"{identifier(label.column)} IN ({', '.join(literal(value) for value in label.positive)})"
    moment = f", {moments.columns(label.time)}" if indexed and label.time is not None else ""
    reasons = [("patient_found IS NULL", "not-in-cohort"), ("positive IS NULL", "no-value")]
    if indexed:
        gap, horizon = moments.interval(label.gap_days), None if label.horizon_days is None else moments.interval(label.horizon_days)
        reasons += [
            ("index_begun IS NULL", "no-index"),
            ("begun IS NULL", "no-time"),
            (f"begun + length + slack <= index_begun + {gap}", "before-gap"),
            *([(f"begun - slack >= index_ended + {horizon}", "after-horizon")] if horizon else []),
            (f"begun - slack < index_ended + {gap}", "uncertain"),
            *([(f"begun + length + slack > index_begun + {horizon}", "uncertain")] if horizon else []),
        ]
    period = "row.begun, row.length, CASE WHEN row.zoned THEN zoned_slack ELSE dated_slack END AS slack," if indexed else ""
    index = ", cohort.begun AS index_begun, cohort.ended AS index_ended" if indexed else ""
    return f"""SELECT patient, positive, {case(reasons)} AS reason
  FROM (SELECT row.patient, row.positive, {period} cohort.patient AS patient_found{index}
          FROM (SELECT {_PATIENT} AS patient, {value} AS positive{moment}
                  FROM rows.{identifier(label.view)} WHERE {condition(label.where)}) AS row
          LEFT JOIN task.{COHORT} AS cohort USING (patient))"""  # noqa: S608


def _patients(label: LabelSection, *, indexed: bool) -> str:
    # Nobody is called healthy on the strength of a row that may or may not lie in the label's window.
    negative = "true" if label.column is None else "bool_or(reason = 'kept')"
    index = ["begun", "ended", "zoned_slack", "dated_slack"] if indexed else []
    columns = ", ".join(["patient", *index])
    found = " WHERE begun IS NOT NULL" if indexed else ""
    return f"""SELECT row_number() OVER (ORDER BY patient) - 1 AS position, label, {columns}
  FROM (SELECT {columns},
               CASE WHEN bool_or(positive AND reason = 'kept') THEN 1.0
                    WHEN bool_or(positive AND reason IN ('uncertain', 'no-time')) THEN NULL
                    WHEN {negative} THEN 0.0 END AS label
          FROM task.{COHORT} LEFT JOIN task.{LABEL_ROWS} USING (patient){found} GROUP BY {columns})
 WHERE label IS NOT NULL"""  # noqa: S608
