"""Times calls while a fixed number of callers keeps a ledger busy."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from gateway.bench.results import Value, percentile

Answer = TypeVar("Answer")
_MS = 1000.0


@dataclass(frozen=True)
class TimedCall:
    """One call that ended: its function, and when it began and ended, in seconds of one monotonic clock."""

    function: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Meter:
    """Lets at most `callers` calls be under way; a call's time begins when its turn has come."""

    def __init__(self, callers: int, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.calls: list[TimedCall] = []
        self._turn = asyncio.Semaphore(callers)
        self._clock = clock

    async def timed(self, function: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call when a caller is free, and note how long it took if it succeeds."""
        async with self._turn:
            began = self._clock()
            answer = await call()
            self.calls.append(TimedCall(function, began, self._clock()))
            return answer


def throughput(calls: list[TimedCall]) -> dict[str, Value]:
    """Calls per second from the first one's beginning to the last one's end, and their latency; there must be a call."""
    seconds = max(call.ended for call in calls) - min(call.began for call in calls)
    latencies = [call.seconds * _MS for call in calls]
    return {
        "transactions": len(calls),
        "per_second": len(calls) / seconds,
        "p50_ms": percentile(latencies, 50),
        "p99_ms": percentile(latencies, 99),
    }
