"""What a benchmark found, in one form for all of them: for programs, for people, and as tables of a page under docs/benchmarks/."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway.bench.machine import Machine
from gateway.errors import InputError

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
Value = str | int | float | None


@dataclass(frozen=True)
class Measurement:
    """One row: what was measured, under which conditions, and the values found. Units stand in the values' names.

    Rows with the same `what` make one table and have the same names of conditions and values.
    """

    what: str
    conditions: Mapping[str, Value]
    values: Mapping[str, Value]
    nested: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """Groups of values that programs get and tables leave out."""

    @property
    def line(self) -> str:
        """The row for people, while others are still being measured."""
        conditions, values = (
            ", ".join(f"{name.replace('_', ' ')} {_cell(value)}" for name, value in part.items()) for part in (self.conditions, self.values)
        )
        return f"{self.what} ({conditions}): {values}"


@dataclass(frozen=True)
class BenchReport:
    """Everything one run measured, and where."""

    machine: Machine
    results: Sequence[Measurement]

    @property
    def data(self) -> dict[str, Any]:
        """For programs: `machine` and `results[]`."""
        return {
            "machine": asdict(self.machine),
            "results": [{"what": row.what, **row.conditions, **row.values, **row.nested} for row in self.results],
        }

    @property
    def lines(self) -> list[str]:
        """The tables in Markdown, which people can read as they are."""
        return [*_wrapped_tables(self.results), "", f"Measured on: {self.machine.line}."]


def check_page(path: Path) -> None:
    """Raise InputError unless `write_page` can write to `path`: to be asked before minutes of measuring."""
    _around_the_tables(path)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"cannot write {path}; choose another file")


def write_page(path: Path, report: BenchReport) -> None:
    """Put the tables between the two marks of a Markdown page, or make a page of them; raise InputError if it has no marks."""
    before, after = _around_the_tables(path)
    try:
        path.write_text(before + "\n".join((BEGIN, "", *report.lines, "", END)) + after, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank); there must be a value."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100).__trunc__() - 1)]


def _around_the_tables(path: Path) -> tuple[str, str]:
    try:
        page = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "", "\n"
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{path} has no lines {BEGIN} and {END} to put the tables between; add them or name a new file")
    return before, after


def _wrapped_tables(results: Sequence[Measurement]) -> list[str]:
    lines: list[str] = []
    for what in dict.fromkeys(row.what for row in results):
        lines += [*([""] if lines else []), f"**{what}**", "", *_table([row for row in results if row.what == what])]
    return lines


def _table(rows: Sequence[Measurement]) -> Iterable[str]:
    header = [*rows[0].conditions, *rows[0].values]
    yield _line(name.replace("_", " ") for name in header)
    yield _line("---" for _ in header)
    for row in rows:
        yield _line(_cell(value) for value in (*row.conditions.values(), *row.values.values()))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Value) -> str:
    if value is None:
        return "-"
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}" if isinstance(value, float) else str(value)
