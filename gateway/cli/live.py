"""Progress on a terminal as a table that stays in place, and as plain lines where there is no terminal."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway.researcher.progress import MICRO, Progress


class View(Protocol):
    """Where progress is shown; a context manager that leaves the terminal as it was."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def show(self, progress: Progress) -> None: ...

    def say(self, line: str) -> None:
        """A line that stays."""


def view_for(*, quiet: bool = False) -> View:
    """The view that fits standard output; `quiet` where standard output belongs to a program."""
    if quiet:
        return PlainView(lambda line: print(line, file=sys.stderr, flush=True))
    return LiveView(Console()) if sys.stdout.isatty() else PlainView(lambda line: print(line, flush=True))


class PlainView:
    """One line for each thing that happens, with the seconds since the beginning."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._started = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to restore."""

    def show(self, progress: Progress) -> None:
        if progress.notable:
            self.say(progress.said)

    def say(self, line: str) -> None:
        self._write(f"{self._clock() - self._started:7.1f}s  {line}")


class LiveView:
    """A table of hospitals that is redrawn in place, below the lines that stay."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def show(self, progress: Progress) -> None:
        self._live.update(picture(progress))

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)


def picture(progress: Progress) -> Group:
    """What the live view draws."""
    # As Text, because the title is another organisation's and must not be read as markup.
    table = Table(title=Text(f"{progress.title} · round {progress.round} of {progress.rounds}"), title_justify="left")
    table.add_column("hospital")
    for column in ("ε spent", "trust", "tokens earned"):
        table.add_column(column, justify="right")
    table.add_column("trust", min_width=20)
    table.add_column("stands")
    for mspid, hospital in sorted(progress.hospitals.items()):
        trust = hospital.trust_ppm / MICRO
        table.add_row(
            Text(mspid),
            f"{hospital.epsilon:.3f}",
            f"{trust:.3f}",
            f"{hospital.earned_micro / MICRO:.2f}",
            ProgressBar(total=1.0, completed=trust, width=20),
            Text(f"{hospital.stands}; {hospital.note}" if hospital.note else hospital.stands),
        )
    return Group(table, Text(progress.said), ProgressBar(total=max(progress.rounds, 1), completed=progress.round, width=60))
