"""Parquet files with a resource's JSON on each row."""

from pathlib import Path

import duckdb
import pytest

from gateway.fhir.errors import DataError
from gateway.fhir.profile import profile
from gateway.fhir.sources import lines
from tests.support.fhir_folders import write

QUERY = "SELECT * FROM (VALUES {rows}) AS found(resource)"


def parquet(path: Path, query: str) -> Path:
    """Write what a query gives; the writer is DuckDB too, with none of the reader's restrictions."""
    duckdb.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 2048)")
    return path


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_reading_needs_nothing_that_the_wheel_does_not_hold() -> None:
    found = duckdb.connect().execute("SELECT installed, install_mode FROM duckdb_extensions() WHERE extension_name = 'parquet'").fetchone()
    assert found == (True, "STATICALLY_LINKED")


def test_rows_are_lines_and_counts_are_exact(tmp_path: Path) -> None:
    texts = [
        '{"resourceType":"Patient","id":"a","name":[{"text":"Zoë \\\\ \'x\'"}]}',
        '{\n  "resourceType": "Patient",\n  "id": "b"\n}',
        '{"resourceType":"Observation","id":"o","status":"final","code":{"text":"t"},"valueQuantity":{"value":1.10}}',
        "{",
        '{"resourceType":"Patient","id":"a"}',
    ]
    folder, plain = tmp_path / "folder", write(tmp_path / "plain", [text.replace("\n", " ") for text in texts])
    folder.mkdir()
    path = parquet(folder / "all.parquet", QUERY.format(rows=", ".join(f"({quoted(text)})" for text in texts)))
    assert [line.data for line in lines(path)] == [text.replace("\n", " ").encode() for text in texts]
    assert [line.number for line in lines(path)] == [1, 2, 3, 4, 5]
    found, expected = profile(folder, quarantine=None), profile(plain, quarantine=None)
    assert (found.lines, found.content) == (expected.lines, expected.content)
    assert found.lines.dropped == {"duplicate-id": 1, "not-json": 1}


def test_many_rows_beside_other_columns_and_empty_ones(tmp_path: Path) -> None:
    query = """SELECT i AS key, CASE WHEN i = 7 THEN NULL ELSE ('{"resourceType":"Patient","id":"' || i || '"}')::JSON END AS resource
        FROM range(5000) AS found(i)"""
    found = [line.data for line in lines(parquet(tmp_path / "all.parquet", query))]
    assert len(found) == 5000
    assert found[7] == b"null"
    assert found[4999] == b'{"resourceType":"Patient","id":"4999"}'


def test_a_row_longer_than_a_resource_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.fhir.sources.MAX_LINE_BYTES", 50)
    path = parquet(tmp_path / "all.parquet", QUERY.format(rows=f"({quoted('ä' * 25)}), ({quoted('ä' * 26)})"))
    assert [line.data for line in lines(path)] == [("ä" * 25).encode(), None]


@pytest.mark.parametrize("query", ["SELECT 'Patient' AS resourceType, 'a' AS id", "SELECT {'id': 'a'} AS resource", "SELECT 1 AS resource"])
def test_a_file_of_another_shape_is_refused_with_what_it_has(tmp_path: Path, query: str) -> None:
    with pytest.raises(DataError, match=r"all\.parquet has no text column 'resource' .*\(it has (resource|id, resourceType)\)"):
        list(lines(parquet(tmp_path / "all.parquet", query)))


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_cut_or_foreign_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = parquet(tmp_path / "all.parquet", QUERY.format(rows="('{}')"))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)] if kept < 1 else b"{}\n" * 10)
    with pytest.raises(DataError, match=r"cannot read .* as Parquet"):
        list(lines(path))


def test_a_damaged_page_is_noticed(tmp_path: Path) -> None:
    path = parquet(tmp_path / "all.parquet", "SELECT repeat(i::VARCHAR, 20) AS resource FROM range(3000) AS found(i)")
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(DataError, match="to its end as Parquet"):
        list(lines(path))


def test_a_name_that_is_a_pattern_names_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "site[1]" / "resource=z"  # which DuckDB may take for a column and its value
    folder.mkdir(parents=True)
    for name, key in (("a*", "x"), ("ab", "y")):
        written = parquet(tmp_path / "plain.parquet", QUERY.format(rows=f"('{key}')"))
        written.rename(folder / f"{name}.parquet")
    assert [line.data for line in lines(folder / "a*.parquet")] == [b"x"]
