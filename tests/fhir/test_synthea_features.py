"""The sample task over a hospital's FHIR as it comes, against plain Python over the same files."""

import datetime
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import fmean, linear_regression
from typing import Any

import numpy as np
import pytest

from gateway.fhir.database import Database
from gateway.fhir.extract import Matrix, check, matrix
from gateway.fhir.units import conversion
from gateway.task_file import FeatureSection, load
from tests.support.fhir_folders import SAMPLE_TASKS, shared

TASK = load(SAMPLE_TASKS / "emergency.toml")
DAY = datetime.timedelta(days=1)
Row = tuple[datetime.datetime, float]


def _lines(folder: Path, resource: str) -> list[str]:
    with gzip.open(folder / f"{resource}.ndjson.gz", "rt", encoding="utf-8") as stream:
        return stream.read().splitlines()


@cache
def _made(folder: Path) -> Matrix:
    """Without validation, which other tests hold and which takes most of the time."""
    sql = check(TASK)
    database = Database(sql.views)
    try:
        for resource in sql.views.structures:
            lines = _lines(folder, resource)
            for start in range(0, len(lines), 5000):
                database.insert(resource, lines[start : start + 5000])
        return matrix(TASK, sql, database)
    finally:
        database.close()


def _when(moment: str) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(moment)
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


class Patients:
    """What the views of the sample say, in dictionaries of plain Python: patient → moments, or moments and values by code and unit."""

    def __init__(self, folder: Path) -> None:
        self.visits: defaultdict[str, list[tuple[datetime.datetime, str]]] = defaultdict(list)
        self.diagnoses: defaultdict[str, list[datetime.datetime]] = defaultdict(list)
        self.values: defaultdict[tuple[str, str], list[tuple[datetime.datetime, float, str]]] = defaultdict(list)
        for resource in map(json.loads, _lines(folder, "Encounter")):
            self.visits[_of(resource)].append((_when(resource["period"]["start"]), resource["class"]["code"]))
        for resource in map(json.loads, _lines(folder, "Condition")):
            if any(coding["system"] == "http://snomed.info/sct" for coding in resource["code"]["coding"]):
                self.diagnoses[_of(resource)].append(_when(resource["recordedDate"]))
        codes = [f'"{code}"' for feature in TASK.features for code in feature.where.values()]
        wanted = (line for line in _lines(folder, "Observation") if any(code in line for code in codes))
        for resource in map(json.loads, wanted):
            for part in (resource, *resource.get("component", ())):
                quantity = part.get("valueQuantity")
                for coding in part["code"]["coding"] if quantity and resource["status"] == "final" else ():
                    moment = _when(resource["issued"])
                    self.values[_of(resource), coding["code"]].append((moment, quantity["value"], quantity.get("code", "")))
        self.born = {person["id"]: _when(person["birthDate"]) for person in map(json.loads, _lines(folder, "Patient"))}

    def index(self, key: str) -> datetime.datetime | None:
        first = datetime.datetime(2022, 1, 1, tzinfo=datetime.UTC)
        return min((moment for moment, kind in self.visits[key] if kind == "AMB" and moment >= first), default=None)

    def rows(self, feature: FeatureSection, key: str, index: datetime.datetime) -> Iterator[Row]:
        """Moments before the index, inside the window, with values in the feature's unit."""
        window = datetime.timedelta(days=feature.window_days or 300 * 365)
        for moment, value, unit in self._all(feature, key):
            if moment < index and moment >= index - window:
                into = conversion(unit, feature.unit, feature.loinc) if feature.unit and feature.unit_column else None
                yield moment, value * into.factor + into.shift if into else value

    def _all(self, feature: FeatureSection, key: str) -> list[tuple[datetime.datetime, float, str]]:
        if feature.view == "measurement":
            return self.values[key, str(feature.where["code"])]
        if feature.view == "person":
            return [(self.born[key], 0.0, "")]
        if feature.view == "diagnosis":
            return [(moment, 1.0, "") for moment in self.diagnoses[key]]
        return [(moment, 1.0, "") for moment, kind in self.visits[key] if feature.view == "visit" or kind in ("EMER", "IMP")]


def _of(resource: dict[str, Any]) -> str:
    return str(resource["subject"]["reference"]).removeprefix("Patient/")


def _number(feature: FeatureSection, rows: list[Row], index: datetime.datetime) -> float | None:
    values = [value for _, value in rows]
    match feature.aggregate:
        case "count":
            return len(rows)
        case "time_since":
            return min(((index - moment) / DAY / (365.25 if feature.unit == "a" else 1) for moment, _ in rows), default=None)
        case "slope":
            if len({moment for moment, _ in rows}) < 2:
                return None
            return linear_regression([(moment - index) / DAY for moment, _ in rows], values).slope
        case "latest":
            return max(rows)[1] if rows else None
        case "mean" | "min" | "max":
            return {"mean": fmean, "min": min, "max": max}[feature.aggregate](values) if rows else None
        case other:
            raise AssertionError(other)


def test_the_sample_s_matrix_is_what_plain_python_says() -> None:
    folder = shared("synthea", "site2_texas")
    found, patients = _made(folder), Patients(folder)
    indices = {key: index for key in patients.born if (index := patients.index(key)) is not None}
    assert found.patient_keys == tuple(sorted(indices))
    urgent = {
        key: any(kind in ("EMER", "IMP") and index + DAY < moment < index + 730 * DAY for moment, kind in patients.visits[key])
        for key, index in indices.items()
    }
    assert found.labels.tolist() == [float(urgent[key]) for key in found.patient_keys]
    start = 0
    for feature in TASK.features:
        width = (len(feature.categories) or 1) + (feature.missing == "indicator")
        column = found.features[:, start : start + width]
        start += width
        if feature.categories or feature.low is None or feature.high is None:
            continue
        wanted = []
        for key in found.patient_keys:
            number = _number(feature, list(patients.rows(feature, key, indices[key])), indices[key])
            scaled = 0.0 if number is None else 2 * (number - feature.low) / (feature.high - feature.low) - 1
            wanted.append([max(-1.0, min(1.0, scaled)), *([float(number is None)] if feature.missing == "indicator" else [])])
        assert column == pytest.approx(np.array(wanted), abs=2e-6), feature.name


def test_every_row_is_accounted_for() -> None:
    for quality in _made(shared("synthea", "site2_texas")).qualities:
        assert quality.rows.read == quality.rows.kept + sum(quality.rows.dropped.values()) > 0
        assert not quality.foreign_units
