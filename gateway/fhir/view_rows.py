"""The rows of one view over a folder as JSON text: what `consortium data view` prints, as fast as DuckDB reads.

Resources are taken as they are: nothing is validated, so a value of a wrong type is missing. `consortium data check` tells of those.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from gateway.fhir.database import Database, refusal
from gateway.fhir.errors import DataError
from gateway.fhir.expressions import identifier, quote
from gateway.fhir.sandbox import connect
from gateway.fhir.sources import MAX_LINE_BYTES, NDJSON, Line, files, lines, read_whole
from gateway.fhir.structure import column_type
from gateway.fhir.views import CompiledView, Views

_FETCH = 20_000
_BATCH_BYTES = 4 << 20
_TYPE = "resourceType"


def view_rows(views: Views, folder: Path) -> Iterator[list[str]]:
    """Batches of rows, each one JSON object, of the only view of `views`; memory does not grow with the folder.

    CPU-heavy. Raises DataError or ViewError with one sentence.
    """
    (view,) = views.views
    sources = files(folder)
    # DuckDB forgets the zero of 1.0, which such a view asks for.
    direct = [] if view.resource in views.as_written else [path for path in sources if _reads(path)]
    if direct:
        yield from _direct(views, view, direct)
    yield from _line_by_line(views, view, [path for path in sources if path not in direct])


def _reads(path: Path) -> bool:
    """Whether DuckDB itself can read a file: it takes names with these characters for patterns."""
    return path.name.endswith(NDJSON) and not set(str(path.resolve())) & set("*?[")


def _direct(views: Views, view: CompiledView, sources: Sequence[Path]) -> Iterator[list[str]]:
    readable = [path.resolve() for path in sources]
    connection = connect(readable)
    compressed = [path for path in sources if not path.name.endswith(".ndjson")]
    with ThreadPoolExecutor(1) as pool:
        # DuckDB does not notice a compressed file that was cut between two lines.
        whole = [pool.submit(read_whole, path) for path in compressed]
        try:
            connection.execute(_table(views, view, readable))
            # S608: the SQL is this package's product.
            rows = connection.execute(f"SELECT CAST(to_json(found) AS VARCHAR) FROM ({view.sql}) AS found")  # noqa: S608
            while batch := rows.fetchmany(_FETCH):
                yield [row[0] for row in batch]
        except (duckdb.InvalidInputException, duckdb.IOException) as error:
            refuse_first_bad_line(sources)
            raise refusal(view, error) from None
        except duckdb.Error as error:
            raise refusal(view, error) from None
        finally:
            connection.close()
        for future in whole:
            future.result()


def _table(views: Views, view: CompiledView, sources: Sequence[Path]) -> str:
    shape = json.loads(views.structures[view.resource]) | {_TYPE: "VARCHAR"}
    columns = ", ".join(f"{quote(name)}: {quote(column_type(part))}" for name, part in shape.items())
    listed = ", ".join(quote(str(path)) for path in sources)
    # With ignore_errors, a value of a wrong type is NULL, which it is in json_transform too; but so is a line that is no JSON, which
    # the filter notices. Without it, DuckDB would have to read each line twice.
    # S608: names are quoted, literals escaped.
    return (
        f"CREATE VIEW {identifier(view.resource)} AS SELECT *"  # noqa: S608
        f" FROM read_ndjson([{listed}], columns={{{columns}}}, ignore_errors=true, maximum_object_size={MAX_LINE_BYTES})"
        f" WHERE coalesce({identifier(_TYPE)}, error('no resource')) = {quote(view.resource)}"
    )


def refuse_first_bad_line(sources: Sequence[Path]) -> None:
    """Raise DataError for the first line that is no resource, if there is one."""
    for path in sources:
        for line in lines(path):
            _resource_type(line)


def _line_by_line(views: Views, view: CompiledView, sources: Sequence[Path]) -> Iterator[list[str]]:
    database = Database(views)
    try:
        waiting: list[str] = []
        size = 0
        for path in sources:
            for line in lines(path):
                if _resource_type(line) != view.resource:
                    continue
                waiting.append((line.data or b"").decode().strip())
                size += len(waiting[-1])
                if size > _BATCH_BYTES:
                    database.insert(view.resource, waiting)
                    yield database.take(view)
                    waiting, size = [], 0
        if waiting:
            database.insert(view.resource, waiting)
            yield database.take(view)
    finally:
        database.close()


def _resource_type(line: Line) -> object:
    if line.data is None:
        raise _refused(line, "longer than a resource may be")
    try:
        parsed = json.loads(line.data)
    except (ValueError, RecursionError):
        raise _refused(line, "not JSON") from None
    if not isinstance(parsed, dict) or parsed.get(_TYPE) is None:
        raise _refused(line, "no FHIR resource")
    return parsed[_TYPE]


def _refused(line: Line, why: str) -> DataError:
    return DataError(f"{line.file}, line {line.number}: {why}; consortium data check lists such lines")
