"""Lines that are no FHIR R4 resource: each kind has its own reason, and no reason holds anything of the patient."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.database import Database
from gateway.fhir.validate import RefusedLineError, Resource, resource
from gateway.fhir.view_definition import view_definition
from gateway.fhir.views import compile_views
from tests.support.fhir_folders import condition, observation, patient, shared

NEEDED = frozenset({"Patient", "Observation", "Condition"})


def _observation(**more: Any) -> bytes:
    return json.dumps(observation("o1", "p1", **more)).encode()


def _nested(levels: int) -> bytes:
    return b'{"resourceType":"Patient","id":"p","extension":' + b'[{"url":"u","extension":' * levels + b"[]" + b"}]" * levels + b"}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (None, "too-long"),
        (b"not JSON", "not-json"),
        (b'{"resourceType":"Patient","id":"p"', "not-json"),
        (b'{"resourceType":"Patient","id":"p"} {}', "not-json"),
        (b'\xef\xbb\xbf{"resourceType":"Patient","id":"p"}', "not-json"),
        (b'{"resourceType":"Patient","id":"\xff"}', "not-utf8"),
        ('{"resourceType":"Patient","id":"p"}'.encode("utf-16"), "not-utf8"),
        (b'{"resourceType":"Patient","id":"p","id":"q"}', "duplicate-key"),
        (b'{"resourceType":"Patient","id":"p","name":[{"family":"a","family":"b"}]}', "duplicate-key"),
        (_observation(valueQuantity={"value": float("nan")}), "bad-number"),
        (_observation(valueQuantity={"value": float("-inf")}), "bad-number"),
        (_observation(valueQuantity={"value": 1}).replace(b'"value": 1', b'"value": 1e999'), "bad-number"),
        (_observation(valueInteger=1).replace(b'Integer": 1', b'Integer": ' + b"1" * 5000), "bad-number"),
        (b"[" * 5000 + b"]" * 5000, "too-deep"),
        (_nested(5000), "too-deep"),
        (_nested(70), "too-deep"),
        (b'{"resourceType":"Patient","id":"p","name":[{"family":"a\\u0000b"}]}', "control-character"),
        (b'{"resourceType":"Patient","id":"p","name":[{"family":"\\ud800"}]}', "not-fhir"),
        (b"3", "not-fhir"),
        (b'["resourceType"]', "not-fhir"),
        (b"{}", "not-fhir"),
        (b'{"resourceType":5}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"../p"}', "not-fhir"),
        (b'{"resourceType":"Patient"}', "no-id"),
        (b'{"resourceType":"Patient","id":"' + b"p" * 65 + b'"}', "no-id"),
        (b'{"resourceType":"Patient","id":"p","colour":"red"}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"p","name":{"family":"a"}}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"p","name":null}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"p","active":"yes"}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"p","active":1}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"p","birthDate":"1970-"}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"p","birthDate":"1970-13"}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"p","birthDate":"1970-02-30"}', "not-fhir"),
        (b'{"resourceType":"Patient","id":"p","birthDate":19700101}', "not-fhir"),
        (_observation(effectiveDateTime="2020-02-03T10"), "not-fhir"),
        (_observation(effectiveDateTime="2020-02-03T10:00:00"), "not-fhir"),
        (_observation(effectiveDateTime=20200101), "not-fhir"),
        (_observation(valueQuantity={"value": "72.5"}), "not-fhir"),
        (_observation(valueQuantity={"value": True}), "not-fhir"),
        (_observation(valueQuantity={"value": None}), "not-fhir"),
        (_observation(valueInteger="4"), "not-fhir"),
        (_observation(valueInteger=True), "not-fhir"),
        (_observation(valueInteger=2**40), "not-fhir"),
        (_observation(valueInteger=4, valueString="four"), "not-fhir"),
        (_observation(component=[{"code": {"text": "x"}, "valueQuantity": {"value": "1"}}]), "not-fhir"),
        (_observation(status="bogus"), "bad-code"),
        (_observation(status="entered-in-error"), "entered-in-error"),
        (b'{"resourceType":"Patient","id":"p","gender":"M"}', "bad-code"),
        (b'{"resourceType":"Patient","id":"p","name":[{"use":"main"}]}', "bad-code"),
        (
            json.dumps(
                condition(
                    "c",
                    "p",
                    clinicalStatus={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "ill"}]},
                )
            ).encode(),
            "bad-code",
        ),
        (
            json.dumps(
                condition(
                    "c",
                    "p",
                    verificationStatus={
                        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "entered-in-error"}]
                    },
                )
            ).encode(),
            "entered-in-error",
        ),
    ],
)
def test_each_kind_of_bad_line_has_its_reason(line: bytes | None, reason: str) -> None:
    with pytest.raises(RefusedLineError) as error:
        resource(line, NEEDED)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(patient("p", birthDate="1970")).encode(),
        json.dumps(patient("p", birthDate="1970-02")).encode() + b"\r\n",
        b'{"resourceType":"Patient","id":"p","name":[{"given":["a",null],"_given":[null,{"extension":[{"url":"u","valueCode":"x"}]}]}]}',
        _observation(valueQuantity={"value": 72.50, "comparator": "<"}),
        _observation(effectiveDateTime="2020-02-03T10:00:00+01:00"),
        _observation(status="corrected"),
        _nested(20),
    ],
)
def test_good_lines_are_kept_as_they_are(line: bytes) -> None:
    found = resource(line, NEEDED)
    assert found is not None
    assert found.text == line.decode().strip()


def test_types_that_no_view_asks_for_are_not_validated() -> None:
    assert resource(b'{"resourceType":"Device","anything":1}', NEEDED) is None


@pytest.mark.parametrize(("size", "valid"), [(123, True), ("123", True), (2**40, True), ("x", False), (1.5, False), (True, False)])
def test_r5_has_whole_numbers_of_64_bits(size: object, valid: bool) -> None:
    content = [{"attachment": {"contentType": "text/plain", "size": size}}]
    line = json.dumps({"resourceType": "DocumentReference", "id": "d", "status": "current", "content": content}).encode()
    if valid:
        assert resource(line, None, "R5") is not None
    else:
        with pytest.raises(RefusedLineError, match="not-fhir"):
            resource(line, None, "R5")


def test_a_reason_holds_nothing_of_the_patient() -> None:
    canary = "Zaphod-4711"
    lines = [
        json.dumps({"resourceType": "Patient", "id": "p", canary: 1}),
        json.dumps({"resourceType": "Patient", "id": "p", "gender": canary}),
        json.dumps({"resourceType": "Patient", "id": "p", "birthDate": canary}),
        json.dumps({"resourceType": "Patient", "id": "p", "name": canary}),
        f'{{"resourceType":"Patient","{canary}',
        f'{{"resourceType":"Patient","id":"{canary}","id":"{canary}"}}',
    ]
    for line in lines:
        with pytest.raises(RefusedLineError) as error:
            resource(line.encode(), NEEDED)
        assert canary not in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "code", "value", "coding", "reference", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "status", "code", "subject", "valueQuantity", "valueInteger", "effectiveDateTime", "component", "extension", "contained"]
        ),
        json_values,
        max_size=4,
    )
)
def test_any_json_is_kept_or_refused_and_duckdb_reads_what_is_kept(changes: dict[str, Any]) -> None:
    line = json.dumps({**observation("o", "p"), **changes}).encode()
    try:
        found = resource(line, NEEDED)
    except RefusedLineError:
        return
    assert isinstance(found, Resource)
    columns = [{"name": "value", "path": "value.ofType(Quantity).value"}, {"name": "status", "path": "status"}]
    database = Database(compile_views([view_definition({"name": "v", "resource": "Observation", "select": [{"column": columns}]})]))
    database.insert("Observation", [found.text])
    kept = json.loads(line)
    assert database.rows("SELECT * FROM rows.v", []) == [(kept.get("valueQuantity", {}).get("value"), kept["status"])]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_not_needed(data: bytes) -> None:
    try:
        assert resource(data, NEEDED) is None
    except RefusedLineError as error:
        assert error.reason


@pytest.mark.parametrize("site", ["site1_massachusetts", "site2_texas"])
def test_synthetic_records_as_they_come_are_valid(site: str) -> None:
    for path in sorted(shared("synthea", site).glob("*.ndjson.gz")):
        with gzip.open(path) as stream:
            for _, line in zip(range(300), stream, strict=False):
                found = resource(line, frozenset({path.name.split(".")[0]}))
                assert found is not None
