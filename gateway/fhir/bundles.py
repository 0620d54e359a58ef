"""JSON files of one resource, or of a Bundle (transaction, batch, collection, searchset, …) whose entries are resources.

Inside a transaction, resources name each other by the entries' `fullUrl`, mostly a urn:uuid that only means something in the
Bundle. Those names become `Type/id`, as a server would write them (http://hl7.org/fhir/R4/http.html#trules).
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_URN = "urn:uuid:"
_NUMBER = "\ue000"  # a private character: numbers pass as strings, so that their digits stay as they were written
_MARKED = re.compile(f'"{_NUMBER}([-+.0-9eE]+)"')


def parse(data: bytes) -> dict[str, Any] | None:
    """A file or an answer as a JSON object, its numbers as `line` wants them; None if it is none."""
    try:
        document = json.loads(data, parse_float=lambda text: _NUMBER + text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def line(resource: dict[str, Any]) -> bytes:
    """One resource of what `parse` gave, on one line, every number with the digits that it had."""
    text = json.dumps(resource, ensure_ascii=False, separators=(",", ":"))
    return _MARKED.sub(r"\1", text).encode("utf-8", "surrogatepass")


def entries(data: bytes) -> Iterator[bytes]:
    """The resources of a file, each as one line of JSON; a file that is no JSON object is given back as it is."""
    document = parse(data)
    if document is None:
        # Whoever validates the line says what is wrong with it.
        yield b" ".join(data.split()) or b"null"
        return
    if document.get("resourceType") != "Bundle":
        yield line(document)
        return
    found = [entry for entry in document.get("entry") or () if isinstance(entry, dict) and isinstance(entry.get("resource"), dict)]
    names = {url: name for entry in found if (url := entry.get("fullUrl")) and (name := _name(entry))}
    for entry in found:
        if "id" not in entry["resource"] and (name := names.get(entry.get("fullUrl"))):
            entry["resource"]["id"] = name.partition("/")[2]
        yield line(_resolved(entry["resource"], names))


def _name(entry: dict[str, Any]) -> str | None:
    """`Type/id` of an entry; the id of one that has none is its uuid."""
    resource, url = entry["resource"], entry["fullUrl"]
    identifier = resource.get("id") or (url.removeprefix(_URN) if isinstance(url, str) and url.startswith(_URN) else None)
    return f"{resource.get('resourceType')}/{identifier}" if identifier else None


def _resolved(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_resolved(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: names.get(item, item) if key == "reference" and isinstance(item, str) else _resolved(item, names)
        for key, item in value.items()
    }
