"""The DuckDB database of one extraction: in memory, with no way to files, the network or extensions."""

import re
from collections.abc import Sequence
from typing import Any

import duckdb

from gateway.fhir.errors import DataError
from gateway.fhir.expressions import identifier
from gateway.fhir.views import Views

_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",  # nothing of a patient is spilled to a disk
    "TimeZone": "UTC",
    "enable_external_access": "false",
    "lock_configuration": "true",
}

_TYPED = "SELECT unnest(json_transform(line, ?)) FROM (SELECT unnest(string_split(?, chr(10))) AS line)"
_SEVERAL = re.compile(r"path .*: a resource has several values .* true")


class Database:
    """Tables named like resources hold what the views need; tables named like the views, in the schema `rows`, hold their rows."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._connection = duckdb.connect(":memory:")
        for name, value in _SETTINGS.items():
            self._connection.execute(f"SET {name} = '{value}'")
        self._connection.execute("CREATE SCHEMA rows")
        for resource, structure in views.structures.items():
            self._connection.execute(f"CREATE TABLE {identifier(resource)} AS {_TYPED} LIMIT 0", [structure, ""])

    def insert(self, resource: str, texts: Sequence[str]) -> None:
        """Add resources, each the text of a valid one without line breaks; raise DataError if DuckDB reads one differently."""
        # One string, because binding a list of strings costs thirty times as much as splitting it again.
        values = [self._views.structures[resource], "\n".join(texts)]
        try:
            self._connection.execute(f"INSERT INTO {identifier(resource)} {_TYPED}", values)
        except duckdb.Error as error:
            # The error is not repeated: it quotes the resource.
            raise DataError(f"DuckDB cannot read a {resource} that passed validation ({type(error).__name__}); please report it") from None

    def run_views(self) -> None:
        """Evaluate every view; raise DataError if one has several values where it declares one."""
        for view in self._views.views:
            try:
                self._connection.execute(f"CREATE TABLE rows.{identifier(view.name)} AS {view.sql}")
            except duckdb.Error as error:
                found = _SEVERAL.search(str(error))
                reason = found[0] if found else f"DuckDB cannot evaluate it ({type(error).__name__})"
                raise DataError(f"view {view.name}: {reason}") from None

    def rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a query of this package."""
        return self._connection.execute(sql, list(values)).fetchall()

    def close(self) -> None:
        """Free the memory."""
        self._connection.close()
