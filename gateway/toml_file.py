"""Read a TOML file into a pydantic model; whatever is wrong becomes one sentence naming file, key, problem and remedy."""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from gateway.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """One table of a configuration file: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


FilePath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path; relative ones are relative to the file they stand in."""


def read(path: Path) -> dict[str, Any]:
    """Parse the TOML file `path`; raise ConfigError with one sentence if that cannot be done."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def validate(model: type[Model], data: dict[str, Any], path: Path) -> Model:
    """Make the model of what was read from `path`; raise ConfigError naming the first key that is wrong."""
    try:
        return model.model_validate(data, context={"folder": path.parent})
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """The first validation error as a sentence; how many more there are stands at its end.

    An unknown key comes before others: where a key is misspelt, it is the reason why another one is missing.
    """
    problems = sorted(error.errors(include_url=False, include_context=False), key=lambda problem: problem["type"] != "extra_forbidden")
    sentence = _sentence(problems[0])
    return sentence if len(problems) == 1 else f"{sentence} (and {len(problems) - 1} more)"


def _sentence(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {key}; remove it or correct its spelling"
        case "missing":
            return f"{key} is missing; add it"
        case "value_error":
            message = str(problem["msg"]).removeprefix("Value error, ")
            return f"{key}: {message}" if key else message
        case _:
            return f"{key} = {problem['input']!r} cannot be used: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def render(sections: Mapping[str, Mapping[str, object]], *, folder: Path) -> str:
    """TOML text of flat sections (the one named "" has no heading); paths are written relative to `folder`, where the file will lie."""
    blocks = []
    for name, values in sections.items():
        heading = [f"[{name}]"] if name else []
        blocks.append("\n".join([*heading, *(f"{key} = {_value(value, folder)}" for key, value in values.items())]) + "\n")
    return "\n".join(blocks)


def _value(value: object, folder: Path) -> str:
    if isinstance(value, Path):
        value = os.path.relpath(value, folder)
    # JSON's strings, numbers, booleans and flat lists are TOML's too.
    return json.dumps(value, ensure_ascii=False)
