"""The public conformance tests of SQL-on-FHIR: every one, shareable or experimental, gives the expected rows, in FHIR R4 and R5."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import DataError, ViewError
from gateway.fhir.view_definition import view_definition
from gateway.fhir.views import compile_views
from tests.support.compiled_views import compiled_rows
from tests.support.fhir_folders import SHARED_DATA

SUITE = SHARED_DATA / "sql_on_fhir_tests"


def _cases() -> Iterator[Any]:
    for path in sorted(SUITE.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        for number, case in enumerate(document.get("tests", ())):
            yield pytest.param(document["resources"], case, id=f"{path.stem}-{number}-{case['title']}")


CASES = list(_cases())


def _rows(resources: list[dict[str, Any]], view: dict[str, Any], version: FhirVersion) -> list[dict[str, Any]]:
    return compiled_rows(compile_views([view_definition({"name": "tested", **view})], version), resources)


def _comparable(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Rows without their order; 5 equals 5.0."""
    return sorted(json.dumps([_plain(row.get(name)) for name in names]) for row in rows)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.skipif(not CASES, reason="the shared test data are missing: no ../shared/data/sql_on_fhir_tests beside the repository")
@pytest.mark.parametrize("version", ["R4", "R5"])
@pytest.mark.parametrize(("resources", "case"), CASES)
def test_the_expected_rows(resources: list[dict[str, Any]], case: dict[str, Any], version: FhirVersion) -> None:
    if case.get("expectError"):
        with pytest.raises((ViewError, DataError, ValidationError)):
            _rows(resources, case["view"], version)
        return
    rows = _rows(resources, case["view"], version)
    if "expectCount" in case:
        assert len(rows) == case["expectCount"]
        return
    names = list(rows[0]) if rows else []
    assert set(names) <= {name for row in case["expect"] for name in row}
    assert _comparable(rows, names) == _comparable(case["expect"], names)
    if "expectColumns" in case:
        assert names == case["expectColumns"]


@pytest.mark.skipif(not CASES, reason="the shared test data are missing: no ../shared/data/sql_on_fhir_tests beside the repository")
def test_the_suite_is_whole() -> None:
    assert len(CASES) == 134
