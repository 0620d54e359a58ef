"""The rows of views, in a DuckDB database that reaches nothing outside itself."""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import duckdb
from numpy.typing import NDArray

from gateway.fhir.errors import DataError
from gateway.fhir.expressions import identifier, quote
from gateway.fhir.sandbox import FULL, connect
from gateway.fhir.typed import InMemory, Typer
from gateway.fhir.views import CompiledView, Views

AT_ONCE = 8
"""Most tables of resources that are read at once, each by a thread."""

_SEVERAL = re.compile(r"path .*: a resource has several values .* true")


def refusal(view: CompiledView, error: duckdb.Error) -> DataError:
    """Why a view could not be evaluated, in one sentence that quotes nothing of a resource."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return DataError(f"view {view.name}: {FULL}")
    found = _SEVERAL.search(str(error))
    return DataError(f"view {view.name}: {found[0] if found else f'DuckDB cannot evaluate it ({type(error).__name__})'}")


class Database:
    """Tables named like the views, in the schema `rows`, hold their rows; resources pass through and are not kept.

    What a task makes of the rows stands in the schema `task`.
    """

    def __init__(self, views: Views) -> None:
        self.views = views
        self._typer: Typer | None = None
        self._tables = [InMemory() for _ in range(AT_ONCE)]
        self._connection = connect([table.path for table in self._tables])
        self._connection.execute("CREATE SCHEMA rows")
        self._connection.execute("CREATE SCHEMA task")
        for resource, structure in views.structures.items():
            none = f"SELECT unnest(json_transform('', {quote(structure)})) LIMIT 0"
            self._connection.execute(f"CREATE VIEW {identifier(resource)} AS {none}")
        for view in views.views:
            self._connection.execute(f"CREATE TABLE rows.{identifier(view.name)} AS {view.sql}")

    def insert(self, resource: str, texts: Sequence[str]) -> None:
        """Add the rows that the views give for resources, each the text of a valid one without line breaks.

        Raises DataError as `add`, and if DuckDB reads a resource differently.
        """
        self._typer = self._typer or Typer()
        structure, as_written = self.views.structures[resource], resource in self.views.as_written
        self.add(resource, [self._typer.table(resource, texts, structure=structure, as_written=as_written)])

    def add(self, resource: str, tables: Sequence[bytes]) -> None:
        """Add the rows that the views give for tables of resources of one type, made by a Typer for the views' structure.

        Raises DataError if a view has several values where it declares one, or if the rows need too much memory.
        """
        remaining = iter(tables)
        while batch := list(islice(remaining, AT_ONCE)):
            for table, data in zip(self._tables, batch, strict=False):
                table.write(data)
            paths = [table.path for table in self._tables[: len(batch)]]
            # S608: names are quoted, and the paths are this class's own.
            self._connection.execute(f"CREATE OR REPLACE VIEW {identifier(resource)} AS SELECT * FROM read_parquet({paths})")  # noqa: S608
            for view in self.views.views:
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
            raise DataError(FULL) from None
        return found

    def make(self, table: str, sql: str, values: Sequence[Any] = ()) -> None:
        """Keep the result of a query of this package as a table of the schema `task`; raise DataError if it needs too much memory."""
        self.rows(f"CREATE OR REPLACE TABLE task.{identifier(table)} AS {sql}", values)

    def columns(self, sql: str) -> dict[str, NDArray[Any]]:
        """The result of a query of this package by columns, those with NULLs as masked arrays; raise DataError as `rows`."""
        try:
            found: dict[str, NDArray[Any]] = self._connection.execute(sql).fetchnumpy()
        except duckdb.OutOfMemoryException:
            raise DataError(FULL) from None
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
        for table in self._tables:
            table.close()
        if self._typer is not None:
            self._typer.close()
