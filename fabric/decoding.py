"""From JSON values to frozen dataclasses: one decoder for the contract's arguments and for what its views return."""

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Decoder = Callable[[Any, str], Any]
Check = Callable[[Any, str], None]


class DecodeError(ValueError):
    """A value has not the shape asked for; the message names the field and what it must be."""


def decode(kind: type[T], value: Any, *, strict: bool) -> T:
    """Build the dataclass `kind` from parsed JSON; raise DecodeError naming the first field that does not fit.

    `strict` refuses unknown fields (arguments); without it they are ignored, so that a client understands the views of a
    newer contract. A field with a default may be missing. A field typed `Annotated[type, check]` is also passed to `check(value, where)`.
    """
    result: T = _decoder(cast(Any, kind), strict)(value, "the argument" if strict else "the answer")
    return result


@functools.cache
def _decoder(kind: Any, strict: bool) -> Decoder:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _checked(_decoder(arguments[0], strict), [check for check in arguments[1:] if callable(check)])
    if origin in (Union, types.UnionType):
        (inner,) = (part for part in arguments if part is not types.NoneType)
        return _optional(_decoder(inner, strict))
    if origin is tuple:
        return _sequence(_decoder(arguments[0], strict))
    if origin is dict:
        return _mapping(_decoder(arguments[0], strict), _decoder(arguments[1], strict))
    if dataclasses.is_dataclass(kind):
        return _record(kind, strict)
    return _scalar(kind)


def _scalar(kind: Any) -> Decoder:
    name = {str: "a string", int: "an integer", bool: "true or false"}[kind]

    def run(value: Any, where: str) -> Any:
        if type(value) is not kind:  # exact: JSON's true must not pass for the integer 1
            raise DecodeError(f"{where} must be {name}")
        return value

    return run


def _checked(inner: Decoder, checks: list[Check]) -> Decoder:
    def run(value: Any, where: str) -> Any:
        result = inner(value, where)
        for check in checks:
            check(result, where)
        return result

    return run


def _optional(inner: Decoder) -> Decoder:
    def run(value: Any, where: str) -> Any:
        return None if value is None else inner(value, where)

    return run


def _sequence(item: Decoder) -> Decoder:
    def run(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise DecodeError(f"{where} must be a list")
        return tuple(item(entry, f"{where}[{position}]") for position, entry in enumerate(value))

    return run


def _mapping(key: Decoder, item: Decoder) -> Decoder:
    def run(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise DecodeError(f"{where} must be an object")
        return {key(name, where): item(entry, f"{where}.{name}") for name, entry in value.items()}

    return run


def _record(kind: Any, strict: bool) -> Decoder:
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: _decoder(hints[field.name], strict) for field in dataclasses.fields(kind)}
    required = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}

    def run(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise DecodeError(f"{where} must be an object")
        missing = required - value.keys()
        if missing:
            raise DecodeError(f"{where} lacks {', '.join(sorted(missing))}")
        unknown = value.keys() - fields.keys()
        if strict and unknown:
            raise DecodeError(f"{where} has unknown keys, {len(unknown)} of them; allowed are {', '.join(sorted(fields))}")
        return kind(**{name: run_field(value[name], name) for name, run_field in fields.items() if name in value})

    return run
