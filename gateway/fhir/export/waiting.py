"""How long to wait before a server is asked again: its own word, else longer each time; and never past a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from gateway.fhir.errors import FhirServerError

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
"""Longest wait that this side chooses; a server may ask for a longer one."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """The time and how it passes; tests bring their own."""

    now: Callable[[], datetime] = _now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def backoff_seconds(attempt: int) -> float:
    """Wait before the next attempt, after `attempt` (from 0) failed."""
    return float(min(FIRST_SECONDS * 2 ** min(attempt, 16), LONGEST_SECONDS))


def asked_seconds(retry_after: str | None, now: datetime) -> float | None:
    """What a header Retry-After asks for, seconds or a date (RFC 9110, 10.2.3); None if it says nothing usable."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


class Patience:
    """Waits, as long as the deadline of the whole export allows."""

    def __init__(self, clock: Clock, *, hours: float) -> None:
        self.clock = clock
        self._hours = hours
        self._deadline = clock.now() + timedelta(hours=hours)

    async def wait(self, seconds: float, why: str) -> None:
        """Sleep; raise FhirServerError where that would end after the deadline."""
        if self.clock.now() + timedelta(seconds=seconds) > self._deadline:
            raise FhirServerError(f"{why}, and the {self._hours:g} h are over that [data] patience_hours allows; try again later")
        # At least something, so that a server that asks for no wait at all is not asked in a circle.
        await self.clock.sleep(max(seconds, FIRST_SECONDS))
