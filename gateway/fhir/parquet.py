"""Parquet files of resources: one row a resource, whose JSON stands as text in the column `resource`.

This is what pipelines write that keep FHIR as it came (one text column, perhaps keys beside it). Files that spread a resource's
elements over typed columns are refused: digits and extensions were lost when they were written.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from gateway.fhir.errors import DataError
from gateway.fhir.sandbox import connect

COLUMN = "resource"
_FETCH = 200
_TABLE = "read_parquet(?, hive_partitioning = false)"  # a folder's name is no column
_TEXT = ("VARCHAR", "JSON")


def rows(path: Path, *, longest: int) -> Iterator[bytes | None]:
    """The resources of a file, each on one line; None for one of more than `longest` bytes. Raises DataError."""
    # DuckDB takes names for patterns; a character in brackets stands for itself.
    pattern = re.sub(r"([*?\[])", r"[\1]", str(path.resolve()))
    connection = connect([path.resolve(), Path(pattern)])
    try:
        # S608: no part of the SQL comes from outside.
        described = connection.execute(f"DESCRIBE SELECT * FROM {_TABLE}", [pattern]).fetchall()  # noqa: S608
        columns = {name: kind for name, kind, *_ in described}
        if columns.get(COLUMN) not in _TEXT:
            raise DataError(
                f"{path} has no text column {COLUMN!r} with each resource's JSON (it has {', '.join(sorted(columns)[:8])});"
                " write one, or export NDJSON"
            )
        # Too long a resource is left where it is.
        value = f"CASE WHEN strlen({COLUMN}) <= {longest:d} THEN CAST({COLUMN} AS VARCHAR) END"
        found = connection.execute(f"SELECT {COLUMN} IS NULL, {value} FROM {_TABLE}", [pattern])  # noqa: S608
        while batch := found.fetchmany(_FETCH):
            for empty, text in batch:
                yield b"null" if empty else _line(text)
    except duckdb.Error as error:
        # The error is not repeated: it may quote a value.
        raise DataError(f"cannot read {path} to its end as Parquet ({type(error).__name__}); export it again") from None
    finally:
        connection.close()


def _line(text: str | None) -> bytes | None:
    # Line breaks of JSON stand between its tokens only: inside a string they are escaped.
    return None if text is None else text.replace("\n", " ").encode()
