"""msgspec's types of FHIR's resources, made of the same table of elements that the exact check reads, and never more lenient than it.

What they leave out is refused by them, and so goes to the exact check: nested resources, extensions of primitive elements, and the
primitive types that few resources hold and whose rules are long.
"""

from collections.abc import Callable, Sequence, Set
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct
from msgspec.json import Decoder

from gateway.fhir.bindings import STATUS
from gateway.fhir.elements import PRIMITIVES, ElementType, FhirVersion, choices, elements, model, required

_YEAR, _MONTH = "[12][0-9]{3}", "(?:0[1-9]|1[0-2])"
_DAY = f"(?:{_MONTH}-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
"""Month and day of any year."""
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"


def _text(pattern: str) -> Any:
    return Annotated[str, Meta(pattern=rf"^(?:{pattern})\Z")]


def _whole(low: int) -> Any:
    return Annotated[int, Meta(ge=low, le=2**31 - 1)]


_PRIMITIVES: dict[str, Any] = {
    "boolean": bool,
    "integer": _whole(-(2**31)),
    "positiveInt": _whole(1),
    "unsignedInt": _whole(0),
    "decimal": float,
    "canonical": str,
    "code": _text("[!-~]+(?: [!-~]+)*"),
    "date": _text(f"{_YEAR}(?:-(?:{_MONTH}|{_DAY}))?"),
    "dateTime": _text(f"{_YEAR}(?:-(?:{_MONTH}|{_DAY}(?:T{_TIME})?))?"),
    "id": _text(r"[A-Za-z0-9\-.]{1,64}"),
    "instant": _text(f"{_YEAR}-{_DAY}T{_TIME}"),
    "markdown": str,
    "string": Annotated[str, Meta(min_length=1)],
    "uri": str,
    "xhtml": str,
}
"""Primitive type → what is certainly one, in a line without the white space that gateway.fhir.acceptor keeps out."""


TYPE = "resourceType"
"""The key that names a resource's type."""


@cache
def decoder(resource_type: str, version: FhirVersion) -> Decoder[Any] | None:
    """A decoder of JSON whose every result is structurally valid, repeated keys aside; None for what is no resource of this release."""
    try:
        known = model(resource_type, version).has_resource_base()
    except KeyError:
        return None
    return Decoder(_structs(version).of(resource_type)) if known else None


@cache
def _structs(version: FhirVersion) -> "_Structs":
    return _Structs(version)


class _Structs:
    """The types of one release, each made when it is first needed."""

    def __init__(self, version: FhirVersion) -> None:
        self._version = version
        self._made: dict[str, type[Struct]] = {}

    def of(self, name: str) -> type[Struct]:
        """The type of a resource or complex type."""
        if name not in self._made:
            self._make(name)
        return self._made[name]

    def _make(self, name: str) -> None:
        needed = required(name, self._version)
        found = {
            element: each for element, each in elements(name, self._version).items() if each.type in _PRIMITIVES or _complex(each.type)
        }
        if model(name, self._version).has_resource_base():
            needed |= {TYPE, "id"}
        names = (*sorted(needed - found.keys() - choices(name, self._version).keys()), *found)
        self._made[name] = made = defstruct(
            name,
            [(element, Any) if element in needed else (element, Any, UNSET) for element in names],
            namespace=_choice_check(name, self._version, found.keys(), needed),
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,  # JSON has no cycles
        )
        # Set afterwards, because a type may hold itself: msgspec reads them when it makes a decoder.
        made.__annotations__ = {element: self._annotation(name, element, found.get(element), needed=element in needed) for element in names}

    def _annotation(self, parent: str, name: str, element: ElementType | None, *, needed: bool) -> Any:
        if element is None:  # the resource's type; or one that is needed, but whose type is left out, so that every line is refused
            return Literal[parent] if name == TYPE else Literal[0]
        status = STATUS[self._version].get(parent, ()) if name == "status" else ()
        codes = status or element.codes
        if codes:
            single: Any = Literal[codes]
        elif element.type in PRIMITIVES:
            single = _PRIMITIVES[element.type]
        else:
            single = self.of(element.type)
        whole = list[single] if element.many else single
        return whole if needed else whole | UnsetType


def _complex(type_name: str) -> bool:
    return type_name not in PRIMITIVES and type_name not in ("Resource", "Element")


def _choice_check(name: str, version: FhirVersion, taken: Set[str], needed: Set[str]) -> dict[str, Any]:
    """What a type does after decoding: refuse a choice of types that has several values, or none where it needs one."""
    rules = [
        (_getter([each for each in names if each in taken]), int(choice in needed))
        for choice, names in choices(name, version).items()
        if not taken.isdisjoint(names) or choice in needed
    ]
    if not rules:
        return {}

    def check(made: Struct) -> None:
        for values, least in rules:
            found = values(made)
            if not least <= len(found) - found.count(UNSET) <= 1:
                raise ValueError("several values of one choice, or none")

    return {"__post_init__": check}


def _getter(names: Sequence[str]) -> Callable[[Struct], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda made: tuple(getattr(made, name) for name in names)
