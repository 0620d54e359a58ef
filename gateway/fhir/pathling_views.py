"""The rows of a view by Pathling (https://pathling.csiro.au) on Spark, for folders that one machine is too small for.

Needs the package pathling (`pip install consortium-gateway[spark]`) and Java. Pathling evaluates FHIR R4.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import version as version_of
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import InputError
from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import DataError, ViewError
from gateway.fhir.sources import files
from gateway.fhir.view_definition import ViewDefinition, columns_of
from gateway.fhir.view_rows import refuse_first_bad_line
from gateway.fhir.views import ViewColumn, compile_views

if TYPE_CHECKING:  # the extra `spark`
    from pyspark.sql import Column, DataFrame

_JAVA = 21
"""The release of Java: Pathling 9 is compiled for it, and Spark 4.0 supports no later one."""

_READS = (".ndjson", ".ndjson.gz")
_FETCH = 20_000
_KEY = re.compile(r"get(Resource|Reference)Key\s*\([^()]*\)\s*$")


def missing() -> str | None:
    """What this machine lacks to run Pathling, in one sentence; None if it lacks nothing."""
    if importlib.util.find_spec("pathling") is None:
        return "views on Spark need the package pathling; install it with `pip install consortium-gateway[spark]`"
    found = _java()
    if found == _JAVA:
        return None
    has = "none was found" if found is None else f"the one found is {found}"
    return f"views on Spark need Java {_JAVA}, and {has}; install it and let JAVA_HOME name its folder"


def _java() -> int | None:
    """The release of Java that Spark would start."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if program is None:
        return None
    # S603: the program that Spark itself is about to start.
    answer = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    found = re.search(r'version "(\d+)', answer)
    return int(found[1]) if found else None


class PathlingEngine:
    """Spark as its own configuration says (SPARK_CONF_DIR): a cluster, or the cores of this machine."""

    def __init__(self) -> None:
        """Start Spark, or join the one this process has. Raises InputError if this machine lacks what it needs."""
        lacking = missing()
        if lacking is not None:
            raise InputError(lacking)
        from pathling import PathlingContext
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession

        settings = {
            "spark.jars.packages": f"au.csiro.pathling:library-runtime:{version_of('pathling')}",
            "spark.ui.enabled": "false",  # a page of what is read, open to the network
            "spark.ui.showConsoleProgress": "false",
        }
        try:
            session = SparkSession.builder.appName("consortium").config(map=settings).getOrCreate()
        except PySparkException as error:
            raise InputError(
                "Spark does not start; the lines above say why (the first time it fetches Pathling from Maven Central)"
            ) from error
        session.sparkContext.setLogLevel("OFF")  # the log of a failed task may quote a resource
        # Without it, Pathling asks a public server about the codes of patients.
        self._context = PathlingContext.create(session, enable_terminology=False)

    def rows(self, view: ViewDefinition, folder: Path, version: FhirVersion) -> Iterator[list[str]]:
        """As ViewEngine. A view that this product refuses is refused here too, so that it means the same with every engine."""
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        columns = compile_views([view], version).views[0].columns
        if version != "R4":
            raise ViewError(f"view {view.name}: Pathling reads FHIR R4, not {version}; use the engine duckdb")
        paths = _readable(files(folder))
        try:
            table = self._context.read.datasets({view.resource: self._resources(view.resource, paths)}).view(json=_json(view))
            found = table.select(*_as_duckdb(table, view, columns))
        except (PySparkException, Py4JError) as error:
            raise ViewError(f"view {view.name}: Pathling does not evaluate it: {_first_line(error)}") from error
        try:
            rows = (row[0] for row in _texts(found).toLocalIterator())
            while batch := list(islice(rows, _FETCH)):
                yield batch
        except (PySparkException, Py4JError):
            refuse_first_bad_line(paths)
            # Nothing of the error itself: it may quote a resource.
            raise DataError(
                f"view {view.name}: Pathling cannot evaluate it over {folder}; consortium data check says what is wrong"
            ) from None

    def _resources(self, resource: str, paths: Sequence[Path]) -> "DataFrame":
        from pyspark.sql import functions

        text = self._context.spark.read.text([str(path.resolve()) for path in paths]).where("trim(value) != ''")
        kind = functions.get_json_object("value", "$.resourceType")
        # As the other engine: a line that is no resource ends the reading, it is not passed over.
        return self._context.encode(
            text.where(functions.coalesce(kind, functions.raise_error(functions.lit("no resource"))) == resource), resource
        )


def _readable(paths: Sequence[Path]) -> Sequence[Path]:
    other = next((path.name for path in paths if not path.name.endswith(_READS)), None)
    if other is not None:
        raise DataError(f"with Pathling a folder holds NDJSON only, plain or gzip, and {other} is another; use the engine duckdb")
    return paths


def _json(view: ViewDefinition) -> str:
    return json.dumps(
        {"resourceType": "ViewDefinition", "status": view.status} | view.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    )


def _as_duckdb(table: "DataFrame", view: ViewDefinition, columns: Sequence[ViewColumn]) -> "list[Column]":
    """Columns with the values that the other engine gives."""
    paths = {column.name: column.path for select in view.select for column in columns_of(select)}
    return [_value(table[column.name], column, key=_KEY.search(paths[column.name]) is not None).alias(column.name) for column in columns]


def _value(value: "Column", column: ViewColumn, *, key: bool) -> "Column":
    from pyspark.sql import functions

    if column.type == "decimal":
        return value.cast("array<double>" if column.collection else "double")
    if not key:
        return value
    # Keys are an engine's own choice; Pathling's are the reference, `Patient/1`, and DuckDB's the id in it.
    if column.collection:
        return functions.transform(value, lambda each: functions.substring_index(each, "/", -1))
    return functions.substring_index(value, "/", -1)


def _texts(table: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions

    return table.select(functions.to_json(functions.struct("*"), {"ignoreNullFields": "false"}))


def _first_line(error: Any) -> str:
    """What Pathling says of a view; no resource has been read yet."""
    cause = getattr(error, "java_exception", None)
    return str(error if cause is None else cause.getMessage()).partition("\n")[0].strip()
