"""DuckDB as a sandbox: in memory, with a bound, and no way to files that were not named, to the network or to extensions."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
from numpy.typing import NDArray

from gateway.fhir.errors import DataError
from gateway.fhir.expressions import identifier, quote
from gateway.fhir.views import CompiledView, Views

MEMORY_LIMIT = "4GB"
"""Most memory that one database takes: what views give of a hospital's resources, not the resources, has to fit."""

_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",  # nothing of a patient is spilled to a disk
    "memory_limit": MEMORY_LIMIT,
    "streaming_buffer_size": "16MB",  # DuckDB reads on while rows are taken from it
    "TimeZone": "UTC",
    "enable_external_access": "false",
    "lock_configuration": "true",
}

_TYPED = "SELECT unnest(json_transform(line, ?)) FROM (SELECT unnest(string_split(?, chr(10))) AS line)"
_SEVERAL = re.compile(r"path .*: a resource has several values .* true")


def connect(readable: Sequence[Path] = ()) -> Any:
    """A connection of a new database, whose SQL reads no file but those of `readable`."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET allowed_paths = [{', '.join(quote(str(path)) for path in readable)}]")
    for name, value in _SETTINGS.items():
        connection.execute(f"SET {name} = '{value}'")
    return connection


_FULL = f"the views' rows need more memory than {MEMORY_LIMIT}; narrow the views with where, or name fewer columns"


def refusal(view: CompiledView, error: duckdb.Error) -> DataError:
    """Why a view could not be evaluated, in one sentence that quotes nothing of a resource."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return DataError(f"view {view.name}: {_FULL}")
    found = _SEVERAL.search(str(error))
    return DataError(f"view {view.name}: {found[0] if found else f'DuckDB cannot evaluate it ({type(error).__name__})'}")


class Database:
    """Tables named like the views, in the schema `rows`, hold their rows; resources pass through and are not kept.

    What a task makes of the rows stands in the schema `task`.
    """

    def __init__(self, views: Views) -> None:
        self._views = views
        self.resources = frozenset(views.structures)
        """Types of which some view reads something."""
        self._connection = connect()
        self._connection.execute("CREATE SCHEMA rows")
        self._connection.execute("CREATE SCHEMA task")
        for resource, structure in views.structures.items():
            self._connection.execute(f"CREATE TABLE {identifier(resource)} AS {_TYPED} LIMIT 0", [structure, ""])
        for view in views.views:
            self._connection.execute(f"CREATE TABLE rows.{identifier(view.name)} AS {view.sql}")

    def insert(self, resource: str, texts: Sequence[str]) -> None:
        """Add the rows that the views give for resources, each the text of a valid one without line breaks.

        Raises DataError if DuckDB reads one differently, or if a view has several values where it declares one.
        """
        table = identifier(resource)
        if resource in self._views.as_written:
            texts = [_digits_as_text(text) for text in texts]
        # One string, because binding a list of strings costs thirty times as much as splitting it again.
        values = [self._views.structures[resource], "\n".join(texts)]
        try:
            self._connection.execute(f"CREATE OR REPLACE TABLE {table} AS {_TYPED}", values)
        except duckdb.OutOfMemoryException:
            raise DataError(_FULL) from None
        except duckdb.Error as error:
            # The error is not repeated: it quotes the resource.
            raise DataError(f"DuckDB cannot read a {resource} that passed validation ({type(error).__name__}); please report it") from None
        for view in self._views.views:
            if view.resource == resource:
                self._add_rows(view)

    def _add_rows(self, view: CompiledView) -> None:
        try:
            # A view's rows depend on one resource each, so that a batch's rows can be added to those before.
            self._connection.execute(f"INSERT INTO rows.{identifier(view.name)} {view.sql}")
        except duckdb.Error as error:
            raise refusal(view, error) from None

    def rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a query of this package; raise DataError if it needs too much memory."""
        try:
            found: list[tuple[Any, ...]] = self._connection.execute(sql, list(values)).fetchall()
        except duckdb.OutOfMemoryException:
            raise DataError(_FULL) from None
        return found

    def make(self, table: str, sql: str, values: Sequence[Any] = ()) -> None:
        """Keep the result of a query of this package as a table of the schema `task`; raise DataError if it needs too much memory."""
        self.rows(f"CREATE OR REPLACE TABLE task.{identifier(table)} AS {sql}", values)

    def columns(self, sql: str) -> dict[str, NDArray[Any]]:
        """The result of a query of this package by columns, those with NULLs as masked arrays; raise DataError as `rows`."""
        try:
            found: dict[str, NDArray[Any]] = self._connection.execute(sql).fetchnumpy()
        except duckdb.OutOfMemoryException:
            raise DataError(_FULL) from None
        return found

    def take(self, view: CompiledView) -> list[str]:
        """The view's rows as JSON objects; they are not kept."""
        table = f"rows.{identifier(view.name)}"
        # S608: names are quoted by identifier().
        found = self.rows(f"SELECT CAST(to_json(found) AS VARCHAR) FROM {table} AS found", [])  # noqa: S608
        self._connection.execute(f"TRUNCATE {table}")
        return [row[0] for row in found]

    def close(self) -> None:
        """Free the memory."""
        self._connection.close()


def _digits_as_text(text: str) -> str:
    """The resource with its decimals as strings: DuckDB's own reader forgets the zero of 1.0."""
    return json.dumps(json.loads(text, parse_float=str), ensure_ascii=False)
