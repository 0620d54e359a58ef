"""Canonical JSON: the one byte form of every record, argument and event (sorted keys, no spaces, no floats)."""

import json
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_HARMLESS = frozenset({str, int, bool, type(None)})  # most of what there is; it needs no closer look


class CanonicalError(ValueError):
    """The bytes are not the JSON this product exchanges; the message says what is wrong."""


def dumps(value: Any) -> bytes:
    """Return the canonical bytes of `value`; raise CanonicalError if it holds a float or another type JSON lacks."""
    _refuse_floats(value)
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, ValueError) as error:
        raise CanonicalError(f"not canonical JSON: {error}") from error


def loads(data: bytes | str) -> Any:
    """Parse JSON, refusing duplicate keys, floats and nesting that Python cannot follow."""
    try:
        return _DECODER.decode(data if isinstance(data, str) else data.decode(json.detect_encoding(data), "surrogatepass"))
    except CanonicalError:
        raise
    except (ValueError, RecursionError) as error:
        raise CanonicalError(f"not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise CanonicalError("a key stands twice in one object")
    return result


def _no_float(text: str) -> float:
    raise CanonicalError(f"{text} is not an integer; amounts are integers in micro-units")


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise CanonicalError(f"{value} is not an integer; amounts are integers in micro-units")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise CanonicalError(f"key {key!r} is not a string")
            if type(item) not in _HARMLESS:
                _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            if type(item) not in _HARMLESS:
                _refuse_floats(item)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float)
