"""The rows of one view over a folder as JSON text: what `consortium data view` prints, as fast as DuckDB reads.

Resources are taken as they are: nothing is validated, so a value of a wrong type is missing. `consortium data check` tells of those.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from gateway.fhir.database import Database, connect, refusal
from gateway.fhir.errors import DataError
from gateway.fhir.expressions import identifier, quote
from gateway.fhir.sources import MAX_LINE_BYTES, NDJSON, Line, files, lines, read_whole
from gateway.fhir.views import CompiledView, Views

_FETCH = 20_000
_BATCH_BYTES = 4 << 20


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
            _refuse_first_bad_line(sources)
            raise refusal(view, error) from None
        except duckdb.Error as error:
            raise refusal(view, error) from None
        finally:
            connection.close()
        for future in whole:
            future.result()


def _table(views: Views, view: CompiledView, sources: Sequence[Path]) -> str:
    shape = json.loads(views.structures[view.resource]) | {"resourceType": "VARCHAR"}
    name, quoted = identifier(view.resource), quote(f'"{view.resource}"')
    listed = ", ".join(quote(str(path)) for path in sources)
    # Looking for the type's name in the text is much cheaper than parsing resources of another type.
    # S608: names are quoted, literals escaped.
    return (
        f"CREATE VIEW {name} AS SELECT unnest(resource) FROM (SELECT json_transform(json, {quote(json.dumps(shape))}) AS resource"  # noqa: S608
        f" FROM read_ndjson_objects([{listed}], maximum_object_size={MAX_LINE_BYTES}) WHERE contains(CAST(json AS VARCHAR), {quoted}))"
        f' WHERE resource."resourceType" = {quote(view.resource)}'
    )


def _refuse_first_bad_line(sources: Sequence[Path]) -> None:
    for path in sources:
        for line in lines(path):
            _parsed(line)


def _line_by_line(views: Views, view: CompiledView, sources: Sequence[Path]) -> Iterator[list[str]]:
    database = Database(views)
    try:
        waiting: list[str] = []
        size = 0
        for path in sources:
            for line in lines(path):
                parsed = _parsed(line)
                if not isinstance(parsed, dict) or parsed.get("resourceType") != view.resource:
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


def _parsed(line: Line) -> object:
    if line.data is None:
        raise DataError(f"{line.file}, line {line.number}: longer than a resource may be; consortium data check lists such lines")
    try:
        return json.loads(line.data)
    except (ValueError, RecursionError):
        raise DataError(f"{line.file}, line {line.number}: not JSON; consortium data check lists such lines") from None
