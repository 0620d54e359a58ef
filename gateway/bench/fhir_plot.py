"""The plot of `consortium bench fhir`: resources a second of each tool as bars, on a scale of powers of ten, in one SVG file."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from gateway.bench.results import Measurement
from gateway.errors import InputError
from gateway.researcher.plots import COLOURS

_WIDTH, _ROW, _LEFT, _RIGHT, _BOTTOM = 720, 26, 230, 90, 30
_LOWEST = 3
"""The axis begins at 10^3 resources a second, or lower where something is slower."""


def write_plot(path: Path, results: Sequence[Measurement]) -> None:
    """Write the plot; raise InputError where the file cannot be written."""
    try:
        path.write_text(plot(results), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another file") from error


def plot(results: Sequence[Measurement]) -> str:
    """An SVG document with a bar for each result."""
    rates = [float(row.values["per_second"] or 1) for row in results]
    low = min([_LOWEST, *(math.floor(math.log10(rate)) for rate in rates)])
    high = max([low + 1, *(math.ceil(math.log10(rate)) for rate in rates)])
    height = len(results) * _ROW + _BOTTOM
    parts = [_decade(power, low, high, height - _BOTTOM) for power in range(low, high + 1)]
    kinds = list(dict.fromkeys(row.what for row in results))
    for index, (row, rate) in enumerate(zip(results, rates, strict=True)):
        label = f"{row.what}: {row.conditions['tool']}, {row.conditions['resources']:,} resources"
        parts.append(_bar(index * _ROW, label, rate, _x(math.log10(rate), low, high), COLOURS[kinds.index(row.what)]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11" role="img">'
        f"<title>Resources a second</title>{''.join(parts)}</svg>\n"
    )


def _x(power: float, low: int, high: int) -> float:
    return _LEFT + (power - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _decade(power: int, low: int, high: int, bottom: int) -> str:
    x = _x(power, low, high)
    return (
        f'<path d="M{x:.1f} 0V{bottom}" stroke="#cbd5e1"/>'
        f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#475569">{10**power:,} / s</text>'
    )


def _bar(top: int, label: str, rate: float, right: float, colour: str) -> str:
    middle = top + _ROW / 2 + 4
    return (
        f'<text x="{_LEFT - 6}" y="{middle}" text-anchor="end" fill="#475569">{escape(label)}</text>'
        f'<rect x="{_LEFT}" y="{top + 4}" width="{max(right - _LEFT, 1):.1f}" height="{_ROW - 8}" fill="{colour}"/>'
        f'<text x="{right + 5:.1f}" y="{middle}" fill="#475569">{rate:,.0f}</text>'
    )
