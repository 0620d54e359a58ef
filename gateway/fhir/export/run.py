"""One export from its beginning to the folder's new files: what `consortium data export` and a gateway do."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.fhir.errors import FhirServerError
from gateway.fhir.export import bulk
from gateway.fhir.export.bulk import JobLost
from gateway.fhir.export.client import FhirClient, connect
from gateway.fhir.export.download import download
from gateway.fhir.export.folder import ExportFolder, Job, State, opened
from gateway.fhir.export.merge import Merged, deletions, merge
from gateway.fhir.export.outcome import failures
from gateway.fhir.export.search import search
from gateway.fhir.export.settings import DataSection
from gateway.fhir.export.waiting import Clock

Tell = Callable[[str], None]


def _say_nothing(_: str) -> None:
    pass


@dataclass(frozen=True)
class Exported:
    """What an export did to its folder. Lines: read = kept + replaced + deleted."""

    since: str | None
    """Only what changed after this was asked for; None for everything."""
    transaction_time: str | None
    """Until when the folder is current, by the server's clock; None where the next export asks for everything again."""
    read: int
    kept: int
    replaced: int
    deleted: int
    resources: Mapping[str, int]
    failures: tuple[str, ...]
    """What the server says it could not export."""


@dataclass(frozen=True)
class _Got:
    """Files that came, and what they mean."""

    since: str | None
    transaction_time: str | None
    new: list[Path]
    deleted: list[Path]
    failures: tuple[str, ...]


async def export(
    settings: DataSection, folder: Path, *, full: bool = False, clock: Clock | None = None, tell: Tell = _say_nothing
) -> Exported:
    """Bring `folder` up to the server's state: by what changed since the last export where that can be told, else by everything.

    An export that was cut off is gone on with. Run by the hospital. Raises FhirServerError, DataError or ConfigError, each with one
    sentence; the folder's files are then those of before, or all of the new.
    """
    with opened(folder) as target:
        async with connect(settings, clock or Clock()) as client:
            state = target.state()
            if settings.method == "search":
                target.begin(None)
                got = _Got(None, None, await search(client, settings, target.parts, tell), [], ())
                return await _take_over(settings, target, None, got)
            return await _bulk(client, settings, target, None if full else _basis(settings, state), tell)


def _basis(settings: DataSection, state: State | None) -> State | None:
    """The state to which changes can be added; None where everything has to be asked for."""
    fits = state is not None and state.wanted == settings.wanted and state.transaction_time is not None
    return state if fits and settings.asks_for_changes else None


async def _bulk(client: FhirClient, settings: DataSection, target: ExportFolder, basis: State | None, tell: Tell) -> Exported:
    since = None if basis is None else basis.transaction_time
    job = target.job()
    if job is not None and (job.wanted, job.since) == (settings.wanted, since):
        tell("going on with the export that was begun")
        try:
            return await _finish(client, settings, target, basis, job, tell)
        except JobLost as lost:
            tell(f"{lost}; beginning anew")
    if job is not None:
        await bulk.delete_job(client, job.status_url, tell)
    target.begin(None)
    job = Job(settings.wanted, since, await bulk.kick_off(client, settings, since))
    target.begin(job)
    try:
        return await _finish(client, settings, target, basis, job, tell)
    except JobLost as lost:
        target.begin(None)
        await bulk.delete_job(client, job.status_url, tell)
        raise FhirServerError(f"{lost}; nothing was taken over") from None


async def _finish(client: FhirClient, settings: DataSection, target: ExportFolder, basis: State | None, job: Job, tell: Tell) -> Exported:
    manifests = await bulk.finished(client, job.status_url, tell)
    found: dict[str, list[Path]] = {}
    for key in ("output", "deleted", "error"):
        found[key] = []
        files = list(bulk.files_of(manifests, key))
        for number, (file, with_token) in enumerate(files, start=1):
            found[key].append(await download(client, file, target.parts, with_token=with_token))
            tell(f"{key}: {number} of {len(files)} files")
    said = await asyncio.to_thread(failures, found["error"])
    # What failed would never come again if the next export asked for later changes only.
    current = job.since if said else manifests[0].transaction_time
    got = _Got(job.since, current, found["output"], found["deleted"], said)
    exported = await _take_over(settings, target, basis, got)
    await bulk.delete_job(client, job.status_url, tell)
    return exported


async def _to_its_end(call: Callable[[], Merged]) -> Merged:
    """Run `call` in a thread; whoever is cancelled waits for its end, because the folder must not be given to another export before."""
    work = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


async def _take_over(settings: DataSection, target: ExportFolder, basis: State | None, got: _Got) -> Exported:
    before = [] if basis is None else target.files(basis)
    merged = await _to_its_end(lambda: merge(before, got.new, deletions(got.deleted), target.new_files()))
    target.replace(settings.wanted, got.transaction_time)
    return Exported(
        got.since, got.transaction_time, merged.read, merged.kept, merged.replaced, merged.deleted, merged.resources, got.failures
    )
