"""SQL-on-FHIR views evaluated the slow and obvious way, resource by resource, with paths by fhirpathpy: an implementation of others.

The rules for rows are those of the specification's processing algorithm
(https://build.fhir.org/ig/FHIR/sql-on-fhir-v2/StructureDefinition-ViewDefinition.html).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import product
from typing import Any

from fhirpathpy import compile as compile_path
from fhirpathpy.models import models

from gateway.fhir.elements import FhirVersion

Row = dict[str, Any]
_JOIN = re.compile(r"\.join\([^()]*\)$")
_REFERENCE_KEY = re.compile(r"\.?getReferenceKey\((\w*)\)$")


class PlainViews:
    """Evaluates views over parsed resources of one FHIR version."""

    def __init__(self, version: FhirVersion) -> None:
        self._model = models[version.lower()]
        self._compiled: dict[tuple[str, bool], Callable[[Any, Any], list[Any]]] = {}

    def rows(self, view: Mapping[str, Any], resources: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
        """The view's rows."""
        for resource in resources:
            if resource["resourceType"] == view["resource"] and all(
                self.values(resource, each["path"]) == [True] for each in view.get("where", ())
            ):
                yield from self._select(resource, view["select"])

    def values(self, node: Any, path: str) -> list[Any]:
        """What a path finds at a node."""
        if path == "getResourceKey()":
            return [node["id"]]
        if found := _REFERENCE_KEY.search(path):
            references = self._evaluate(node, f"{path[: found.start()]}.reference")
            keys = [reference.rsplit("/", 2)[-2:] for reference in references]
            return [key for kind, key in keys if not found.group(1) or kind == found.group(1)]
        found = self._evaluate(node, path)
        # The library joins nothing to nothing; the official tests of SQL-on-FHIR want an empty text.
        return found or [""] if _JOIN.search(path) else found

    def _select(self, node: Any, selects: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
        """Every combination of what the selects give."""
        for parts in product(*(list(self._one(node, select)) for select in selects)):
            yield {name: value for part in parts for name, value in part.items()}

    def _one(self, node: Any, select: Mapping[str, Any]) -> Iterator[Row]:
        loop = select.get("forEach") or select.get("forEachOrNull")
        foci = self._nodes(node, loop) if loop else [node]
        if not foci and "forEachOrNull" in select:
            yield dict.fromkeys(_names(select))
        for focus in foci:
            columns = {column["name"]: self._column(focus, column) for column in select.get("column", ())}
            for below in self._select(focus, select.get("select", ())):
                if "unionAll" not in select:
                    yield {**columns, **below}
                for branch in select.get("unionAll", ()):
                    for row in self._one(focus, branch):
                        yield {**columns, **below, **row}

    def _column(self, focus: Any, column: Mapping[str, Any]) -> Any:
        found = [float(value) if isinstance(value, Decimal) else value for value in self.values(focus, column["path"])]
        if column.get("collection"):
            return found
        if len(found) > 1:
            raise ValueError(f"column {column['name']} is no collection and has {len(found)} values")
        return found[0] if found else None

    def _evaluate(self, node: Any, path: str) -> list[Any]:
        return self._path(path, raw=False)(node, {})

    def _nodes(self, node: Any, path: str) -> list[Any]:
        """As `_evaluate`, in the library's own form, which keeps what type an element has."""
        return self._path(path, raw=True)(node, {})

    def _path(self, path: str, *, raw: bool) -> Callable[[Any, Any], list[Any]]:
        if (path, raw) not in self._compiled:
            self._compiled[path, raw] = compile_path(path, self._model, {"returnRawData": raw})
        return self._compiled[path, raw]


def _names(select: Mapping[str, Any]) -> Iterator[str]:
    yield from (column["name"] for column in select.get("column", ()))
    for below in select.get("select", ()):
        yield from _names(below)
    for branch in select.get("unionAll", ())[:1]:
        yield from _names(branch)
