"""Small FHIR folders and task files for tests."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SAMPLE_TASKS = Path(__file__).resolve().parents[2] / "deploy" / "samples" / "tasks"

LAB = "urn:test:lab"

TASK = """
[task]
title = "A test task"
purpose = "testing"
reward_tokens = 10
minimum_hospitals = 3
rounds = 2

[[views]]
name = "person"
resource = "Patient"
[[views.select]]
column = [
    { name = "patient", path = "getResourceKey()" },
    { name = "born", path = "birthDate" },
    { name = "gender", path = "gender" },
]

[[views]]
name = "lab"
resource = "Observation"
[[views.select]]
column = [
    { name = "patient", path = "subject.getReferenceKey(Patient)" },
    { name = "code", path = "code.coding.code.first()" },
    { name = "value", path = "value.ofType(Quantity).value" },
    { name = "text", path = "value.ofType(string)" },
    { name = "at", path = "effective.ofType(dateTime)" },
]

[[views]]
name = "disease"
resource = "Condition"
select = [{ column = [{ name = "patient", path = "subject.getReferenceKey(Patient)" }] }]

[cohort]
view = "person"
minimum_patients = 2

[label]
name = "disease"
view = "disease"

[model]
kind = "logistic_regression"

[training]
sampling_rate = 1.0
learning_rate = 1.0

[privacy]
epsilon = 3.0
delta = 1e-4
clip = 1.0
score_epsilon = 3.0

[[features]]
name = "glucose"
view = "lab"
column = "value"
where = { code = "glucose" }
low = 0
high = 10
missing = "indicator"
"""


def shared(*parts: str) -> Path:
    """A folder of the shared test data; skips the test where the checkout has none."""
    path = SHARED_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared test data are missing: no {'/'.join(('../shared/data', *parts))} beside the repository")
    return path


def patient(key: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": key, **more}


def observation(key: str, of: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": key,
        "status": "final",
        "code": {"coding": [{"system": LAB, "code": "glucose"}]},
        "subject": {"reference": f"Patient/{of}"},
        **more,
    }


def condition(key: str, of: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": key, "code": {"text": "disease"}, "subject": {"reference": f"Patient/{of}"}, **more}


def small_hospital() -> list[dict[str, Any]]:
    """Four patients, two of them ill, three of them measured."""
    return [
        *(patient(key) for key in ("d", "b", "a", "c")),
        *(observation(f"o{key}", key, valueQuantity={"value": value}) for key, value in (("a", 0), ("b", 5), ("c", 10))),
        condition("x", "b"),
        condition("y", "d"),
    ]


def write(folder: Path, resources: Iterable[Mapping[str, Any] | str], name: str = "all.ndjson") -> Path:
    """Write resources, or lines as they are, to one file of `folder`; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (line if isinstance(line, str) else json.dumps(line) for line in resources)
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


ONSET = """
[[views]]
name = "onset"
resource = "Condition"
[[views.select]]
column = [
    { name = "patient", path = "subject.getReferenceKey(Patient)" },
    { name = "at", path = "onset.ofType(dateTime)" },
]
"""
"""A view of diagnoses with their dates, for a task's `[[views]]`."""


def spoilt(document: str, old: str, new: str) -> bytes:
    """A task file with one thing changed, which must stand in it."""
    assert old in document
    return document.replace(old, new, 1).encode()
