"""What a hospital's Observations hold, code by code and unit by unit: the views that read them and the counts made of their rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from gateway.fhir.database import Database
from gateway.fhir.plausible import LOINC, plausible_values
from gateway.fhir.view_definition import ViewDefinition, view_definition

VALUES, PEOPLE, CODES = "profile_values", "profile_people", "profile_codes"
"""Names of the views, and of their tables."""

BINS = 24
"""Bars of a histogram."""

_CODED = ("Observation", "Condition", "Procedure")
_CODING = [
    # LOINC where a code has several codings, because the table of plausible values is by LOINC.
    {"name": "loinc", "path": f"code.coding.where(system = '{LOINC}').code.first()"},
    {"name": "system", "path": "code.coding.system.first()"},
    {"name": "code", "path": "code.coding.code.first()"},
    {"name": "display", "path": "code.coding.display.first()"},
    {"name": "value", "path": "value.ofType(Quantity).value"},
    {"name": "unit_system", "path": "value.ofType(Quantity).system"},
    {"name": "unit_code", "path": "value.ofType(Quantity).code"},
    {"name": "unit_text", "path": "value.ofType(Quantity).unit"},
    {"name": "text", "path": "value.ofType(CodeableConcept).coding.code.join('|')"},
    {"name": "yes", "path": "value.ofType(boolean)"},
    {"name": "whole", "path": "value.ofType(integer)"},
]


@dataclass(frozen=True)
class UnitValues:
    """The values of one code in one unit."""

    unit: str
    """UCUM code, or what stands in its place; empty where there is no unit."""
    ucum: bool
    """Whether the quantity says that its unit is UCUM's."""
    values: int
    zeros: int
    low: int
    """Values below the plausible range, zeros included."""
    high: int
    minimum: float
    quartiles: tuple[float, float, float]
    maximum: float
    least_other: float | None
    """Smallest absolute value that is not zero."""
    histogram: tuple[int, ...]
    """Values in BINS equal intervals from minimum to maximum."""
    elsewhere: Mapping[str, int]
    """Another unit of the table → values outside the plausible range that would be inside it in that unit."""


@dataclass(frozen=True)
class Measurement:
    """One code, as Observations or their components use it."""

    system: str
    code: str
    name: str
    patients: int
    units: tuple[UnitValues, ...]

    @property
    def values(self) -> int:
        return sum(unit.values for unit in self.units)


def views() -> tuple[ViewDefinition, ...]:
    """The views of a profile; they are the same in FHIR R4 and R5."""
    patient = {"name": "patient", "path": "subject.getReferenceKey(Patient)"}
    values: dict[str, Any] = {
        "name": VALUES,
        "resource": "Observation",
        "select": [
            {"column": [patient, {"name": "moment", "path": "effective.ofType(dateTime)"}]},
            {"unionAll": [{"column": _CODING}, {"forEach": "component", "column": _CODING}]},
        ],
    }
    people: dict[str, Any] = {
        "name": PEOPLE,
        "resource": "Patient",
        "select": [{"column": [{"name": name, "path": name} for name in ("id", "birthDate", "gender")]}],
    }
    codes: list[dict[str, Any]] = [
        {
            "name": f"{CODES}_{resource}",
            "resource": resource,
            "select": [{"column": [{"name": "system", "path": "code.coding.system", "collection": True}]}],
        }
        for resource in _CODED
    ]
    return tuple(view_definition(view) for view in (values, people, *codes))


def measurements(database: Database) -> tuple[Measurement, ...]:
    """Every code with numbers, the most frequent first."""
    bounds = [list(column) for column in zip(*_bounds(), strict=True)]
    elsewhere: defaultdict[tuple[str, str, bool], dict[str, int]] = defaultdict(dict)
    for code, unit, ucum, other, count in database.rows(_ELSEWHERE, bounds):
        elsewhere[code, unit, ucum][other] = count
    rows = database.rows(_MEASURED, bounds)
    found = [_measurement(list(group), elsewhere) for _, group in groupby(rows, key=lambda row: (row[0], row[1]))]
    return tuple(sorted(found, key=lambda measured: (-measured.values, measured.system, measured.code)))


def _bounds() -> list[tuple[str, str, float, float]]:
    return [(code, unit, *limits) for code, entry in plausible_values().items() for unit, limits in entry.ranges.items()]


def _measurement(rows: Sequence[Any], elsewhere: Mapping[tuple[str, str, bool], Mapping[str, int]]) -> Measurement:
    system, code, name, patients = rows[0][:4]
    others = elsewhere if system == LOINC else {}
    units = tuple(
        UnitValues(
            unit, ucum, values, zeros, low, high, minimum, tuple(quartiles), maximum, least, _bars(bins), others.get((code, unit, ucum), {})
        )
        for *_, unit, ucum, values, zeros, low, high, minimum, quartiles, maximum, least, bins in rows
    )
    return Measurement(system, code, name, patients, units)


def _bars(counts: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(counts.get(position, 0) for position in range(BINS))


def code_systems(database: Database) -> dict[str, dict[str, int]]:
    """Resource type → code system → codings; resources without a code count under the empty name."""
    return {resource: dict(database.rows(_SYSTEMS.format(table=f"{CODES}_{resource}"), [])) for resource in _CODED}


def repeated_values(database: Database) -> int:
    """Measurements that say the same as another one: patient, code, time, value and unit."""
    return int(database.rows(_REPEATED, [])[0][0])


def repeated_patients(database: Database) -> int:
    """Patients whose measurements all equal another patient's, with the same sex and date of birth."""
    return int(database.rows(_SAME_PATIENT, [])[0][0])


def before_birth(database: Database) -> int:
    """Measurements dated before the year of the patient's birth."""
    return int(database.rows(_BEFORE_BIRTH, [])[0][0])


# S608 below: the text is this module's own, and names are its constants.
_READ = f"""
WITH bounds AS (SELECT unnest(?) AS loinc, unnest(?) AS unit, unnest(?) AS low, unnest(?) AS high),
measured AS (
  SELECT CASE WHEN loinc IS NULL THEN coalesce(system, '') ELSE '{LOINC}' END AS system, coalesce(loinc, code, '') AS code, loinc,
         display, patient, value, coalesce(unit_code, unit_text, '') AS unit,
         coalesce(unit_system = 'http://unitsofmeasure.org' AND unit_code IS NOT NULL, false) AS ucum
    FROM rows.{VALUES} WHERE value IS NOT NULL)
"""  # noqa: S608

_MEASURED = f"""{_READ},
ranges AS (SELECT system, code, unit, ucum, min(value) AS minimum, max(value) AS maximum FROM measured GROUP BY ALL),
named AS (SELECT system, code, mode(display ORDER BY display) AS name, count(DISTINCT patient) AS patients FROM measured GROUP BY ALL)
SELECT system, code, any_value(coalesce(name, '')), any_value(patients), unit, ucum, count(*),
       count(*) FILTER (value = 0), count(*) FILTER (value < low), count(*) FILTER (value > high), any_value(minimum),
       quantile_cont(value, [0.25, 0.5, 0.75]), any_value(maximum), min(abs(value)) FILTER (value <> 0),
       histogram(CASE WHEN maximum > minimum
            THEN least({BINS - 1}, CAST(floor((value - minimum) / (maximum - minimum) * {BINS}) AS INTEGER)) ELSE 0 END)
  FROM measured JOIN ranges USING (system, code, unit, ucum) JOIN named USING (system, code)
  LEFT JOIN bounds USING (loinc, unit)
 GROUP BY system, code, unit, ucum ORDER BY system, code, count(*) DESC, unit, ucum
"""  # noqa: S608

_ELSEWHERE = f"""{_READ}
SELECT loinc, unit, ucum, other.unit, count(*) FROM measured JOIN bounds AS own USING (loinc, unit) JOIN bounds AS other USING (loinc)
 WHERE other.unit <> unit AND value NOT BETWEEN own.low AND own.high AND value BETWEEN other.low AND other.high GROUP BY ALL
"""  # noqa: S608

_SYSTEMS = """
SELECT system, count(*) FROM (SELECT unnest(CASE WHEN len(system) = 0 THEN [''] ELSE system END) AS system FROM rows."{table}")
 GROUP BY system ORDER BY count(*) DESC, system
"""

_REPEATED = f"""
SELECT coalesce(sum(times - 1), 0) FROM (
  SELECT count(*) AS times FROM rows.{VALUES} WHERE patient IS NOT NULL AND value IS NOT NULL
   GROUP BY patient, moment, loinc, system, code, value, unit_code, unit_text HAVING count(*) > 1)
"""  # noqa: S608

_SAME_PATIENT = f"""
WITH told AS (
  SELECT patient, count(*) AS told,
         md5(string_agg(concat_ws('|', coalesce(loinc, code), value, unit_code, text, yes, whole), chr(10)
             ORDER BY coalesce(loinc, code), value, text, yes, whole, moment)) AS content
    FROM rows.{VALUES} WHERE patient IS NOT NULL GROUP BY patient)
SELECT coalesce(sum(times), 0) FROM (
  SELECT count(*) AS times FROM told LEFT JOIN rows.{PEOPLE} AS person ON person.id = patient
   WHERE told >= 5 GROUP BY content, gender, "birthDate" HAVING count(*) > 1)
"""  # noqa: S608

_BEFORE_BIRTH = f"""
SELECT count(*) FROM rows.{VALUES} JOIN rows.{PEOPLE} AS person ON person.id = patient
 WHERE substr(moment, 1, 4) < substr("birthDate", 1, 4)
"""  # noqa: S608
