"""The manifest of a finished export: which files hold what (https://hl7.org/fhir/uv/bulkdata/export.html)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.fhir.errors import FhirServerError


@dataclass(frozen=True)
class ManifestFile:
    """One file of the manifest."""

    url: str
    count: int | None
    """Resources in it, where the server says so."""


@dataclass(frozen=True)
class Manifest:
    """What the server made."""

    transaction_time: str
    """The moment that the export shows: nothing changed later is in it. As the server wrote it."""
    with_token: bool
    output: tuple[ManifestFile, ...]
    deleted: tuple[ManifestFile, ...]
    """Files of Bundles that name what was deleted."""
    error: tuple[ManifestFile, ...]
    """Files of OperationOutcomes."""
    next: str | None
    """Address of the rest of the manifest."""


def parse_manifest(data: object) -> Manifest:
    """Check what the server answered; raise FhirServerError naming the key that is wrong."""
    if not isinstance(data, dict):
        raise FhirServerError("the server's manifest is no JSON object; ask who runs it")
    return Manifest(
        transaction_time=_instant(data.get("transactionTime")),
        # The guide makes it required; where it is missing, a token is the safe guess.
        with_token=data.get("requiresAccessToken") is not False,
        output=tuple(_files(data, "output")),
        deleted=tuple(_files(data, "deleted")),
        error=tuple(_files(data, "error")),
        next=next_link(data),
    )


def _instant(value: Any) -> str:
    try:
        if datetime.fromisoformat(value).tzinfo is not None:
            return str(value)
    except (TypeError, ValueError):
        pass
    raise FhirServerError("the manifest's transactionTime is missing or no instant; ask who runs the FHIR server")


def _files(data: dict[str, Any], key: str) -> Iterator[ManifestFile]:
    found = [] if data.get(key) is None else data[key]
    if not isinstance(found, list):
        raise FhirServerError(f"the manifest's {key} is no list; ask who runs the FHIR server")
    for item in found:
        url, count = (item.get("url"), item.get("count")) if isinstance(item, dict) else (None, None)
        if not isinstance(url, str) or not (count is None or (isinstance(count, int) and count >= 0)):
            raise FhirServerError(f"the manifest's {key} has an entry without a url, or with a count that is none")
        yield ManifestFile(url, count)


def next_link(data: dict[str, Any]) -> str | None:
    """Where a manifest or a page of a search goes on; None at its end."""
    links = data.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return None
