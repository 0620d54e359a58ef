"""DuckDB as a sandbox: in memory, with a bound, and no way to files that were not named, to the network or to extensions."""

import os
from collections.abc import Sequence
from typing import Any

import duckdb

from gateway.fhir.expressions import quote

MEMORY_LIMIT = "4GB"
"""Most memory that one database takes: what views give of a hospital's resources, not the resources, has to fit."""

FULL = f"the views' rows need more memory than {MEMORY_LIMIT}; narrow the views with where, or name fewer columns"

_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",  # nothing of a patient is spilled to a disk
    "memory_limit": MEMORY_LIMIT,
    "streaming_buffer_size": "16MB",  # DuckDB reads on while rows are taken from it
    "enable_external_file_cache": "false",  # a file in memory gets new content under its old name
    "TimeZone": "UTC",
    "enable_external_access": "false",
    "lock_configuration": "true",
}


def connect(allowed: Sequence[str | os.PathLike[str]] = (), *, threads: int | None = None) -> Any:
    """A connection of a new database, whose SQL reads and writes no file but those of `allowed`."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"SET allowed_paths = [{', '.join(quote(str(path)) for path in allowed)}]")
    if threads is not None:
        connection.execute(f"SET threads = {threads:d}")
    for name, value in _SETTINGS.items():
        connection.execute(f"SET {name} = '{value}'")
    return connection
