"""What `consortium bench fhir` runs: the product, and beside it what one would write in Python with the libraries there are.

A peer does at most what the product does: it checks less, converts no units, and keeps no account of what it left out.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from gateway.fhir.elements import model
from gateway.fhir.extract import extract
from gateway.fhir.sources import Line, files, lines
from gateway.fhir.store import StorePlace
from gateway.fhir.validate import RefusedLineError, resource
from gateway.fhir.view_rows import view_rows
from gateway.fhir.views import compile_views
from gateway.task_file import TaskFile

Kind = Literal["view", "matrix", "validate"]
KINDS: tuple[Kind, ...] = ("view", "matrix", "validate")

_LOINC = "http://loinc.org"
_LABS = {
    "2339-0": ("mg/dL", 30, 600),
    "6299-2": ("mg/dL", 1, 200),
    "38483-4": ("mg/dL", 0.1, 30),
    "49765-1": ("mg/dL", 4, 20),
    "2947-0": ("mmol/L", 100, 180),
    "6298-4": ("mmol/L", 1, 10),
    "2069-3": ("mmol/L", 50, 150),
    "20565-8": ("mmol/L", 5, 60),
    "29463-7": ("kg", 1, 400),
    "8867-4": ("/min", 20, 300),
    "9279-1": ("/min", 4, 80),
    "8302-2": ("cm", 20, 250),
    "39156-5": ("kg/m2", 5, 100),
    "4548-4": ("%", 2, 20),
    "2093-3": ("mg/dL", 50, 500),
    "2571-8": ("mg/dL", 20, 2000),
    "18262-6": ("mg/dL", 10, 400),
    "2085-9": ("mg/dL", 5, 200),
    "718-7": ("g/dL", 2, 25),
    "33914-3": ("mL/min", 1, 250),
}
"""Twenty frequent measurements: LOINC code → unit and bounds."""

_FEW = 1000
"""Lines of each file that a slow peer gets: its time grows with the lines."""


@dataclass(frozen=True)
class Tool:
    """`run` does the work on a folder and returns how many resources it did; `scales` where a larger input is measured as well."""

    what: Kind
    name: str
    run: Callable[[Path], int]
    peer: bool = False
    scales: bool = False


def _all_lines(folder: Path) -> Iterator[Line]:
    for path in files(folder):
        yield from lines(path)


def _view() -> dict[str, Any]:
    columns = {
        "patient": "subject.getReferenceKey(Patient)",
        "code": f"code.coding.where(system = '{_LOINC}').code.first()",
        "at": "effective.ofType(dateTime)",
        "value": "value.ofType(Quantity).value",
        "unit": "value.ofType(Quantity).code",
    }
    return {
        "name": "lab",
        "resource": "Observation",
        "select": [{"column": [{"name": name, "path": path} for name, path in columns.items()]}],
    }


def task() -> TaskFile:
    """A task of twenty features, each the mean of one measurement."""
    people = [{"name": "patient", "path": "getResourceKey()"}, {"name": "gender", "path": "gender"}]
    features = [
        {
            "name": f"loinc_{code.replace('-', '_')}",
            "view": "lab",
            "column": "value",
            "where": {"code": code},
            "unit": unit,
            "unit_column": "unit",
            "loinc": code,
            "low": low,
            "high": high,
        }
        for code, (unit, low, high) in _LABS.items()
    ]
    sections = {
        "task": {"title": "Twenty measurements", "purpose": "measuring", "reward_tokens": 10, "minimum_hospitals": 3, "rounds": 2},
        "views": [{"name": "person", "resource": "Patient", "select": [{"column": people}]}, _view()],
        "cohort": {"view": "person", "minimum_patients": 2},
        "features": features,
        "label": {"name": "female", "view": "person", "column": "gender", "positive": ["female"]},
        "model": {"kind": "logistic_regression"},
        "training": {"sampling_rate": 1.0, "learning_rate": 1.0},
        "privacy": {"epsilon": 3.0, "delta": 1e-4, "clip": 1.0, "score_epsilon": 3.0},
    }
    return TaskFile.model_validate(sections)


def _our_rows(folder: Path) -> int:
    (_, lab) = task().views
    return sum(map(len, view_rows(compile_views([lab]), folder)))


def _our_first_matrix(folder: Path) -> int:
    """Nothing is known of the files; what is found is kept."""
    _store(folder).path.unlink(missing_ok=True)
    return _our_matrix(folder)


def _our_matrix(folder: Path) -> int:
    return extract(task(), folder, quarantine=None, store=_store(folder)).report.lines.read


def _store(folder: Path) -> StorePlace:
    return StorePlace(folder / "validated.sqlite", values=True)


def _our_verdicts(folder: Path) -> int:
    count = 0
    for line in _all_lines(folder):
        count += 1
        try:
            resource(line.data, None)
        except RefusedLineError:
            continue
    return count


def _json_rows(folder: Path) -> int:
    return sum(1 for each in _json(folder) if _row(each) is not None)


def _json_matrix(folder: Path) -> int:
    """The mean of each measurement for each patient, in any unit."""
    values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    count = 0
    for each in _json(folder):
        count += 1
        row = _row(each)
        if row is not None and row["code"] in _LABS and row["value"] is not None:
            values[row["patient"], row["code"]].append(row["value"])
    means = {key: fmean(found) for key, found in values.items()}
    for patient in sorted({patient for patient, _ in means}):
        [means.get((patient, code)) for code in _LABS]
    return count


def _json(folder: Path) -> Iterator[dict[str, Any]]:
    for line in _all_lines(folder):
        yield json.loads(line.data or b"{}")


def _row(found: dict[str, Any]) -> dict[str, Any] | None:
    if found.get("resourceType") != "Observation":
        return None
    quantity = found.get("valueQuantity", {})
    return {
        "patient": found.get("subject", {}).get("reference", "").removeprefix("Patient/"),
        "code": next((coding.get("code") for coding in found["code"].get("coding", ()) if coding.get("system") == _LOINC), None),
        "at": found.get("effectiveDateTime"),
        "value": quantity.get("value"),
        "unit": quantity.get("code"),
    }


def _fhir_resources_verdicts(folder: Path) -> int:
    count = 0
    for path in files(folder):
        for line in islice(lines(path), _FEW):
            count += 1
            try:
                model(json.loads(line.data or b"{}")["resourceType"], "R4").model_validate_json(line.data)
            except (ValueError, KeyError):  # no resource
                continue
    return count


TOOLS = (
    Tool("view", "consortium", _our_rows, scales=True),
    Tool("view", "Python's json", _json_rows, peer=True),
    Tool("matrix", "consortium, first reading", _our_first_matrix, scales=True),
    Tool("matrix", "consortium, from the store", _our_matrix, scales=True),  # of the reading before
    Tool("matrix", "Python's json", _json_matrix, peer=True),
    Tool("validate", "consortium", _our_verdicts),
    Tool("validate", "fhir.resources", _fhir_resources_verdicts, peer=True),
)
