"""FHIRPath syntax trees become DuckDB expressions over typed columns.

Every expression has a static type and is either one value (NULL when empty) or a list (never NULL, without NULLs): what an
element's type or number does not allow is refused when the view is compiled, never answered with a silent NULL.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from gateway.fhir import fhirpath
from gateway.fhir.boundaries import BOUNDED, boundary
from gateway.fhir.elements import PRIMITIVES, FhirVersion, choices, elements, model
from gateway.fhir.errors import ViewError
from gateway.fhir.fhirpath import Binary, Call, Expression, Index, Literal, Member, This, Variable
from gateway.fhir.structure import Node, structure

NUMBERS = frozenset({"integer", "positiveInt", "unsignedInt", "decimal"})
MOMENTS = frozenset({"date", "dateTime", "instant"})
ROW_INDEX = "rowIndex"

_NUMERIC = {"+": "+", "-": "-", "*": "*"}
_ORDER = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True)
class Value:
    """A compiled expression."""

    sql: str
    type: str
    """A FHIR type; for a choice of types that no ofType() has narrowed, the choice's name such as `value[x]`."""
    many: bool
    node: Node | None = None
    """Where it is noted what of it is read; None for what is computed."""


@dataclass(frozen=True)
class Context:
    """What names in a path mean at one place of a view."""

    this: Value
    resource: bool
    """Whether `this` is the resource itself."""
    row_index: str
    constants: Mapping[str, Value]
    version: FhirVersion


def quote(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def group(type_name: str) -> str:
    """Types that compare with each other: number, text, boolean, moment, or the complex type itself."""
    if type_name in NUMBERS:
        return "number"
    if type_name in MOMENTS:
        return "moment"
    if type_name == "boolean" or type_name not in PRIMITIVES:
        return type_name
    return "text"


class Compiler:
    """Compiles the paths of one view; `names` numbers the variables it invents."""

    def __init__(self, view: str, names: Iterator[int] | None = None) -> None:
        self._view = view
        self._names = names or itertools.count(1)

    def compile(self, path: str, context: Context) -> Value:
        """The value of `path`; raise ViewError naming view, path and reason."""
        try:
            return _Path(context, self.fresh).value(fhirpath.parse(path))
        except _RefusedError as error:
            raise ViewError(f"view {self._view}: path {path!r}: {error}") from error
        except ViewError as error:
            raise ViewError(f"view {self._view}: {error}") from error

    def condition(self, path: str, context: Context) -> str:
        """SQL of a path that must be one boolean."""
        value = self.compile(path, context)
        if value.type != "boolean":
            raise ViewError(f"view {self._view}: path {path!r} gives {value.type}, where a boolean is needed; add a comparison or exists()")
        return one(value, path).sql

    def fresh(self, prefix: str) -> str:
        """A name that no other expression of this view uses."""
        return f"{prefix}{next(self._names)}"


class _RefusedError(Exception):
    """Why a path cannot be compiled."""


def one(value: Value, path: str) -> Value:
    """`value` as a single value; rows where it has several make the query fail by name."""
    if not value.many:
        return value
    message = quote(f"path {path}: a resource has several values where one is expected; add first() or set collection to true")
    return replace(value, many=False, sql=f"CASE WHEN len({value.sql}) > 1 THEN error({message}) ELSE ({value.sql})[1] END")


def as_list(value: Value) -> str:
    """SQL of `value` as a list without NULLs."""
    return value.sql if value.many else f"CASE WHEN {value.sql} IS NULL THEN [] ELSE [{value.sql}] END"


class _Path:
    def __init__(self, context: Context, fresh: Callable[[str], str], *, as_written: bool = False) -> None:
        self._context = context
        self._fresh = fresh
        self._as_written = as_written
        """Whether decimals whose digits are kept stay text."""

    def value(self, expression: Expression) -> Value:
        match expression:
            case Literal(value, type_name):
                return Value(_literal(value), type_name, many=False)
            case Variable(name):
                return self._variable(name)
            case This():
                return self._context.this
            case Member(base, name):
                return self._member(self.value(base), name)
            case Index(base, position):
                return self._index(self.value(base), self.value(position))
            case Binary(operator, left, right):
                return self._binary(operator, self.value(left), self.value(right))
            case Call():
                return self._call(expression)

    def _variable(self, name: str) -> Value:
        if name == ROW_INDEX:
            return Value(self._context.row_index, "integer", many=False)
        if name not in self._context.constants:
            raise _RefusedError(f"%{name} is not defined; add it to the view's constants")
        return self._context.constants[name]

    def _member(self, base: Value, name: str) -> Value:
        if base.type.endswith("[x]"):
            raise _RefusedError(f"{base.type} is a choice of types; narrow it with ofType(), such as ofType(Quantity)")
        if base.type in PRIMITIVES:
            raise _RefusedError(f"{base.type} has no element {name!r}")
        for choice, spelled in self._choices(base.type).items():
            if name == choice:
                return replace(base, type=f"{choice}[x]")
            if name in spelled:
                raise _RefusedError(f"{name} is spelled {choice}.ofType({name.removeprefix(choice)}) in FHIRPath")
        if name not in elements(base.type, self._context.version):
            raise _RefusedError(f"{base.type} has no element {name!r}")
        return self._element(base, name)

    def _choices(self, type_name: str) -> dict[str, tuple[str, ...]]:
        return choices(type_name, self._context.version)

    def _element(self, base: Value, name: str) -> Value:
        element = elements(base.type, self._context.version)[name]
        node = base.node.child(name, element.type, many=element.many) if base.node else None
        if not base.many:
            sql = self._field(base, base.sql, name)
            return Value(_compact(sql, self._fresh("e")) if element.many else sql, element.type, element.many, node)
        item = self._fresh("e")
        sql = _compact(f"list_transform({base.sql}, lambda {item}: {self._field(base, item, name)})", self._fresh("e"))
        if element.many:
            sql = _compact(f"flatten({sql})", self._fresh("e"))
        return Value(sql, element.type, True, node)

    def _field(self, base: Value, owner: str, name: str) -> str:
        """SQL of an element of `owner`, which is one item of `base`."""
        field = f"{owner}.{identifier(name)}"
        if base.node is None:
            return field
        if name in base.node.whole:
            field = f"json_transform({field}, {quote(structure(base.node.child_shape(name)))})"
        node, many = base.node.children[name]
        if not node.as_written or self._as_written:
            return field
        return f"CAST({field} AS DOUBLE{'[]' if many else ''})"

    def _index(self, base: Value, position: Value) -> Value:
        if position.many or group(position.type) != "number" or position.type == "decimal":
            raise _RefusedError("an index in [ ] must be one integer")
        return replace(base, sql=f"({as_list(base)})[{position.sql} + 1]", many=False)

    def _binary(self, operator: str, left: Value, right: Value) -> Value:
        if operator in ("and", "or"):
            sides = [self._boolean(side, operator) for side in (left, right)]
            return Value(f"({sides[0]} {operator.upper()} {sides[1]})", "boolean", many=False)
        if operator in ("=", "!="):
            equal = self._equal(left, right)
            return Value(equal if operator == "=" else f"(NOT {equal})", "boolean", many=False)
        if operator in _ORDER:
            return self._order(operator, left, right)
        return self._arithmetic(operator, left, right)

    def _boolean(self, value: Value, user: str) -> str:
        if value.type != "boolean":
            raise _RefusedError(f"{user} needs a boolean on both sides, not {value.type}; add a comparison or exists()")
        return one(value, user).sql

    def _equal(self, left: Value, right: Value) -> str:
        if left.many and right.many:
            raise _RefusedError("comparing two collections is not supported; add first() on one side")
        if right.many:
            left, right = right, left
        if not left.many:
            return _equality(left, right)
        item = _equality(replace(left, sql=f"({left.sql})[1]", many=False), right)
        return f"CASE WHEN len({left.sql}) = 0 THEN NULL WHEN len({left.sql}) > 1 THEN false ELSE {item} END"

    def _order(self, operator: str, left: Value, right: Value) -> Value:
        kinds = {group(left.type), group(right.type)}
        if kinds != {"number"}:
            raise _RefusedError(f"{operator} between {left.type} and {right.type} is not supported; it compares numbers")
        return Value(f"({one(left, operator).sql} {operator} {one(right, operator).sql})", "boolean", many=False)

    def _arithmetic(self, operator: str, left: Value, right: Value) -> Value:
        if {group(left.type), group(right.type)} != {"number"}:
            raise _RefusedError(f"{operator} between {left.type} and {right.type} is not supported; it works on numbers")
        first, second = one(left, operator).sql, one(right, operator).sql
        if operator == "/":  # FHIRPath: a division by zero is empty
            return Value(f"(CAST({first} AS DOUBLE) / nullif({second}, 0))", "decimal", many=False)
        type_name = "decimal" if "decimal" in (left.type, right.type) else "integer"
        return Value(f"({first} {_NUMERIC[operator]} {second})", type_name, many=False)

    def _call(self, call: Call) -> Value:
        handler = _FUNCTIONS.get(call.name)
        if handler is None:
            raise _RefusedError(f"the function {call.name}() is not supported; supported are {', '.join(sorted(_FUNCTIONS))}")
        name, fewest, most = handler
        if not fewest <= len(call.arguments) <= most:
            raise _RefusedError(
                f"{call.name}() takes {fewest if fewest == most else f'{fewest} or {most}'} arguments, not {len(call.arguments)}"
            )
        method: Callable[[Call], Value] = getattr(self, name)
        return method(call)

    def _filter(self, call: Call) -> Value:
        base = self.value(call.base)
        item = self._fresh("e") if base.many else base.sql
        inner = replace(
            self._context, this=replace(base, sql=item, many=False), resource=self._context.resource and isinstance(call.base, This)
        )
        condition = _Path(inner, self._fresh).value(call.arguments[0])
        kept = f"coalesce({self._boolean(condition, 'where()')}, false)"
        if base.many:
            return replace(base, sql=f"list_filter({base.sql}, lambda {item}: {kept})")
        return replace(base, sql=f"(CASE WHEN {kept} THEN {base.sql} END)")

    def _exists(self, call: Call) -> Value:
        base = self._filter(call) if call.arguments else self.value(call.base)
        if base.type.endswith("[x]"):
            raise _RefusedError(f"{base.type} is a choice of types; narrow it with ofType(), such as ofType(Quantity)")
        return Value(f"(len({base.sql}) > 0)" if base.many else f"({base.sql} IS NOT NULL)", "boolean", many=False)

    def _empty(self, call: Call) -> Value:
        return Value(f"(NOT {self._exists(call).sql})", "boolean", many=False)

    def _first(self, call: Call) -> Value:
        base = self.value(call.base)
        return replace(base, sql=f"({base.sql})[1]", many=False) if base.many else base

    def _join(self, call: Call) -> Value:
        base = self.value(call.base)
        if group(base.type) != "text":
            raise _RefusedError(f"join() works on text, not on {base.type}")
        separator = self.value(call.arguments[0]) if call.arguments else Value("''", "string", many=False)
        if separator.many or group(separator.type) != "text":
            raise _RefusedError("the separator of join() must be one string")
        return Value(f"array_to_string({as_list(base)}, {separator.sql})", "string", many=False)

    def _of_type(self, call: Call) -> Value:
        base = self.value(call.base)
        match call.arguments[0]:
            case Member(This(), wanted):
                pass
            case _:
                raise _RefusedError("ofType() takes the name of a type, such as ofType(Quantity)")
        if not base.type.endswith("[x]"):
            if base.type == wanted:
                return base
            raise _RefusedError(f"ofType({wanted}) on {base.type}: an element of one type needs no ofType()")
        parent = base.node.type if base.node else ""
        name = base.type.removesuffix("[x]") + wanted[0].upper() + wanted[1:]
        if name not in self._choices(parent)[base.type.removesuffix("[x]")]:
            raise _RefusedError(f"{base.type} of {parent} is never a {wanted}")
        return self._element(replace(base, type=parent), name)

    def _extension(self, call: Call) -> Value:
        match call.arguments[0]:
            case Literal(str(), _):
                pass
            case _:
                raise _RefusedError("extension() takes the extension's URL as a string")
        condition = Binary("=", Member(This(), "url"), call.arguments[0])
        return self.value(Call(Member(call.base, "extension"), "where", (condition,)))

    def _boundary(self, call: Call) -> Value:
        base = _Path(self._context, self._fresh, as_written=True).value(call.base)
        if base.type not in BOUNDED:
            raise _RefusedError(f"{call.name}() on {base.type} is not supported; it works on {', '.join(sorted(BOUNDED))}")
        if base.type == "decimal":
            if base.node is None:
                raise _RefusedError(f"{call.name}() of a computed decimal is not supported, because it was never written with a precision")
            base.node.as_written = True
        item = self._fresh("e")
        end = boundary(item, base.type, high=call.name == "highBoundary")
        # A list of one, so that the value is computed once however often its text is looked at.
        return Value(f"list_transform([{one(base, call.name).sql}], lambda {item}: {end})[1]", base.type, many=False)

    def _negate(self, call: Call) -> Value:
        return Value(f"(NOT {self._boolean(self.value(call.base), 'not()')})", "boolean", many=False)

    def _resource_key(self, call: Call) -> Value:
        if not (isinstance(call.base, This) and self._context.resource):
            raise _RefusedError("getResourceKey() is for the resource itself; write it at the start of a path outside forEach")
        return self._element(self._context.this, "id")

    def _reference_key(self, call: Call) -> Value:
        base = self.value(call.base)
        if base.type != "Reference":
            raise _RefusedError(f"getReferenceKey() is for references, not for {base.type}")
        kind = "[A-Z][A-Za-z]+"
        if call.arguments:
            match call.arguments[0]:
                case Member(This(), name):
                    kind = self._resource_name(name)
                case _:
                    raise _RefusedError("getReferenceKey() takes the name of a resource, such as getReferenceKey(Patient)")
        pattern = quote(rf"(?:^|/){kind}/([A-Za-z0-9.\-]{{1,64}})(?:/_history/[A-Za-z0-9.\-]+)?$")
        reference = self._element(base, "reference")
        if not reference.many:
            return Value(f"nullif(regexp_extract({reference.sql}, {pattern}, 1), '')", "id", many=False)
        item = self._fresh("e")
        keys = f"list_transform({reference.sql}, lambda {item}: nullif(regexp_extract({item}, {pattern}, 1), ''))"
        return Value(_compact(keys, self._fresh("e")), "id", many=True)

    def _resource_name(self, name: str) -> str:
        try:
            model(name, self._context.version)
        except KeyError:
            raise _RefusedError(f"{name} is no FHIR {self._context.version} resource") from None
        return name


_FUNCTIONS = {
    "where": ("_filter", 1, 1),
    "exists": ("_exists", 0, 1),
    "empty": ("_empty", 0, 0),
    "first": ("_first", 0, 0),
    "highBoundary": ("_boundary", 0, 0),
    "join": ("_join", 0, 1),
    "lowBoundary": ("_boundary", 0, 0),
    "ofType": ("_of_type", 1, 1),
    "extension": ("_extension", 1, 1),
    "not": ("_negate", 0, 0),
    "getResourceKey": ("_resource_key", 0, 0),
    "getReferenceKey": ("_reference_key", 0, 1),
}
"""Function → method, fewest and most arguments."""


def _literal(value: str | int | float | bool) -> str:
    if isinstance(value, str):
        return quote(value)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def constant(key: str, value: str | int | float | bool) -> Value:
    """The value of a ViewDefinition constant such as valueCode."""
    type_name = key.removeprefix("value")
    return Value(_literal(value), type_name[0].lower() + type_name[1:], many=False)


def _compact(sql: str, item: str) -> str:
    """A list without NULLs; a missing one is empty."""
    return f"list_filter(coalesce({sql}, []), lambda {item}: {item} IS NOT NULL)"


def _equality(left: Value, right: Value) -> str:
    kinds = {group(left.type), group(right.type)}
    if len(kinds) > 1 or not kinds <= {"number", "text", "boolean", "moment"}:
        raise _RefusedError(f"comparing {left.type} with {right.type} is not supported")
    if kinds == {"moment"}:
        return _same_moment(left.sql, right.sql)
    return f"({left.sql} = {right.sql})"


def _same_moment(left: str, right: str) -> str:
    """FHIRPath's equality of dates: of different precision it is unknown; times compare across time zones."""
    return (
        f"CASE WHEN {left} = {right} THEN true"
        f" WHEN contains({left}, 'T') AND contains({right}, 'T') THEN TRY_CAST({left} AS TIMESTAMPTZ) = TRY_CAST({right} AS TIMESTAMPTZ)"
        f" WHEN length({left}) = length({right}) THEN false END"
    )
