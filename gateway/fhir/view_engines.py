"""What evaluates a ViewDefinition over a folder: DuckDB on one machine, or Spark where a hospital outgrows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from gateway.fhir.elements import FhirVersion
from gateway.fhir.view_definition import ViewDefinition
from gateway.fhir.view_rows import view_rows
from gateway.fhir.views import compile_views

EngineName = Literal["duckdb", "pathling"]


class ViewEngine(Protocol):
    """Gives the rows of a view; both engines give the same rows, each in its own order, but Pathling keeps decimals to six places."""

    def rows(self, view: ViewDefinition, folder: Path, version: FhirVersion) -> Iterator[list[str]]:
        """Batches of rows, each one JSON object. Run by the hospital.

        Raises InputError, such as DataError or ViewError, with one sentence.
        """
        ...


class DuckDbEngine:
    """The product's own compiler and DuckDB, in this process."""

    def rows(self, view: ViewDefinition, folder: Path, version: FhirVersion) -> Iterator[list[str]]:
        """As ViewEngine."""
        return view_rows(compile_views([view], version), folder)


def view_engine(name: EngineName) -> ViewEngine:
    """The engine of this name; raise InputError if what it needs is not on this machine."""
    if name == "duckdb":
        return DuckDbEngine()
    from gateway.fhir.pathling_views import PathlingEngine  # loads what only Spark needs

    return PathlingEngine()
