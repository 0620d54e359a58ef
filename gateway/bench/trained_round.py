"""A round as the demo's hospitals live it: training, encryption and scoring between the ledger's calls."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from gateway.demo.document import DEFAULT_TASK
from gateway.demo.run import DemoSettings, run_demo
from gateway.researcher.progress import Progress

Say = Callable[[str], None]


class RoundClock:
    """A view of the demo that notes when each round was settled."""

    def __init__(self, say: Say, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._say = say
        self._clock = clock
        self._settled: list[float] = []

    def say(self, line: str) -> None:
        self._say(line)

    def show(self, progress: Progress) -> None:
        while len(self._settled) < progress.settled:
            self._settled.append(self._clock())

    @property
    def seconds(self) -> float:
        """The median round from one settlement, which opens the next round, to the next one: the first round counts for nothing."""
        return median(after - before for before, after in zip(self._settled, self._settled[1:], strict=False))


async def seconds_a_round(folder: Path, rounds: int, fabric_home: Path | None, say: Say) -> float:
    """Run the demo with the built-in hospitals for at least two rounds; raises what it raises."""
    clock = RoundClock(say)
    await run_demo(DemoSettings(folder, DEFAULT_TASK, None, rounds, (), False, fabric_home), clock)
    return clock.seconds
