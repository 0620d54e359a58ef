"""ViewDefinition of SQL-on-FHIR v2 as data: the fields this product reads, everything else refused by name."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from gateway.toml_file import Section

SqlName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
"""A name that needs no quoting in SQL, as the ViewDefinition profile demands."""

Path = Annotated[str, Field(min_length=1, max_length=1000)]
"""A FHIRPath expression; the bound keeps a parser's work small for a task that a stranger wrote."""

TEXT_CONSTANTS = frozenset(
    {
        "valueString",
        "valueCode",
        "valueId",
        "valueUri",
        "valueUrl",
        "valueCanonical",
        "valueOid",
        "valueUuid",
        "valueMarkdown",
        "valueBase64Binary",
        "valueDate",
        "valueDateTime",
        "valueInstant",
        "valueTime",
    }
)
NUMBER_CONSTANTS: dict[str, type | tuple[type, ...]] = {
    "valueInteger": int,
    "valuePositiveInt": int,
    "valueUnsignedInt": int,
    "valueDecimal": (int, float),
}


class Constant(Section):
    """`%name` in a path: exactly one value[x]."""

    # The one element with fifty possible keys, of which one stands there; checked below instead of spelled out.
    model_config = ConfigDict(extra="allow")

    name: SqlName

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        values = self.model_extra or {}
        if len(values) != 1:
            raise ValueError(f"constant {self.name} needs exactly one value, such as valueString")
        key, value = next(iter(values.items()))
        if key in TEXT_CONSTANTS:
            fits = isinstance(value, str)
        elif key in NUMBER_CONSTANTS:
            fits = isinstance(value, NUMBER_CONSTANTS[key]) and not isinstance(value, bool)
        elif key == "valueBoolean":
            fits = isinstance(value, bool)
        else:
            raise ValueError(f"constant {self.name}: {key} is no value of a ViewDefinition constant")
        if not fits:
            raise ValueError(f"constant {self.name}: {value!r} does not fit {key}")
        return self

    @property
    def value(self) -> tuple[str, str | int | float | bool]:
        """The key, such as `valueString`, and the value."""
        key, value = next(iter((self.model_extra or {}).items()))
        return key, value


class Column(Section):
    """One column: a path evaluated for each row. Without `type` it has the type of its path."""

    name: SqlName
    path: Path
    type: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$")] | None = None
    collection: bool = False
    description: str | None = None


class Select(Section):
    """Columns, nested selects and unions, repeated for each item of `forEach`; siblings are joined as a cross product."""

    column: tuple[Column, ...] = ()
    select: "tuple[Select, ...]" = ()
    union_all: "tuple[Select, ...]" = Field(default=(), alias="unionAll")
    for_each: Path | None = Field(default=None, alias="forEach")
    for_each_or_null: Path | None = Field(default=None, alias="forEachOrNull")
    repeat: tuple[Path, ...] = ()

    @model_validator(mode="after")
    def _one_loop(self) -> Self:
        if (self.for_each is not None) + (self.for_each_or_null is not None) + bool(self.repeat) > 1:
            raise ValueError("a select takes one of forEach, forEachOrNull and repeat")
        if not (self.column or self.select or self.union_all):
            raise ValueError("a select without column, select or unionAll gives nothing; add a column")
        return self


class Where(Section):
    """A condition on the resource: only those for which it is true give rows."""

    path: Path
    description: str | None = None


class ViewDefinition(Section):
    """Which resource becomes which rows."""

    name: SqlName
    resource: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{1,40}$")]
    description: str | None = None
    status: Literal["draft", "active", "retired", "unknown"] = "active"
    constant: tuple[Constant, ...] = ()
    select: Annotated[tuple[Select, ...], Field(min_length=1)]
    where: tuple[Where, ...] = ()

    @model_validator(mode="after")
    def _names_stand_once(self) -> Self:
        for kind, names in (("column", self.columns()), ("constant", [constant.name for constant in self.constant])):
            twice = _first_twice(names)
            if twice is not None:
                raise ValueError(f"view {self.name} names the {kind} {twice} twice; rename one")
        return self

    def columns(self) -> list[str]:
        """Names of the columns, in the order of the ViewDefinition specification: columns, selects, unions."""
        return [column.name for select in self.select for column in columns_of(select)]


def columns_of(select: Select) -> list[Column]:
    """The columns that `select` gives; the branches of a union share the first one's."""
    columns = list(select.column)
    for nested in select.select:
        columns += columns_of(nested)
    if select.union_all:
        branches = [columns_of(branch) for branch in select.union_all]
        first, *others = ([column.name for column in branch] for branch in branches)
        if any(other != first for other in others):
            raise ValueError(f"the branches of a unionAll have different columns: {first} and {others}; make them equal, in one order")
        columns += branches[0]
    return columns


def _first_twice(names: list[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:  # SQL does not tell upper from lower case
            return name
        seen.add(name.lower())
    return None


def view_definition(data: dict[str, Any]) -> ViewDefinition:
    """Make a ViewDefinition of parsed JSON or TOML; raise pydantic.ValidationError otherwise."""
    return ViewDefinition.model_validate(data)
