"""Our compiler against an independent interpreter, on real resources, on those of Synthea, and on generated ones, in FHIR R4 and R5."""

import gzip
import json
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.elements import FhirVersion
from gateway.fhir.view_definition import view_definition
from gateway.fhir.views import Views, compile_views
from tests.support.compiled_views import compiled_rows
from tests.support.fhir_folders import SHARED_DATA
from tests.support.plain_views import PlainViews

PER_FILE = 100
"""Resources taken of each file: the interpreter is slow."""


def column(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "path": path, **more}


KEY = column("id", "getResourceKey()")
VIEWS: dict[str, dict[str, Any]] = {
    "measured values": {
        "resource": "Observation",
        "where": [{"path": "status = 'final' or status = 'amended'"}, {"path": "value.ofType(Quantity).exists()"}],
        "select": [
            {
                "column": [
                    KEY,
                    column("patient", "subject.getReferenceKey(Patient)"),
                    column("codes", "code.coding.code", collection=True),
                    column("loinc", "code.coding.where(system = 'http://loinc.org').code.first()"),
                    column("value", "value.ofType(Quantity).value"),
                    column("unit", "value.ofType(Quantity).code"),
                    column("high", "value.ofType(Quantity).value > 100"),
                    column("twice", "value.ofType(Quantity).value * 2 + 1"),
                    column("at", "effective.ofType(dateTime)"),
                ]
            }
        ],
    },
    "components": {
        "resource": "Observation",
        "select": [
            {"column": [KEY, column("in_all", "component.exists()")]},
            {
                "forEachOrNull": "component",
                "column": [
                    column("part", "code.coding.code.first()"),
                    column("part_value", "value.ofType(Quantity).value"),
                    column("answer", "value.ofType(CodeableConcept).text"),
                ],
            },
        ],
    },
    "categories": {
        "resource": "Observation",
        "select": [
            {"column": [KEY]},
            {"forEach": "category", "select": [{"forEach": "coding", "column": [column("category", "code"), column("of", "system")]}]},
        ],
    },
    "people": {
        "resource": "Patient",
        "where": [{"path": "birthDate.exists()"}],
        "select": [
            {
                "column": [
                    KEY,
                    column("born", "birthDate"),
                    column("gender", "gender"),
                    column("family", "name.where(use = 'official').family.first()"),
                    column("given", "name.first().given.join(' ')"),
                    column("alive", "deceased.ofType(boolean).empty()"),
                    column("identifiers", "identifier.value", collection=True),
                    column("birth_sex", "extension('http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex').value.ofType(code)"),
                    column("state", "address.first().state"),
                    column("married", "maritalStatus.coding.exists(code = 'M')"),
                ]
            }
        ],
    },
    "telecoms and addresses": {
        "resource": "Patient",
        "select": [
            {"column": [KEY]},
            {
                "unionAll": [
                    {"forEach": "telecom", "column": [column("kind", "system"), column("content", "value")]},
                    {"forEach": "address", "column": [column("kind", "use"), column("content", "city")]},
                ]
            },
        ],
    },
    "conditions": {
        "resource": "Condition",
        "where": [{"path": "clinicalStatus.coding.exists(code = 'active' or code = 'resolved')"}],
        "select": [
            {
                "column": [
                    KEY,
                    column("patient", "subject.getReferenceKey(Patient)"),
                    column("code", "code.coding.first().code"),
                    column("text", "code.text"),
                    column("onset", "onset.ofType(dateTime)"),
                    column("over", "abatement.ofType(dateTime).exists() and clinicalStatus.coding.code.first() != 'active'"),
                ]
            }
        ],
    },
    "encounters": {
        "resource": "Encounter",
        "select": [
            {"column": [KEY, column("done", "status = 'finished'")]},
            {"forEachOrNull": "type", "column": [column("type", "coding.code.first()"), column("told", "text")]},
        ],
    },
}


@cache
def compiled_view(name: str, version: FhirVersion) -> Views:
    return compile_views([view_definition({"name": "tested", **VIEWS[name]})], version)


def comparable(rows: list[dict[str, Any]]) -> list[str]:
    """Rows without their order; numbers to twelve digits, and an empty collection is no value."""
    return sorted(json.dumps({name: plain(value) for name, value in sorted(row.items())}) for row in rows)


def plain(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{float(value):.12g}"
    return [plain(each) for each in value] or None if isinstance(value, list) else value


def folders() -> list[Path]:
    return sorted(path for root in ("heart", "synthea") for path in (SHARED_DATA / root).glob("*") if any(path.glob("*.ndjson.gz")))


def resources_of(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("*.ndjson.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found += [json.loads(line) for line in islice(lines, PER_FILE)]
    return found


@pytest.mark.skipif(not folders(), reason="the shared test data are missing: no ../shared/data/heart or synthea beside the repository")
@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_real_resources(folder: Path) -> None:
    resources, oracle = resources_of(folder), PlainViews("R4")
    compared = 0
    for name, view in VIEWS.items():
        expected = list(oracle.rows(view, resources))
        assert comparable(compiled_rows(compiled_view(name, "R4"), resources)) == comparable(expected), name
        compared += len(expected)
    assert compared > PER_FILE


codes = st.sampled_from(["1742-6", "2093-3", "M", "active", "resolved", "", "O'Brien", '"', "é"]).filter(bool)
systems = st.sampled_from(["http://loinc.org", "http://snomed.info/sct", "urn:local"])
dates = st.sampled_from(["2020", "2020-02", "2020-02-29", "2020-02-29T10:00:00Z", "2020-02-29T10:00:00.5+01:00"])
numbers = st.one_of(st.integers(-1000, 1000), st.decimals(-1000, 1000, places=3, allow_nan=False).map(float))


def some(**elements: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of these elements; a list that would be empty is absent, as FHIR wants it."""
    return st.fixed_dictionaries({}, optional=elements).map(lambda found: {name: value for name, value in found.items() if value != []})


def many(element: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(element, max_size=3)


coding = some(system=systems, code=codes)
concept = some(coding=many(coding), text=codes)
quantity = some(value=numbers, code=codes, unit=codes)
component = some(code=concept, valueQuantity=quantity, valueCodeableConcept=concept).filter(
    lambda found: not {"valueQuantity", "valueCodeableConcept"} <= found.keys()
)
observation = some(
    status=st.sampled_from(["final", "amended", "corrected", "unknown"]),
    code=concept,
    category=many(concept),
    subject=st.sampled_from([{"reference": "Patient/p1"}, {"reference": "Group/g1"}, {"display": "somebody"}]),
    valueQuantity=quantity,
    effectiveDateTime=dates,
    component=many(component),
)
patient = some(
    birthDate=st.sampled_from(["1950", "1950-01", "1950-01-31"]),
    gender=st.sampled_from(["male", "female", "other", "unknown"]),
    name=many(some(use=st.sampled_from(["official", "usual"]), family=codes, given=many(codes))),
    deceasedBoolean=st.booleans(),
    identifier=many(some(value=codes)),
    telecom=many(some(system=codes, value=codes)),
    address=many(some(use=codes, city=codes, state=codes)),
    maritalStatus=concept,
)
condition = some(
    clinicalStatus=concept, code=concept, subject=st.just({"reference": "Patient/p1"}), onsetDateTime=dates, abatementDateTime=dates
)


def numbered(kind: str, content: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(content, max_size=4).map(
        lambda all_: [{"resourceType": kind, "id": f"r{number}", **each} for number, each in enumerate(all_)]
    )


@pytest.mark.parametrize("version", ["R4", "R5"])
@given(
    resources=st.tuples(numbered("Observation", observation), numbered("Patient", patient), numbered("Condition", condition)).map(
        lambda parts: [resource for part in parts for resource in part]
    )
)
@settings(deadline=None, max_examples=10)
def test_generated_resources(version: FhirVersion, resources: list[dict[str, Any]]) -> None:
    oracle = PlainViews(version)
    for name, view in VIEWS.items():
        assert comparable(compiled_rows(compiled_view(name, version), resources)) == comparable(list(oracle.rows(view, resources))), name
