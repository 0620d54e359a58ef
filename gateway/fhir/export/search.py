"""FHIR's search, page by page: for servers without Bulk Data (http://hl7.org/fhir/R4/http.html#paging)."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from gateway.fhir import bundles
from gateway.fhir.errors import FhirServerError
from gateway.fhir.export.client import ATTEMPTS, FhirClient, TryAgain
from gateway.fhir.export.manifest import next_link
from gateway.fhir.export.outcome import is_failure, issues, outcome_sentence
from gateway.fhir.export.settings import DataSection
from gateway.fhir.seen import Seen, keys

_PAGE = 500
"""Resources that a page is asked to have; servers may give fewer."""


def queries(settings: DataSection) -> Iterator[str]:
    """The searches that give what is wanted: one for each filter, or one for a type without."""
    for resource in settings.types:
        filters = [text.partition("?")[2] for text in settings.type_filters if text.startswith(f"{resource}?")]
        for query in filters or [""]:
            yield f"{settings.server}/{resource}?{urlencode([*parse_qsl(query, keep_blank_values=True), ('_count', str(_PAGE))])}"


async def search(client: FhirClient, settings: DataSection, folder: Path, tell: Callable[[str], None]) -> list[Path]:
    """Write the resources that every search finds to a file of `folder`; return the files. Raises FhirServerError."""
    found = []
    for number, url in enumerate(queries(settings)):
        path = folder / f"search-{number:05}.ndjson"
        await _complete(client, url, path, tell)
        found.append(path)
    return found


async def _complete(client: FhirClient, url: str, path: Path, tell: Callable[[str], None]) -> None:
    """A search again and again until it gave as many resources as the server says there are."""
    for _ in range(ATTEMPTS):
        search = _Search(client, path)
        await search.run(url)
        tell(f"{search.found} resources of {url.partition('?')[0].rpartition('/')[2]}")
        if search.found >= search.total:
            return
    raise FhirServerError(f"a search gives {search.found} of {search.total} resources, {ATTEMPTS} times in a row; nothing is taken over")


class _Search:
    """One pass over the pages of one search."""

    def __init__(self, client: FhirClient, path: Path) -> None:
        self._client = client
        self._path = path
        self._addresses: set[str] = set()
        self._pages: set[bytes] = set()
        self._seen = Seen()
        self.found = 0
        """Resources that matched, each counted once."""
        self.total = 0
        """What the server says how many match; 0 where it does not."""

    async def run(self, url: str) -> None:
        next_url: str | None = url
        with self._path.open("wb") as out:
            while next_url is not None:
                if next_url in self._addresses:
                    raise FhirServerError("the pages of a search lead back to one that was read; ask who runs the FHIR server")
                self._addresses.add(next_url)
                page = await self._client.persist("a page of a search", partial(self._page, next_url))
                for entry in _entries(page):
                    out.write(bundles.line(entry) + b"\n")
                next_url = next_link(page)
                next_url = None if next_url is None else self._client.within(next_url, "the next page of a search")

    async def _page(self, url: str) -> dict[str, Any]:
        what = "a page of a search"
        answer = await self._client.get(url, what)
        page = bundles.parse(answer.body)
        if answer.status != 200:
            raise answer.refused(what)
        if page is None or page.get("resourceType") != "Bundle":
            raise FhirServerError(f"{what} is no Bundle{outcome_sentence(page)}")
        self._check_outcomes(page, what)
        entries = list(_entries(page))
        content = hashlib.sha256(b"\n".join(bundles.line(entry) for entry in entries)).digest()
        if entries and content in self._pages:
            # Going on would leave out what should have stood here.
            raise TryAgain("a page that was read already came again")
        self._pages.add(content)
        matches = keys(f"{entry.get('resourceType')}/{entry.get('id')}" for entry in _entries(page, matches_only=True))
        self.found += int((~self._seen.add(matches)).sum())
        if isinstance(page.get("total"), int):
            self.total = page["total"]
        return page

    def _check_outcomes(self, page: dict[str, Any], what: str) -> None:
        for outcome in _resources(page, "outcome"):
            if any(is_failure(issue) for issue in issues(outcome)):
                raise FhirServerError(f"{what} is not complete{outcome_sentence(outcome)}")


def _resources(page: dict[str, Any], *modes: str) -> Iterator[dict[str, Any]]:
    entries = page.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            continue
        found = entry.get("search")
        mode = found.get("mode", "match") if isinstance(found, dict) else "match"
        if resource.get("resourceType") == "OperationOutcome":
            mode = "outcome"
        if mode in modes:
            yield resource


def _entries(page: dict[str, Any], *, matches_only: bool = False) -> Iterator[dict[str, Any]]:
    return _resources(page, "match") if matches_only else _resources(page, "match", "include")
