"""Is a line certainly a valid resource? The quick way to say yes; whatever it does not accept goes to the exact check.

It may say no to anything, but says yes only where the exact check (gateway.fhir.validate) says yes as well: docs/adr/0023.
"""

import re
from typing import Any

import msgspec

from gateway.fhir.bindings import ENTERED_IN_ERROR, foreign_concept, has_concepts
from gateway.fhir.elements import FhirVersion
from gateway.fhir.json_depth import too_deep
from gateway.fhir.structs import TYPE, decoder

_TYPE = re.compile(rf'"{TYPE}"\s*:\s*"([A-Za-z]+)"')
_ESCAPE = re.compile(r"\\[uf]")
"""The form feed is white space that may not stand alone in a string; behind \\u there may be anything."""
_WHITE_SPACE = re.compile(r"[^\S\x00-\x7f]")
_ENCODER = msgspec.json.Encoder()


def accept(text: str, version: FhirVersion) -> tuple[str, str] | None:
    """Type and id of the resource whose JSON `text` is; None if the exact check has to look at it."""
    found = _decoded(text, version)
    if found is None or _repeats_a_key(text, found) or too_deep(text, lambda: msgspec.to_builtins(found)):
        return None
    if has_concepts(found.resourceType) and foreign_concept(found.resourceType, msgspec.to_builtins(found)) is not None:
        return None
    return found.resourceType, found.id


def _decoded(text: str, version: FhirVersion) -> Any:
    if ("\\" in text and _ESCAPE.search(text)) or ENTERED_IN_ERROR in text or (not text.isascii() and _WHITE_SPACE.search(text)):
        return None
    named = _TYPE.search(text)
    reader = decoder(named[1], version) if named else None
    if reader is None:
        return None
    try:
        return reader.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _repeats_a_key(text: str, found: Any) -> bool:
    """Whether `text` holds more than was decoded: of a repeated key only the last value is kept, and each key has two quotes."""
    return text.count('"') != _ENCODER.encode(found).count(b'"')
