"""A ViewDefinition from a JSON file, as SQL-on-FHIR's tools exchange them."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.fhir.errors import ViewError
from gateway.fhir.view_definition import ViewDefinition, view_definition
from gateway.toml_file import first_problem

MAX_BYTES = 1 << 20

_ABOUT = frozenset(
    {
        "resourceType",
        "id",
        "meta",
        "text",
        "url",
        "identifier",
        "version",
        "title",
        "experimental",
        "date",
        "publisher",
        "contact",
        "useContext",
        "copyright",
        "copyrightLabel",
        "fhirVersion",
        "profile",
    }
)
"""Elements that tell about a view, and change nothing of its rows."""


def load_view(path: Path) -> ViewDefinition:
    """Read a view; raise ViewError with one sentence. A view without a name gets the name `view`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ViewError(f"cannot read the view {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ViewError(f"{path} has {len(data)} bytes; a view has at most {MAX_BYTES}")
    try:
        document = json.loads(data)
    except RecursionError:
        raise ViewError(f"{path} nests too deep; a view needs a few levels") from None
    except ValueError as error:
        raise ViewError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("resourceType", "ViewDefinition") != "ViewDefinition":
        raise ViewError(f"{path} holds no ViewDefinition; give a JSON object with resource and select")
    fields: dict[str, Any] = {name: value for name, value in document.items() if name not in _ABOUT}
    try:
        return view_definition({"name": "view", **fields})
    except ValidationError as error:
        raise ViewError(f"{path}: {first_problem(error)}") from error
