"""Where a gateway's time goes, in seconds by activity, for the report."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Activity = Literal["training", "encryption", "aggregation", "ledger"]


class Stopwatch:
    """Adds up seconds of wall time spent in each activity of one task."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, activity: Activity) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[activity] += time.perf_counter() - started
