"""The same resources in any wrapping are the same data: plain, gzip, zstd, Bundle; a file that was cut is noticed."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.content import ContentDigest
from gateway.fhir.errors import DataError
from gateway.fhir.extract import extract
from gateway.fhir.seen import Keys, Seen, keys
from gateway.fhir.sources import lines
from gateway.fhir.view_definition import view_definition
from gateway.fhir.view_rows import view_rows
from gateway.fhir.views import compile_views
from gateway.task_file import parse
from tests.support.fhir_folders import TASK, observation, patient, small_hospital

Write = Callable[[Path, list[dict[str, Any]]], object]

VIEW = compile_views(
    [
        view_definition(
            {
                "name": "lab",
                "resource": "Observation",
                "select": [
                    {
                        "column": [
                            {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
                            {"name": "value", "path": "value.ofType(Quantity).value"},
                        ]
                    }
                ],
            }
        )
    ]
)


def _text(resources: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(resource, separators=(",", ":")).encode() + b"\n" for resource in resources)


def _bundle(resources: list[dict[str, Any]], kind: str) -> bytes:
    entries = [{"fullUrl": f"http://h/{each['resourceType']}/{each['id']}", "resource": each} for each in resources]
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries}, indent=1).encode()


def _transaction(resources: list[dict[str, Any]]) -> bytes:
    """As systems write it: entries without ids, referring to each other by uuid."""
    text = json.dumps(resources)
    for each in resources:
        text = text.replace(f'"{each["resourceType"]}/{each["id"]}"', f'"urn:uuid:{each["id"]}"')
    entries = [{"fullUrl": f"urn:uuid:{each.pop('id')}", "resource": each, "request": {"method": "POST"}} for each in json.loads(text)]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


WRAPPINGS: dict[str, Write] = {
    "plain": lambda folder, found: (folder / "a.ndjson").write_bytes(_text(found)),
    "two files, backwards": lambda folder, found: [
        (folder / "a.ndjson").write_bytes(_text(found[5:])),
        (folder / "b.ndjson").write_bytes(_text(found[4::-1])),
    ],
    "gzip": lambda folder, found: (folder / "a.ndjson.gz").write_bytes(gzip.compress(_text(found))),
    "zstd, two frames": lambda folder, found: (folder / "a.ndjson.zst").write_bytes(
        zstandard.compress(_text(found[:3])) + zstandard.compress(_text(found[3:]))
    ),
    "collection": lambda folder, found: (folder / "a.json").write_bytes(_bundle(found, "collection")),
    "collection, gzip": lambda folder, found: (folder / "a.json.gz").write_bytes(gzip.compress(_bundle(found, "collection"))),
    "one file each": lambda folder, found: [
        (folder / f"{number}.json").write_bytes(json.dumps(each, indent=2).encode()) for number, each in enumerate(found)
    ],
}


@pytest.mark.parametrize("wrapping", [*WRAPPINGS, "transaction"])
def test_the_wrapping_does_not_matter(tmp_path: Path, wrapping: str) -> None:
    plain, wrapped = tmp_path / "plain", tmp_path / "wrapped"
    plain.mkdir()
    wrapped.mkdir()
    hospital = small_hospital()
    WRAPPINGS["plain"](plain, hospital)
    if wrapping == "transaction":
        (wrapped / "a.json").write_bytes(_transaction(hospital))
    else:
        WRAPPINGS[wrapping](wrapped, hospital)
    task = parse(TASK.encode())
    expected, found = (extract(task, folder, quarantine=None) for folder in (plain, wrapped))
    assert found.patient_keys == expected.patient_keys
    assert (found.features == expected.features).all()
    assert found.report.lines == expected.report.lines
    if wrapping != "transaction":  # there, ids stand at another place of the text
        assert found.report.content == expected.report.content
    rows = [sorted(row for batch in view_rows(VIEW, folder) for row in batch) for folder in (plain, wrapped)]
    assert rows[0] == rows[1]
    assert [json.loads(row) for row in rows[1]] == [{"patient": key, "value": value} for key, value in (("a", 0), ("b", 5), ("c", 10))]


def test_numbers_of_a_bundle_keep_their_digits(tmp_path: Path) -> None:
    text = (
        '{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Observation","id":"o","v":[1.10,2E3,-0.0]}}]}'
    )
    (tmp_path / "a.json").write_text(text)
    (line,) = lines(tmp_path / "a.json")
    assert line.data == b'{"resourceType":"Observation","id":"o","v":[1.10,2E3,-0.0]}'


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.ndjson.zst"])
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_cut_file_is_noticed(tmp_path: Path, name: str, kept: float) -> None:
    data = _text([observation(f"o{number}", "a", valueQuantity={"value": number}) for number in range(2000)])
    packed = gzip.compress(data) if name.endswith(".gz") else zstandard.compress(data)
    (tmp_path / name).write_bytes(packed[: int(len(packed) * kept)])
    for read in (lambda: list(lines(tmp_path / name)), lambda: list(view_rows(VIEW, tmp_path))):
        with pytest.raises(DataError, match="to its end"):
            read()


def test_a_line_that_is_no_json_ends_a_view_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"resourceType":"Patient","id":"p"}\n\n{"resourceType":\n')
    with pytest.raises(DataError, match=r"a\.ndjson, line 3: not JSON"):
        list(view_rows(VIEW, tmp_path))


def test_files_of_other_types_and_names_that_only_look_alike(tmp_path: Path) -> None:
    other = {"resourceType": "Basic", "id": "b", "code": {"text": '"Observation"'}, "extension": [{"url": "u", "valueCode": "Observation"}]}
    (tmp_path / "a.ndjson").write_bytes(_text([other, patient("p"), observation("o", "p")]))
    assert list(view_rows(VIEW, tmp_path)) == [['{"patient":"p","value":null}']]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=5), max_size=8), st.randoms(use_true_random=False))
def test_the_content_digest_knows_no_order_but_every_resource(texts: list[str], random: Any) -> None:
    def digest(found: list[str]) -> str:
        content, rest = ContentDigest(), ContentDigest()
        content.add(found[:3])
        rest.add(found[3:])
        content.merge(ContentDigest.from_bytes(rest.to_bytes()))
        return content.hex()

    shuffled = list(texts)
    random.shuffle(shuffled)
    assert digest(shuffled) == digest(texts)
    assert digest([*texts, "x"]) != digest(texts)
    if texts:
        assert digest([*texts[1:], texts[0] + "x"]) != digest(texts)
        assert digest([*texts, texts[0]]) != digest(texts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=12), st.lists(st.integers(0, 30), max_size=12))
def test_repeated_resources_are_known(batches: list[list[int]], others: list[int]) -> None:
    """Beside Python's own set; keys with one first half, of which there are none in practice, are told apart."""
    seen, known = Seen(), set[int]()
    for batch in batches:
        repeated = [number in known or number in batch[:place] for place, number in enumerate(batch)]
        assert seen.contains(_keys(batch)).tolist() == [number in known for number in batch]
        assert seen.add(_keys(batch)).tolist() == repeated
        known.update(batch)
    more = Seen()
    more.add(_keys([number + 100 for number in others]))
    seen.update(more)
    assert seen.contains(_keys([*range(31), *range(100, 131)])).tolist() == [
        *(number in known for number in range(31)),
        *(number in others for number in range(31)),
    ]


def _keys(numbers: list[int]) -> Keys:
    return np.array([[number % 4, number] for number in numbers], dtype=np.uint64).reshape(-1, 2)


def test_the_key_of_a_resource_is_of_its_type_and_id() -> None:
    assert len(np.unique(keys(["Patient/1", "Patient/11", "Observation/1", "Patient/1"]), axis=0)) == 3


def test_a_folder_whose_name_is_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "site[1]*"
    folder.mkdir()
    (folder / "a.ndjson").write_bytes(_text([observation("o", "p")]))
    assert list(view_rows(VIEW, folder)) == [['{"patient":"p","value":null}']]


def test_what_is_called_gzip_but_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson.gz").write_bytes(_text([observation("o", "p")]))
    with pytest.raises(DataError, match="Not a gzipped file"):
        list(view_rows(VIEW, tmp_path))
