"""ViewDefinitions become DuckDB SQL over typed columns: text that a hospital can read before it approves a task.

SQL-on-FHIR v2 (https://sql-on-fhir.org/ig), the shareable profile without `repeat`. What is not supported is refused by name
when the view is compiled.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gateway.fhir.elements import PRIMITIVES, model
from gateway.fhir.errors import ViewError
from gateway.fhir.expressions import Compiler, Context, Value, as_list, constant, group, identifier, one
from gateway.fhir.structure import Node
from gateway.fhir.view_definition import Column, Select, ViewDefinition

_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})


@dataclass(frozen=True)
class ViewColumn:
    """A column of a compiled view: FHIR type, and whether it holds a list."""

    name: str
    type: str
    collection: bool


@dataclass(frozen=True)
class CompiledView:
    """One view: `sql` reads the table named like the resource."""

    name: str
    resource: str
    sql: str
    columns: tuple[ViewColumn, ...]

    def column(self, name: str) -> ViewColumn:
        """The column of this name; the task file's validation found that it is there."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Views:
    """All views of a task, and the part of each resource type they read."""

    views: tuple[CompiledView, ...]
    structures: dict[str, str]
    """Resource type → structure for DuckDB's json_transform."""

    def view(self, name: str) -> CompiledView:
        """The view of this name; the task file's validation found that it is there."""
        return next(view for view in self.views if view.name == name)


def compile_views(definitions: Sequence[ViewDefinition]) -> Views:
    """Compile the views of one task; raise ViewError naming view, path and reason."""
    roots: dict[str, Node] = {}
    compiled = tuple(_compile(definition, roots) for definition in definitions)
    for root in roots.values():
        root.child("id", "id", many=False)
    return Views(compiled, {resource: json.dumps(root.shape()) for resource, root in sorted(roots.items())})


def _compile(definition: ViewDefinition, roots: dict[str, Node]) -> CompiledView:
    try:
        is_resource = "meta" in model(definition.resource).model_fields
    except KeyError:
        is_resource = False
    if not is_resource:
        raise ViewError(f"view {definition.name}: {definition.resource} is no FHIR R4 resource; correct its spelling")
    root = roots.setdefault(definition.resource, Node(definition.resource))
    context = Context(
        this=Value("r", definition.resource, many=False, node=root),
        resource=True,
        row_index="0",
        constants={item.name: constant(*item.value) for item in definition.constant},
    )
    compiler = Compiler(definition.name)
    selects = _Selects(definition.name, compiler)
    rows = _Rows([], [f"{identifier(definition.resource)} AS r"])
    for select in definition.select:
        selects.add(select, context, rows)
    conditions = [compiler.condition(where.path, context) for where in definition.where]
    columns = tuple(ViewColumn(column.name, column.type, column.collection) for column in rows.columns)
    return CompiledView(definition.name, definition.resource, rows.sql(conditions), columns)


@dataclass(frozen=True)
class _OutputColumn:
    name: str
    sql: str
    type: str
    collection: bool


@dataclass(frozen=True)
class _Rows:
    """A SELECT statement while it grows."""

    columns: list[_OutputColumn] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def sql(self, conditions: Sequence[str] = ()) -> str:
        columns = ",\n       ".join(f"{column.sql} AS {identifier(column.name)}" for column in self.columns)
        source = "\n  CROSS JOIN ".join(self.sources or ["(SELECT 1)"])
        where = "".join(f"\n  {word} {sql}" for word, sql in zip(["WHERE", *["AND"] * len(conditions)], conditions, strict=False))
        # S608: the SQL is this module's product; names are quoted, literals escaped, and the database reaches nothing outside itself.
        return f"SELECT {columns}\n  FROM {source}{where}"  # noqa: S608


class _Selects:
    def __init__(self, view: str, compiler: Compiler) -> None:
        self._view = view
        self._compiler = compiler

    def add(self, select: Select, context: Context, rows: _Rows) -> None:
        """Join the rows of `select` to `rows`."""
        if select.repeat:
            raise ViewError(f"view {self._view}: repeat is not supported; name each level with forEach")
        if select.for_each_or_null is not None:
            self._each_or_null(select, select.for_each_or_null, context, rows)
            return
        if select.for_each is not None:
            source, context = self._items(select.for_each, context)
            rows.sources.append(source)
        self._body(select, context, rows)

    def _body(self, select: Select, context: Context, rows: _Rows) -> None:
        rows.columns.extend(self._column(column, context) for column in select.column)
        for nested in select.select:
            self.add(nested, context, rows)
        if select.union_all:
            self._union(select.union_all, context, rows)

    def _items(self, path: str, context: Context) -> tuple[str, Context]:
        value = self._compiler.compile(path, context)
        if value.type.endswith("[x]"):
            raise ViewError(f"view {self._view}: path {path!r}: {value.type} is a choice of types; narrow it with ofType()")
        alias, items = self._compiler.fresh("t"), as_list(value)
        source = f"LATERAL (SELECT unnest({items}) AS item, generate_subscripts({items}, 1) - 1 AS row_index) AS {alias}"
        this = replace(value, sql=f"{alias}.item", many=False)
        return source, replace(context, this=this, resource=False, row_index=f"{alias}.row_index")

    def _each_or_null(self, select: Select, path: str, context: Context, rows: _Rows) -> None:
        source, inner = self._items(path, context)
        found = _Rows([], [source])
        self._body(select, inner, found)
        items = as_list(self._compiler.compile(path, context))
        nulls = ", ".join(f"{'0' if column.sql == inner.row_index else 'NULL'} AS {identifier(column.name)}" for column in found.columns)
        self._join(f"{found.sql()}\n  UNION ALL SELECT {nulls} WHERE len({items}) = 0", found.columns, rows)

    def _union(self, branches: Sequence[Select], context: Context, rows: _Rows) -> None:
        tables = []
        for branch in branches:
            table = _Rows()
            self.add(branch, context, table)
            tables.append(table)
        for columns in zip(*(table.columns for table in tables), strict=True):
            if len({(group(column.type), column.collection) for column in columns}) > 1:
                types = ", ".join(column.type for column in columns)
                raise ViewError(f"view {self._view}: the branches of a unionAll give {columns[0].name} different types: {types}")
        self._join("\n  UNION ALL ".join(table.sql() for table in tables), tables[0].columns, rows)

    def _join(self, query: str, columns: Sequence[_OutputColumn], rows: _Rows) -> None:
        alias = self._compiler.fresh("t")
        rows.sources.append(f"LATERAL ({query}) AS {alias}")
        rows.columns.extend(replace(column, sql=f"{alias}.{identifier(column.name)}") for column in columns)

    def _column(self, column: Column, context: Context) -> _OutputColumn:
        value = self._compiler.compile(column.path, context)
        if value.type not in PRIMITIVES:
            raise ViewError(
                f"view {self._view}: column {column.name} would hold {value.type}; name an element of it, such as its code or value"
            )
        self._check_type(column, value)
        sql = as_list(value) if column.collection else one(value, column.path).sql
        return _OutputColumn(column.name, sql, value.type, column.collection)

    def _check_type(self, column: Column, value: Value) -> None:
        if column.type is None:
            return
        fits = group(column.type) == group(value.type) and not (column.type in _INTEGERS and value.type == "decimal")
        if column.type not in PRIMITIVES or not fits:
            raise ViewError(f"view {self._view}: column {column.name} is declared {column.type}, but its path gives {value.type}")
