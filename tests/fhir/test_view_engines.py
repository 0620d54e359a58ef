"""Views by Pathling on Spark: the same rows as by DuckDB, and a sentence where the machine lacks what it needs."""

import json
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import InputError
from gateway.fhir import pathling_views
from gateway.fhir.errors import DataError, ViewError
from gateway.fhir.view_definition import ViewDefinition, view_definition
from gateway.fhir.view_engines import ViewEngine, view_engine
from tests.support.fhir_folders import observation, patient, shared

PATIENTS = {
    "name": "patients",
    "resource": "Patient",
    "select": [
        {"column": [{"name": "key", "path": "getResourceKey()"}, {"name": "born", "path": "birthDate"}]},
        {"forEachOrNull": "name.where(use = 'official')", "column": [{"name": "given", "path": "given", "collection": True}]},
    ],
    "where": [{"path": "gender = 'female'"}],
}
LABS = {
    "name": "labs",
    "resource": "Observation",
    "constant": [{"name": "system", "valueString": "http://loinc.org"}],
    "select": [
        {
            "column": [
                {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
                {"name": "code", "path": "code.coding.where(system = %system).code.first()"},
                {"name": "value", "path": "value.ofType(Quantity).value"},
                {"name": "unit", "path": "value.ofType(Quantity).unit"},
                {"name": "coded", "path": "value.ofType(CodeableConcept).exists()"},
            ]
        }
    ],
}
CONDITIONS = {
    "name": "conditions",
    "resource": "Condition",
    "select": [
        {"column": [{"name": "patient", "path": "subject.getReferenceKey()"}, {"name": "since", "path": "onset.ofType(dateTime)"}]},
        {"forEach": "code.coding", "column": [{"name": "code", "path": "code"}, {"name": "text", "path": "display"}]},
    ],
}


@pytest.fixture(scope="module")
def pathling() -> ViewEngine:
    lacking = pathling_views.missing()
    if lacking is not None:
        pytest.skip(lacking)
    return view_engine("pathling")


def six_places(text: str) -> str:
    """Pathling keeps decimals to six places."""
    return str(Decimal(text).quantize(Decimal("1e-6"), ROUND_HALF_UP))


def rows(engine: ViewEngine, view: ViewDefinition, folder: Path) -> list[str]:
    texts = (json.dumps(json.loads(row, parse_float=six_places)) for batch in engine.rows(view, folder, "R4") for row in batch)
    return sorted(texts)


def ndjson(folder: Path, resources: list[dict[str, Any]]) -> Path:
    (folder / "all.ndjson").write_text("".join(f"{json.dumps(resource)}\n" for resource in resources))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("view", [PATIENTS, LABS, CONDITIONS], ids=lambda view: str(view["name"]))
def test_both_engines_give_the_same_rows(pathling: ViewEngine, tmp_path: Path, view: dict[str, Any]) -> None:
    source = shared("synthea", "site2_texas") / f"{view['resource']}.ndjson.gz"
    (tmp_path / source.name).symlink_to(source)
    definition = view_definition(view)
    found = rows(pathling, definition, tmp_path)
    assert len(found) > 100
    assert found == rows(view_engine("duckdb"), definition, tmp_path)


@pytest.mark.slow
def test_several_types_in_a_file_and_values_that_are_missing(pathling: ViewEngine, tmp_path: Path) -> None:
    measured = observation("o2", "b", valueQuantity={"value": 7.25, "unit": "mmol/L"})
    folder = ndjson(tmp_path, [patient("a", gender="female"), observation("o1", "a"), measured])
    found = rows(pathling, view_definition(LABS), folder)
    assert len(found) == 2
    assert found == rows(view_engine("duckdb"), view_definition(LABS), folder)


@pytest.mark.slow
def test_a_line_that_is_no_resource_is_named(pathling: ViewEngine, tmp_path: Path) -> None:
    (tmp_path / "all.ndjson").write_text(json.dumps(patient("a")) + "\n{\n")
    with pytest.raises(DataError, match=r"all\.ndjson, line 2: not JSON"):
        rows(pathling, view_definition(PATIENTS), tmp_path)


@pytest.mark.slow
def test_what_pathling_refuses_is_one_sentence_that_names_the_view(pathling: ViewEngine, tmp_path: Path) -> None:
    view = view_definition(
        {"name": "edges", "resource": "Patient", "select": [{"column": [{"name": "low", "path": "birthDate.lowBoundary()"}]}]}
    )
    with pytest.raises(ViewError, match=r"^view edges: Pathling does not evaluate it: [^\n]*lowBoundary[^\n]*$"):
        rows(pathling, view, ndjson(tmp_path, [patient("a", birthDate="1980")]))


@pytest.mark.slow
def test_files_and_releases_that_pathling_does_not_read_are_refused(pathling: ViewEngine, tmp_path: Path) -> None:
    view = view_definition(PATIENTS)
    (tmp_path / "one.json").write_text(json.dumps(patient("a")))
    with pytest.raises(DataError, match=r"one\.json is another; use the engine duckdb"):
        rows(pathling, view, tmp_path)
    with pytest.raises(ViewError, match="view patients: Pathling reads FHIR R4, not R5"):
        list(pathling.rows(view, tmp_path, "R5"))


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"need the package pathling; install it with `pip install consortium-gateway\[spark\]`"):
        view_engine("pathling")


@pytest.mark.parametrize(
    ("version", "has"), [("17.0.15", "the one found is 17"), ("25.0.1", "the one found is 25"), (None, "none was found")]
)
def test_a_java_that_cannot_run_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None, has: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if version is not None:
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "java"
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        program.chmod(0o755)
    with pytest.raises(InputError, match=f"need Java 21, and {has}"):
        view_engine("pathling")
