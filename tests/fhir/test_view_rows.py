"""A view's rows over files, which DuckDB reads itself: the same rows as line by line, in bounded memory, and no bad line passed over."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from gateway.fhir import sandbox
from gateway.fhir.errors import DataError
from gateway.fhir.view_definition import view_definition
from gateway.fhir.view_rows import view_rows
from gateway.fhir.views import Views, compile_views
from tests.support.fhir_folders import observation, patient

COLUMNS = {
    "patient": "subject.getReferenceKey(Patient)",
    "code": "code.coding.code.first()",
    "at": "effective.ofType(dateTime)",
    "value": "value.ofType(Quantity).value",
    "whole": "value.ofType(integer)",
    "noted": "note.exists()",
}
ODD: list[dict[str, Any]] = [
    {"valueQuantity": {"value": "7.5"}},
    {"valueQuantity": {"value": "many"}},
    {"valueQuantity": [1]},
    {"valueInteger": 1.5},
    {"valueInteger": 10**30},
    {"code": "text"},
    {"code": {"coding": [3, None, {"code": "x"}]}},
    {"subject": {"reference": 5}},
    {"effectiveDateTime": {"a": "ü"}},
    {"note": [{}]},
    {"note": []},
    {"resourceType": ["Observation"]},
]


def views() -> Views:
    columns = [{"name": name, "path": path} for name, path in COLUMNS.items()]
    return compile_views([view_definition({"name": "lab", "resource": "Observation", "select": [{"column": columns}]})])


def rows(folder: Path) -> list[str]:
    return sorted(row for batch in view_rows(views(), folder) for row in batch)


def test_values_of_wrong_types_are_missing_however_a_file_is_read(tmp_path: Path) -> None:
    lines = [json.dumps(each) for each in (*(observation(f"o{n}", "p", **more) for n, more in enumerate(ODD)), patient("p"))]
    for folder in ("direct", "by_line"):
        (tmp_path / folder).mkdir()
    (tmp_path / "direct" / "all.ndjson").write_text("\n \n".join(lines) + "\n")
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": json.loads(line)} for line in lines]}
    (tmp_path / "by_line" / "all.json").write_text(json.dumps(bundle))
    found = rows(tmp_path / "direct")
    assert len(found) == len(ODD) - 1
    assert found == rows(tmp_path / "by_line")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"resourceType":"Observation",', "not JSON"),
        (b'{"resourceType":"Observation"} {"resourceType":"Observation"}', "not JSON"),
        (b'{"resourceType":"Observation","id":"\xff"}', "not JSON"),
        (b"{}", "no FHIR resource"),
        (b"3", "no FHIR resource"),
    ],
)
@pytest.mark.parametrize("write", [Path.write_bytes, lambda path, data: path.with_suffix(".ndjson.gz").write_bytes(gzip.compress(data))])
def test_a_line_that_is_no_resource_is_named(tmp_path: Path, line: bytes, why: str, write: Callable[[Path, bytes], int]) -> None:
    good = json.dumps(observation("o", "p")).encode()
    write(tmp_path / "all.ndjson", b"\n".join([good, line, good]))
    with pytest.raises(DataError, match=rf"all\.ndjson(\.gz)?, line 2: {why}; consortium data check"):
        rows(tmp_path)


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """The input is more than twice what DuckDB may take, which is what it needs for two threads' buffers."""
    line = json.dumps(observation("o", "p", valueQuantity={"value": 1.5}, note=[{"text": "n" * 2000}])) + "\n"
    (tmp_path / "0.ndjson").write_text(line * 10_000)
    for copy in range(1, 20):
        (tmp_path / f"{copy}.ndjson").symlink_to("0.ndjson")
    limit = 170
    assert 20 * (tmp_path / "0.ndjson").stat().st_size > 2 * limit << 20
    small = {"threads": "2", **sandbox._SETTINGS, "memory_limit": f"{limit}MB"}
    with mock.patch.object(sandbox, "_SETTINGS", small):
        assert sum(map(len, view_rows(views(), tmp_path))) == 200_000
