"""Exports of a test server, with a clock that does not wait."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.fhir.export import run
from gateway.fhir.export.run import Exported
from gateway.fhir.export.settings import DataSection
from gateway.fhir.export.waiting import Clock
from tests.support.fhir_folders import small_hospital
from tests.support.fhir_server import FhirServer


class FakeTime:
    """A clock that only moves when somebody sleeps, and does not wait."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 6, 1, tzinfo=UTC)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += timedelta(seconds=seconds)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.moment, self.sleep)


def fill(server: FhirServer) -> None:
    for resource in small_hospital():
        server.put(resource)


def section(server: FhirServer, **more: Any) -> DataSection:
    return DataSection.model_validate({"server": server.base, **more})


def exported(
    server: FhirServer, folder: Path, *, time: FakeTime | None = None, full: bool = False, tell: Any = lambda _: None, **more: Any
) -> Exported:
    found = asyncio.run(run.export(section(server, **more), folder, full=full, clock=(time or FakeTime()).clock, tell=tell))
    assert found.read == found.kept + found.replaced + found.deleted
    assert found.kept == sum(found.resources.values())
    return found
