"""The FHIR files that each task reads: the hospital's folder, or what its server gave when the task was first looked at.

With a section [data] the folder follows the server. A task is approved on the resources of one moment and runs on them to its end, so
each task keeps links to the files of that moment; an export never writes into a file, it puts a new one in its place.
"""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.config import GatewayConfig
from gateway.errors import ConfigError
from gateway.fhir.errors import DataError, FhirServerError
from gateway.fhir.export.run import Exported, export
from gateway.fhir.export.settings import DataSection
from gateway.fhir.sources import files

log = logging.getLogger(__name__)

PAUSE_SECONDS = 300.0
"""How long a server that failed is left alone, whatever waits for it."""

Export = Callable[[DataSection, Path], Awaitable[Exported]]


class TaskData:
    """One gateway's folders."""

    def __init__(self, config: GatewayConfig, *, export: Export = export, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = config.data
        self._folder = config.gateway.data
        self._kept = config.gateway.state / "data"
        self._export = export
        self._now = now
        self._lock = asyncio.Lock()
        self._failure: tuple[float, str] | None = None

    async def folder(self, task_id: str, *, decided: bool) -> Path:
        """The folder that the task reads; for one that this hospital has not `decided` on it is first brought up to date.

        Raises FhirServerError where the server cannot be read: no reason to reject the task, which waits.
        """
        if self._settings is None:
            return self._folder
        kept = self.kept(task_id)
        async with self._lock:
            if not decided and not kept.exists():
                await self._refresh(self._settings)
                await asyncio.to_thread(_link, self._folder, kept)
        return kept if kept.exists() else self._folder

    def kept(self, task_id: str) -> Path:
        """Where the links of a task are, if it has any."""
        return self._kept / task_id

    def forget(self, task_id: str) -> None:
        """Drop what is kept of a task that is over."""
        shutil.rmtree(self.kept(task_id), ignore_errors=True)

    async def _refresh(self, settings: DataSection) -> None:
        if self._failure is not None and self._now() < self._failure[0]:
            raise FhirServerError(self._failure[1])
        try:
            found = await self._export(settings, self._folder)
        except (FhirServerError, DataError, ConfigError) as error:
            self._failure = (self._now() + PAUSE_SECONDS, str(error))
            raise FhirServerError(str(error)) from error
        self._failure = None
        log.info("read %s: %d resources, %d replaced, %d deleted", settings.server, found.kept, found.replaced, found.deleted)
        for sentence in found.failures:
            log.warning("%s could not export: %s", settings.server, sentence)


def _link(folder: Path, kept: Path) -> None:
    part = kept.with_name(f"{kept.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    for path in files(folder):
        try:
            os.link(path, part / path.name)
        except OSError:  # another file system, or one without links
            shutil.copy2(path, part / path.name)
    part.rename(kept)
