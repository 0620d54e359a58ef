"""Is a line a FHIR resource? Strict JSON, then the structure by fhir.resources, then the codes that FHIR binds as required.

Most lines are accepted at once by gateway.fhir.acceptor; only this module refuses one.

Reasons are short names that hold nothing of the resource, because they are counted, shown and written to the quarantine file.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from gateway.fhir.acceptor import accept
from gateway.fhir.bindings import STATUS, entered_in_error, foreign_concept
from gateway.fhir.elements import PRIMITIVES, FhirVersion, elements, model
from gateway.fhir.json_depth import MAX_DEPTH, too_deep

MAX_ID_LENGTH = 64
"""FHIR's limit, which fhir.resources does not enforce."""

_KINDS: dict[str, tuple[type, ...]] = {"BOOLEAN": (bool,), "BIGINT": (int,), "DOUBLE": (int, float), "VARCHAR": (str,)}
"""What a primitive element must be in JSON. fhir.resources also takes "72.5" for a decimal and "yes" for a boolean; FHIR does not."""

_INTEGER64 = (int, str)
"""JSON's numbers are too small for it, so that FHIR R5 writes it as a string."""


@dataclass(frozen=True)
class Resource:
    """A valid resource: the line's text is what the views read."""

    type: str
    id: str
    text: str


class RefusedLineError(ValueError):
    """A line that is no usable resource: `reason` is a short name, `detail` where it is wrong, without values."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.type: str | None = None
        """What the line says it is, where it is JSON that says so: who does not need this type need not care."""


def resource(data: bytes | None, needed: frozenset[str] | None, version: FhirVersion = "R4") -> Resource | None:
    """The resource on a line; None if its type is not `needed` (None: every type is). Raises RefusedLineError."""
    if data is None:
        raise RefusedLineError("too-long", "the line is longer than a resource may be")
    text = _text(data)
    accepted = accept(text, version)
    if accepted is None:
        return _exactly(text, needed, version)
    resource_type, identifier = accepted
    return Resource(resource_type, identifier, text) if needed is None or resource_type in needed else None


def _exactly(text: str, needed: frozenset[str] | None, version: FhirVersion) -> Resource | None:
    """The judge of every line that is not accepted at once."""
    parsed = _json(text)
    if not isinstance(parsed, dict):
        raise RefusedLineError("not-fhir", "the line is JSON, but no object")
    resource_type = parsed.get("resourceType")
    if not isinstance(resource_type, str) or not resource_type:
        raise RefusedLineError("not-fhir", "resourceType is missing")
    if needed is not None and resource_type not in needed:
        return None
    try:
        return _checked(resource_type, parsed, text, version)
    except RefusedLineError as error:
        error.type = resource_type
        raise


def _checked(resource_type: str, parsed: dict[str, Any], text: str, version: FhirVersion) -> Resource:
    _check_structure(resource_type, text, version)
    _check_values(resource_type, parsed, version)
    concept = foreign_concept(resource_type, parsed)
    if concept is not None:
        raise RefusedLineError("bad-code", f"{resource_type}: {concept} is none of the codes that FHIR requires")
    identifier = parsed.get("id")
    if not identifier or len(identifier) > MAX_ID_LENGTH:
        raise RefusedLineError("no-id", f"id is missing or longer than {MAX_ID_LENGTH} characters")
    if entered_in_error(parsed):
        raise RefusedLineError("entered-in-error", "the hospital itself marked the resource as wrong")
    return Resource(resource_type, identifier, text)


def _text(data: bytes) -> str:
    try:
        text = data.decode().strip()
    except UnicodeDecodeError as error:
        raise RefusedLineError("not-utf8", f"byte {error.start} of the line is not UTF-8") from None
    if "\\u0000" in text:
        raise RefusedLineError("control-character", "a string holds the character NUL")
    return text


def _json(text: str) -> Any:
    try:
        parsed = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise RefusedLineError("too-deep", f"nests deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise RefusedLineError("not-json", f"{error.msg} at character {error.pos + 1}") from None
    except RefusedLineError:
        raise
    except ValueError:
        raise RefusedLineError("bad-number", "an integer has too many digits") from None
    if too_deep(text, lambda: parsed):
        raise RefusedLineError("too-deep", f"nests deeper than {MAX_DEPTH} levels")
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise RefusedLineError("duplicate-key", "a key stands twice in one object")
    return result


def _no_constant(text: str) -> float:
    raise RefusedLineError("bad-number", f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise RefusedLineError("bad-number", "a number is too large")
    return number


def _check_structure(resource_type: str, text: str, version: FhirVersion) -> None:
    try:
        checker = model(resource_type, version)
    except KeyError:
        raise RefusedLineError("not-fhir", f"the resourceType is none of FHIR {version}") from None
    try:
        checker.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join("*" if isinstance(part, int) else _element_name(part) for part in first["loc"]) or resource_type
        raise RefusedLineError("not-fhir", f"{resource_type}: {place} is not what FHIR {version} allows") from None
    except RecursionError:
        raise RefusedLineError("too-deep", f"nests deeper than {MAX_DEPTH} levels") from None


def _element_name(part: Any) -> str:
    """An element as FHIR spells it; an unknown key may hold anything and is not repeated."""
    text = str(part)
    return text if text.isidentifier() and len(text) <= 40 else "?"


@cache
def _bindings(type_name: str, version: FhirVersion) -> dict[str, tuple[str, tuple[type, ...], tuple[str, ...]]]:
    """Element → its type, what it must be in JSON (nothing for complex types) and its required codes (nothing where any will do)."""
    found = {name: (element.type, _kinds(element.type), element.codes) for name, element in elements(type_name, version).items()}
    if type_name in STATUS[version]:
        found["status"] = ("code", (str,), STATUS[version][type_name])
    return found


def _kinds(type_name: str) -> tuple[type, ...]:
    if type_name == "integer64":
        return _INTEGER64
    return _KINDS[PRIMITIVES[type_name]] if type_name in PRIMITIVES else ()


def _check_values(type_name: str, parsed: dict[str, Any], version: FhirVersion) -> None:
    """Walk a resource that has the right structure: JSON kinds and required codes of every element."""
    bindings = _bindings(type_name, version)
    for name, value in parsed.items():
        binding = bindings.get(name)
        if binding is None:  # resourceType, contained, or the extension of a primitive
            continue
        child, kinds, codes = binding
        for item in value if isinstance(value, list) else (value,):
            if item is None:
                if not kinds or not isinstance(value, list):  # only lists of primitives have gaps, filled by extensions
                    raise RefusedLineError("not-fhir", f"{type_name}: {name} is null")
            elif not kinds:
                _check_values(child, item, version)
            elif not isinstance(item, kinds) or (isinstance(item, bool) and bool not in kinds):
                raise RefusedLineError("not-fhir", f"{type_name}: {name} is no JSON value for a {child}")
            elif codes and item not in codes:
                raise RefusedLineError("bad-code", f"{type_name}: {name} is none of the codes that FHIR requires")
