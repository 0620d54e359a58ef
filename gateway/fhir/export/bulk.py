"""FHIR Bulk Data: an export is begun, asked after until it is done, and deleted at the end."""

from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from gateway.fhir.errors import FhirServerError
from gateway.fhir.export.client import FailingServerError, FhirClient
from gateway.fhir.export.manifest import Manifest, ManifestFile, parse_manifest
from gateway.fhir.export.settings import DataSection
from gateway.fhir.export.waiting import asked_seconds, backoff_seconds

_MAX_MANIFESTS = 1000


class JobLost(Exception):  # noqa: N818 (the server lost it)
    """An export that failed, that the server does not know any more, or whose files are not what its manifest says."""


def kick_off_url(settings: DataSection, since: str | None) -> str:
    """The address that begins an export of what changed after `since`, or of everything."""
    path = {"system": "/$export", "patient": "/Patient/$export", "group": f"/Group/{settings.group}/$export"}[settings.level]
    query = [("_outputFormat", "application/fhir+ndjson")]
    if settings.types:
        query.append(("_type", ",".join(settings.types)))
    # Repeated, because a comma may be part of a filter; the guide makes servers take both.
    query += [("_typeFilter", text) for text in settings.type_filters]
    if since is not None:
        query.append(("_since", since))
    return f"{settings.server}{path}?{urlencode(query)}"


async def kick_off(client: FhirClient, settings: DataSection, since: str | None) -> str:
    """Begin an export; return the address at which to ask after it. Raises FhirServerError."""
    what = "the kick-off of the export"
    answer = await client.get(kick_off_url(settings, since), what, headers={"Accept": "application/fhir+json", "Prefer": "respond-async"})
    status_url = answer.headers.get("Content-Location")
    if answer.status != 202:
        raise answer.refused(what)
    if not status_url:
        raise FhirServerError(f"{what}: the server accepts it and does not say where to ask after it (no Content-Location)")
    return client.within(status_url, what)


async def finished(client: FhirClient, status_url: str, tell: Callable[[str], None]) -> list[Manifest]:
    """Ask until the export is done; return its manifest, which may come in several parts.

    Raises JobLost for an export that failed or is not there any more, and FhirServerError where there is no answer.
    """
    manifests: list[Manifest] = []
    url: str | None = status_url
    while url is not None:
        if len(manifests) == _MAX_MANIFESTS:
            raise FhirServerError(f"the export's manifest has more than {_MAX_MANIFESTS} parts")
        found = parse_manifest(await _manifest(client, url, tell))
        manifests.append(found)
        url = None if found.next is None else client.within(found.next, "the manifest's next part")
    return manifests


async def _manifest(client: FhirClient, url: str, tell: Callable[[str], None]) -> object:
    what = "the export's status"
    asked = 0
    while True:
        try:
            answer = await client.get(url, what, headers={"Accept": "application/json"})
        except FailingServerError as error:
            # So a server tells of an export that failed; to ask after it another day would not help.
            raise JobLost(str(error)) from None
        if answer.status == 200:
            return answer.json()
        if answer.status in (404, 410):
            raise JobLost("the server does not know the export any more; it expired or was deleted")
        if answer.status != 202:
            raise JobLost(str(answer.refused(what)))
        progress = "".join(character for character in answer.headers.get("X-Progress", "") if character.isprintable())[:100]
        tell(f"the server is at work: {progress}" if progress else "the server is at work")
        after = asked_seconds(answer.headers.get("Retry-After"), client.clock.now())
        await client.patience.wait(backoff_seconds(asked) if after is None else after, "the export is not done")
        asked += 1


async def delete_job(client: FhirClient, status_url: str, tell: Callable[[str], None]) -> None:
    """Tell the server that its files are not needed any more. It will find out by itself, if this fails."""
    try:
        answer = await client.delete(status_url, "the end of the export")
    except FhirServerError as error:
        tell(f"the server did not take note that its files are not needed any more: {error}")
        return
    if answer.status not in (200, 202, 204, 404, 410):
        tell(str(answer.refused("the server did not take note that its files are not needed any more")))


def files_of(manifests: list[Manifest], key: str) -> Iterator[tuple[ManifestFile, bool]]:
    """The files under `key` of all parts, each with whether it wants the token."""
    for manifest in manifests:
        for file in getattr(manifest, key):
            yield file, manifest.with_token
