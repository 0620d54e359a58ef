"""The quick yes is never wrong: what it accepts, the exact check accepts as the same resource; and real lines take the quick way."""

import gzip
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir import validate
from gateway.fhir.acceptor import accept
from gateway.fhir.elements import FhirVersion, required
from tests.support.fhir_folders import condition, observation, patient, shared

CODING = {"system": "http://loinc.org", "code": "4548-4", "display": 'Hämoglobin "A1c"', "userSelected": True}
MEDICATION = {"resourceType": "MedicationRequest", "id": "m", "status": "active", "intent": "order", "subject": {"reference": "Patient/p"}}
R4 = [
    patient("p", birthDate="1970-02-28", deceasedBoolean=False, name=[{"use": "official", "family": "a\\b", "given": ["x", "y"]}]),
    patient("q", extension=[{"url": "u", "extension": [{"url": "v", "valueCoding": CODING}, {"url": "w", "valueDecimal": -1.5e-7}]}]),
    observation("o", "p", effectiveDateTime="2016-10-07T19:53:43.3+00:00", valueQuantity={"value": 6.39, "unit": "%", "comparator": "<"}),
    observation(
        "o", "p", issued="2016-02-28T19:53:43Z", component=[{"code": {"coding": [CODING]}, "valueInteger": 4}], note=[{"text": "n"}]
    ),
    observation("o", "p", effectivePeriod={"start": "2016", "end": "2017-01"}, valueString=" ", referenceRange=[{"low": {"value": 1}}]),
    condition(
        "c", "p", clinicalStatus={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}
    ),
    {**MEDICATION, "medicationCodeableConcept": {"text": "x"}, "dosageInstruction": [{"sequence": 1, "asNeededBoolean": True}]},
    {
        "resourceType": "Encounter",
        "id": "e",
        "status": "finished",
        "class": {"code": "AMB"},
        "participant": [{"period": {"start": "2016"}}],
    },
    {
        "resourceType": "Questionnaire",
        "id": "f",
        "status": "draft",
        "item": [{"linkId": "1", "type": "group", "item": [{"linkId": "2", "type": "string"}]}],
    },
]
R5: list[dict[str, Any]] = [
    {**MEDICATION, "medication": {"concept": {"text": "x"}}},
    {"resourceType": "Encounter", "id": "e", "status": "completed", "actualPeriod": {"start": "2016"}},
    {"resourceType": "Subscription", "id": "s", "status": "active", "topic": "t", "channelType": {"code": "x"}, "maxCount": 3},
]
RELEASES: dict[FhirVersion, list[dict[str, Any]]] = {"R4": R4, "R5": R5}
EXAMPLES = [(version, each) for version, resources in RELEASES.items() for each in resources]

LITERALS = [
    *(
        "null",
        "true",
        "0",
        "-0",
        "1",
        "-1",
        "1.0",
        "2147483648",
        "1e2",
        "1e999",
        "-0.0",
        "5e-324",
        "1" * 40,
        "NaN",
        "01",
        "1.",
        "[]",
        "{}",
        "[null]",
        "[[]]",
    ),
    *(
        '""',
        '" "',
        '"\\f"',
        '"\\u00e9"',
        '"\u00a0"',
        '"a\u2003b"',
        '"\x7f"',
        '"\\/"',
        '"\x1f"',
        '"a b"',
        '"a  b"',
        '" a"',
        '"a\\nb"',
        '"true"',
        '"1"',
    ),
    *(
        '"entered-in-error"',
        '"final"',
        '"Patient/p"',
        '"../p"',
        '"' + "x" * 65 + '"',
        '{"extension":[]}',
        '{"a":1}',
        '"http://a/b"',
        '"urn:uuid:x"',
    ),
    *(
        '"2016"',
        '"2016-13"',
        '"2015-02-29"',
        '"2016-02-29"',
        '"2016-04-31"',
        '"0000"',
        '"0001-01-01"',
        '"2016-01-01T24:00:00Z"',
        '"2016-01-01T10:00"',
    ),
    *(
        '"2016-12-31T23:59:60Z"',
        '"2016-01-01T10:00:00"',
        '"2016-01-01T10:00:00-00:00"',
        '"2016-01-01T10:00:00+14:00"',
        '"2016-01-01T10:00:00+13:59"',
    ),
    *(
        '"2016-01-01T10:00:00.1234567Z"',
        '"2016-01-01T10:00:00.123456Z"',
        '"2016-01-01t10:00:00z"',
        '"\u0662016-01-01"',
        '"2016-01-01\\n"',
        '"2016-01"',
    ),
]
KEYS = [
    "id",
    "extension",
    "resourceType",
    "resource_type",
    "valueString",
    "valueInteger",
    "valueUrl",
    "_status",
    "status",
    "contained",
    "fhir_comments",
    "text",
]


def exactly(line: bytes, version: FhirVersion) -> object:
    """What the exact check alone makes of a line."""
    with mock.patch.object(validate, "accept", return_value=None):
        try:
            return validate.resource(line, None, version)
        except validate.RefusedLineError as error:
            return error.reason


def both(text: str, version: FhirVersion) -> bool:
    """Whether `text` is accepted at once, which it may only be if the exact check accepts it."""
    line = text.encode()
    accepted = accept(text.strip(), version)
    if accepted is not None:
        assert exactly(line, version) == validate.Resource(*accepted, text.strip())
    return accepted is not None


@pytest.mark.parametrize(("version", "resource"), EXAMPLES, ids=lambda value: value if isinstance(value, str) else value["resourceType"])
def test_usual_resources_are_accepted_at_once(version: FhirVersion, resource: dict[str, Any]) -> None:
    assert both(json.dumps(resource, ensure_ascii=False), version)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in pairs for place in places(child, (*path, key)))]


def written(value: Any, change: dict[tuple[Any, ...], str], path: tuple[Any, ...] = ()) -> str:
    """JSON with texts in the place of some values, which need not be JSON; a text that begins with a comma comes after the value."""
    if isinstance(value, dict):
        text = "{" + ",".join(f"{json.dumps(key)}:{written(child, change, (*path, key))}" for key, child in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ",".join(written(child, change, (*path, index)) for index, child in enumerate(value)) + "]"
    else:
        text = json.dumps(value, ensure_ascii=False)
    changed = change.get(path, text)
    return text + changed if changed.startswith(",") else changed


@st.composite
def changed_lines(draw: st.DrawFn) -> tuple[str, FhirVersion]:
    version, resource = draw(st.sampled_from(EXAMPLES))
    place = draw(st.sampled_from(places(resource)[1:]))
    literal = st.sampled_from(LITERALS)
    added = st.builds(lambda key, value: f',"{key}":{value}', st.sampled_from([*KEYS, str(place[-1])]), literal)
    change = {place: draw(literal | added)}
    if draw(st.booleans()):
        resource = {key: child for key, child in resource.items() if key != draw(st.sampled_from(sorted(resource)))}
    return written(resource, change), version


@settings(max_examples=1500, deadline=None)
@given(changed_lines())
def test_what_is_accepted_is_valid(case: tuple[str, FhirVersion]) -> None:
    both(*case)


def test_every_literal_in_every_place_of_an_observation() -> None:
    resource = R4[2]
    counts = Counter(
        both(written(resource, {place: literal}), "R4") for place, literal in itertools.product(places(resource)[1:], LITERALS)
    )
    assert counts[True] > 100
    assert counts[False] > 400


@pytest.mark.parametrize(
    "text",
    [
        '{"resourceType":"Patient","id":"p","id":"p"}',
        '{"resourceType":"Patient","id":"p","name":[{"family":"a","family":"a"}]}',
        '{"resourceType":"Patient","resourceType":"Patient","id":"p"}',
        '{"resourceType":"Patient","id":"p","deceasedBoolean":true,"deceasedDateTime":"2016"}',
        '{"resourceType":"Patient","id":"p","name":[{"family":"\\u0000"}]}',
        '{"resourceType":"Patient","id":"p","contained":[]}',
        '{"resourceType":"Quantity","id":"p","value":1}',
        '{"resourceType":"Patient","id":"p","extension":' + '[{"url":"u","extension":' * 33 + "[]" + "}]" * 33 + "}",
        json.dumps(R4[5]).replace('"active"', '"ill"'),
        '{"resourceType":"Patient","id":"p","extension":' + '[{"url":"u","extension":' * 5000 + "[]" + "}]" * 5000 + "}",
        '{"resourceType":"MedicationRequest","id":"m","status":"active","intent":"order","subject":{}}',
        "",
    ],
)
def test_what_needs_a_closer_look_is_not_accepted(text: str) -> None:
    assert accept(text, "R4") is None or both(text, "R4")


def test_a_repeated_key_is_never_accepted() -> None:
    for version, resource in EXAMPLES:
        for place in places(resource)[1:]:
            if isinstance(place[-1], str):
                again = written(resource, {place: f',"{place[-1]}":{json.dumps(place[-1])}'})
                assert accept(again, version) is None


def test_needed_elements_are_known() -> None:
    assert required("Observation", "R4") == {"status", "code"}
    assert required("MedicationRequest", "R4") == {"status", "intent", "subject", "medication"}


@pytest.mark.parametrize("site", ["site1_massachusetts", "site2_texas"])
def test_synthetic_records_are_accepted_at_once(site: str) -> None:
    """And every line of both hospitals that is, one in fifty, is what the exact check says it is."""
    accepted: Counter[bool] = Counter()
    for path in sorted(shared("synthea", site).glob("*.ndjson.gz")):
        accepted.update(
            both(text, "R4") if number % 50 == 0 else accept(text, "R4") is not None for number, text in enumerate(_texts(path))
        )
    assert accepted[True] > 0.95 * accepted.total()


def _texts(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [line.strip() for line in stream]
