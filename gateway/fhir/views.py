"""ViewDefinitions become DuckDB SQL over typed columns: text that a hospital can read before it approves a task.

SQL-on-FHIR v2 (https://sql-on-fhir.org/ig), the shareable profile. What is not supported is refused by name when the view is compiled.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gateway.fhir import repeat
from gateway.fhir.elements import PRIMITIVES, FhirVersion, model
from gateway.fhir.errors import ViewError
from gateway.fhir.expressions import Compiler, Context, Value, as_list, constant, group, identifier, one
from gateway.fhir.structure import Node, structure
from gateway.fhir.view_definition import Column, Select, ViewDefinition, columns_of

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
    notes: tuple[str, ...] = ()
    """Sentences about what a reader would not expect."""

    def column(self, name: str) -> ViewColumn:
        """The column of this name; the task file's validation found that it is there."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Views:
    """All views of a task, and the part of each resource type they read."""

    views: tuple[CompiledView, ...]
    structures: dict[str, str]
    """Resource type → structure for DuckDB's json_transform."""
    as_written: frozenset[str] = frozenset()
    """Resource types of which some view needs decimals with the digits that were written."""

    @property
    def digest(self) -> str:
        """SHA-256 in hex over names, resources and SQL of the views, in their order: what a hospital has read."""
        read = [{"name": view.name, "resource": view.resource, "sql": view.sql} for view in self.views]
        return hashlib.sha256(json.dumps(read, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def view(self, name: str) -> CompiledView:
        """The view of this name; the task file's validation found that it is there."""
        return next(view for view in self.views if view.name == name)


def compile_views(definitions: Sequence[ViewDefinition], version: FhirVersion = "R4") -> Views:
    """Compile the views of one task; raise ViewError naming view, path and reason."""
    roots: dict[str, Node] = {}
    # Twice: the first time finds out what is read of each resource, the second writes SQL that knows all of it.
    compiled = [tuple(_compile(definition, roots, version) for definition in definitions) for _ in range(2)][-1]
    for root in roots.values():
        root.child("id", "id", many=False)
    return Views(
        compiled,
        {resource: structure(root.shape()) for resource, root in sorted(roots.items())},
        frozenset(resource for resource, root in roots.items() if root.keeps_digits()),
    )


def _compile(definition: ViewDefinition, roots: dict[str, Node], version: FhirVersion) -> CompiledView:
    try:
        is_resource = "meta" in model(definition.resource, version).model_fields
    except KeyError:
        is_resource = False
    if not is_resource:
        raise ViewError(f"view {definition.name}: {definition.resource} is no FHIR {version} resource; correct its spelling")
    root = roots.setdefault(definition.resource, Node(definition.resource))
    context = Context(
        this=Value("r", definition.resource, many=False, node=root),
        resource=True,
        row_index="0",
        constants={item.name: constant(*item.value) for item in definition.constant},
        version=version,
    )
    compiler = Compiler(definition.name)
    selects = _Selects(definition.name, compiler)
    rows = _Rows([], [f"{identifier(definition.resource)} AS r"])
    for select in definition.select:
        selects.add(select, context, rows)
    conditions = [compiler.condition(where.path, context) for where in definition.where]
    columns = tuple(ViewColumn(column.name, column.type, column.collection) for column in rows.columns)
    return CompiledView(definition.name, definition.resource, rows.sql(conditions), columns, tuple(selects.notes))


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
        self.notes: list[str] = []

    def add(self, select: Select, context: Context, rows: _Rows) -> None:
        """Join the rows of `select` to `rows`."""
        if select.repeat:
            self._repeat(select, context, rows)
            return
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

    def _repeat(self, select: Select, context: Context, rows: _Rows) -> None:
        try:
            descent = repeat.descent(select.repeat, context)
        except ViewError as error:
            raise ViewError(f"view {self._view}: {error}") from error
        self.notes.extend(f"view {self._view}: {note}" for note in descent.notes)
        alias = self._compiler.fresh("t")
        rows.sources.append(f"LATERAL ({descent.sql}) AS {alias}")
        if descent.node is None:
            rows.columns.extend(self._never(column) for column in columns_of(select))
            return
        this = Value(f"{alias}.item", descent.node.type, many=False, node=descent.node)
        self._body(select, replace(context, this=this, resource=False, row_index=f"{alias}.row_index"), rows)

    def _never(self, column: Column) -> _OutputColumn:
        """A column of a select that cannot give a row: its path starts nowhere, so only its declaration says what it is."""
        if column.type not in PRIMITIVES:
            raise ViewError(f"view {self._view}: column {column.name} needs a type, because its repeat names no element of the resource")
        sql_type = PRIMITIVES[column.type] + ("[]" if column.collection else "")
        return _OutputColumn(column.name, f"CAST(NULL AS {sql_type})", column.type, column.collection)

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
