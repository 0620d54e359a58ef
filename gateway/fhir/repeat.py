"""`repeat` of a ViewDefinition: everything that its paths reach from one element, level after level, to any depth.

Levels have no end, typed columns do. So the elements where the descent starts are kept as JSON, DuckDB's json_tree walks them in
the order of the document, and a pattern of key paths says which of the objects it passes are reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.fhir import fhirpath
from gateway.fhir.elements import PRIMITIVES, FhirVersion, elements
from gateway.fhir.errors import ViewError
from gateway.fhir.expressions import Context, identifier, quote
from gateway.fhir.fhirpath import Expression, Member, This
from gateway.fhir.structure import Node, structure


@dataclass(frozen=True)
class Descent:
    """What a `repeat` reaches: `sql` gives rows of `item` and `row_index`; `node` is None where it never reaches anything."""

    sql: str
    node: Node | None
    notes: tuple[str, ...]


def descent(paths: Sequence[str], context: Context) -> Descent:
    """Compile `paths` from `context.this`; raise ViewError naming the path and what is not supported there."""
    steps = [_names(path) for path in paths]
    start, node = context.this.type, context.this.node
    reached = _reached(start, steps, context.version)
    types = sorted({found for _, found in reached})
    if len(types) > 1:
        raise ViewError(f"repeat reaches different types: {', '.join(types)}; use one repeat for each")
    unused = [path for path, names in zip(paths, steps, strict=True) if names not in {names for names, _ in reached}]
    notes = tuple(f"repeat {path!r} names no element of {' or '.join([start, *types])}, so it finds nothing" for path in unused)
    first = [names[0] for names in steps if start not in PRIMITIVES and names[0] in elements(start, context.version)]
    if not types or not first or node is None:
        return Descent("SELECT NULL AS item, 0 AS row_index WHERE false", None, notes)
    for name in first:
        element = elements(start, context.version)[name]
        node.child(name, element.type, many=element.many)
        node.whole.add(name)
    items = node.items(tuple(paths), types[0])
    fields = ", ".join(f"{quote(name)}, {context.this.sql}.{identifier(name)}" for name in dict.fromkeys(first))
    pattern = quote(rf"\$({'|'.join(map(_pattern, steps))})+")
    # S608: names come from FHIR's own definitions, and quote() escapes what does not.
    sql = (
        f"SELECT json_transform(value, {quote(structure(items.shape()))}) AS item,"  # noqa: S608
        f" row_number() OVER (ORDER BY id) - 1 AS row_index FROM json_tree(json_object({fields}))"
        f" WHERE type = 'OBJECT' AND regexp_full_match(fullkey, {pattern})"
    )
    return Descent(sql, items, notes)


def _pattern(names: Sequence[str]) -> str:
    """A regular expression for one round of the descent in a key path, such as `.answer[0].item[2]`."""
    return "".join(rf"\.{name}(\[[0-9]+\])?" for name in names)


def _names(path: str) -> tuple[str, ...]:
    def walk(expression: Expression) -> tuple[str, ...]:
        match expression:
            case This():
                return ()
            case Member(base, name):
                return (*walk(base), name)
            case _:
                raise ViewError(f"repeat {path!r} is not supported; it takes names of elements joined by dots, such as item or answer.item")

    names = walk(fhirpath.parse(path))
    if not names or not all(name.isalnum() for name in names):
        raise ViewError(f"repeat {path!r} is not supported; it takes names of elements joined by dots, such as item or answer.item")
    return names


def _reached(start: str, steps: Sequence[tuple[str, ...]], version: FhirVersion) -> set[tuple[tuple[str, ...], str]]:
    """Pairs of a path and a type it gives, from the start or from anything reached."""
    found: set[tuple[tuple[str, ...], str]] = set()
    waiting, seen = [start], {start}
    while waiting:
        origin = waiting.pop()
        for names in steps:
            reached = _end(origin, names, version)
            if reached is None:
                continue
            if reached in PRIMITIVES:
                raise ViewError(f"repeat {'.'.join(names)!r} gives {reached}, which has no elements; use forEach")
            found.add((names, reached))
            if reached not in seen:
                seen.add(reached)
                waiting.append(reached)
    return found


def _end(origin: str, names: Sequence[str], version: FhirVersion) -> str | None:
    """The type that `names` lead to from `origin`, or None."""
    for name in names:
        if origin in PRIMITIVES or name not in elements(origin, version):
            return None
        origin = elements(origin, version)[name].type
    return origin
