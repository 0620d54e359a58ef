"""Pieces that the statements of a task share. All text comes from names that were validated and literals that are escaped here."""

from collections.abc import Mapping, Sequence

from gateway.fhir.expressions import identifier, quote
from gateway.task_file import Scalar

COHORT, LABEL_ROWS, PATIENTS, UNITS = "cohort", "label_rows", "patients", "units"
SEQUENCE_ROWS, SIGNAL_ROWS = "sequence_rows", "signal_rows"
"""Tables of the schema `task`; `units` says how the units that occur convert."""

KEPT = "kept"
"""What stands instead of a reason with rows that are used."""


def case(reasons: Sequence[tuple[str, str]]) -> str:
    """SQL of the first reason that applies, or KEPT."""
    return " ".join(["CASE", *(f"WHEN {when} THEN {quote(reason)}" for when, reason in reasons), f"ELSE {quote(KEPT)} END"])


def condition(wanted: Mapping[str, Scalar]) -> str:
    """SQL of columns that must equal values."""
    return " AND ".join(f"{identifier(column)} = {literal(value)}" for column, value in wanted.items()) or "true"


def literal(value: Scalar) -> str:
    """SQL of a value of a task file."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"CAST({value!r} AS DOUBLE)"
