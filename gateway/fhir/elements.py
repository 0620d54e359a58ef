"""Which elements FHIR's resources have: the generated models of fhir.resources, read as a table of types for each release.

Models are imported one resource at a time: all of them together take seconds.
"""

import importlib
import typing
import uuid
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal

FhirVersion = Literal["R4", "R5"]

_PACKAGES: dict[FhirVersion, str] = {"R4": "fhir.resources.R4B", "R5": "fhir.resources"}
"""R4B is R4 but for a few resources about medicines and evidence; R4 itself has no generated models."""

PRIMITIVES = {
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "integer64": "BIGINT",
    "positiveInt": "BIGINT",
    "unsignedInt": "BIGINT",
    "decimal": "DOUBLE",
    **dict.fromkeys(
        (
            "base64Binary",
            "canonical",
            "code",
            "date",
            "dateTime",
            "id",
            "instant",
            "markdown",
            "oid",
            "string",
            "time",
            "uri",
            "url",
            "uuid",
            "xhtml",
        ),
        "VARCHAR",
    ),
}
"""FHIR's primitive types and the DuckDB type that holds each."""

_PLAIN = {bool: "boolean", uuid.UUID: "uuid"}
"""Primitive types that the models spell as plain Python types."""


@dataclass(frozen=True)
class ElementType:
    """An element of a resource or data type."""

    type: str
    """A key of PRIMITIVES, or the name of a complex type."""
    many: bool
    codes: tuple[str, ...] = ()
    """Codes of the required binding, where the models know all of them."""


@cache
def model(type_name: str, version: FhirVersion) -> Any:
    """The generated model of a resource or complex type; raise KeyError if this release of FHIR has none of this name."""
    try:
        return importlib.import_module(_PACKAGES[version]).get_fhir_model_class(type_name)
    except (ValueError, AttributeError) as error:
        raise KeyError(type_name) from error


@cache
def elements(type_name: str, version: FhirVersion) -> dict[str, ElementType]:
    """Element name → type; an element that is a choice of types stands as `valueQuantity`, `valueString`, …"""
    return {
        field.alias or name: _element(field)
        for name, field in model(type_name, version).model_fields.items()
        if not name.endswith("__ext") and name not in ("resource_type", "fhir_comments", "contained")
    }


@cache
def choices(type_name: str, version: FhirVersion) -> dict[str, tuple[str, ...]]:
    """Name of a choice such as `value` → the elements that may stand for it."""
    found: dict[str, tuple[str, ...]] = {}
    for name, field in model(type_name, version).model_fields.items():
        choice = (field.json_schema_extra or {}).get("one_of_many")
        if choice:
            found[choice] = (*found.get(choice, ()), field.alias or name)
    return found


@cache
def required(type_name: str, version: FhirVersion) -> frozenset[str]:
    """Elements that must be there, and choices of which one must."""
    found = set()
    for name, field in model(type_name, version).model_fields.items():
        told = field.json_schema_extra or {}
        if field.is_required() or told.get("element_required"):
            found.add(field.alias or name)
        if told.get("one_of_many_required"):
            found.add(told["one_of_many"])
    return frozenset(found)


def _element(field: Any) -> ElementType:
    annotation, many = field.annotation, False
    metadata = list(field.metadata)
    while True:
        origin = typing.get_origin(annotation)
        if origin in (typing.Union, UnionType):
            annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
        elif origin is list:
            many, annotation = True, typing.get_args(annotation)[0]
        elif origin is typing.Annotated:
            annotation, *more = typing.get_args(annotation)
            metadata += more
        else:
            break
    codes = tuple((field.json_schema_extra or {}).get("enum_values", ()))
    type_name = _type_name(annotation, metadata)
    return ElementType(type_name, many, codes if type_name == "code" and "+" not in codes else ())


def _type_name(annotation: Any, metadata: list[Any]) -> str:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    for item in metadata:
        name = type(item).__name__
        lowered = name[0].lower() + name[1:]
        if lowered in PRIMITIVES:
            return lowered
    name = str(annotation.__name__)
    return name.removesuffix("Type")
