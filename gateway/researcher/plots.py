"""Line and bar charts as inline SVG: small, printable, readable without colours alone, and with no script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 44
COLOURS = ("#1f6feb", "#ea580c", "#15803d", "#7c3aed", "#db2777", "#0891b2", "#78350f", "#65a30d", "#475569", "#b91c1c", "#ca8a04")
_ALMOST = 1 - 1e-9  # 1.0 / 0.2 is not quite 5
DASHES = ("", "6 3", "2 2", "8 3 2 3")


@dataclass(frozen=True)
class Series:
    """One named line; points are (x, y) in the chart's units, in drawing order. `emphasised` lines are thicker."""

    name: str
    points: Sequence[tuple[float, float]]
    emphasised: bool = False
    markers: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis: its title and the range it shows; `whole` where only whole numbers mean something."""

    title: str
    low: float
    high: float
    whole: bool = False

    def fraction(self, value: float) -> float:
        span = self.high - self.low
        return 0.5 if span <= 0 else min(1.0, max(0.0, (value - self.low) / span))


def line_chart(series: Sequence[Series], *, x: Axis, y: Axis, diagonal: bool = False) -> str:
    """An SVG element with a legend below it; `diagonal` draws the line where y equals x for comparison."""
    parts = [*_frame(x, y)]
    if diagonal:
        parts.append(_polyline([(x.low, x.low), (x.high, x.high)], x, y, 'stroke="#94a3b8" stroke-width="1" stroke-dasharray="4 4"'))
    for index, line in enumerate(series):
        style = f'stroke="{_colour(index)}" stroke-width="{2.6 if line.emphasised else 1.5}" stroke-dasharray="{_dash(index)}"'
        parts.append(_polyline(line.points, x, y, style))
        if line.markers:
            parts.extend(_marker(point, x, y, _colour(index)) for point in line.points)
    return _svg(parts, f"{y.title} by {x.title}") + _legend([line.name for line in series])


def bar_chart(labels: Sequence[str], groups: Sequence[tuple[str, Sequence[float | None]]], *, y: Axis) -> str:
    """Bars side by side for each label; `groups` are (name, one value for each label, None for no bar)."""
    x = Axis("", 0, max(len(labels), 1))
    parts = [*_frame(x, y, ticks=False)]
    width = 0.8 / max(len(groups), 1)
    for index, (_, values) in enumerate(groups):
        for position, value in enumerate(values):
            if value is not None:
                parts.append(_bar(position + 0.1 + index * width, width, value, x, y, _colour(index)))
    parts.extend(_label(position + 0.5, label, x, rotate=len(labels) > 4) for position, label in enumerate(labels))
    return _svg(parts, f"{y.title} by hospital") + _legend([name for name, _ in groups])


def axis_for(title: str, values: Sequence[float], *, floor: float | None = None) -> Axis:
    """An axis that shows all values with a little room; it starts at `floor` where that is given."""
    low = min(values, default=0.0) if floor is None else floor
    high = max(values, default=1.0)
    room = (high - low) * 0.06 or max(abs(high) * 0.06, 0.01)
    return Axis(title, low if floor is not None else low - room, high + room)


def _frame(x: Axis, y: Axis, *, ticks: bool = True) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#64748b"/>']
    for value in _ticks(y):
        height = _y(value, y)
        parts.append(f'<path d="M{LEFT} {height:.1f}H{right}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{value:g}</text>')
    if ticks:
        parts.extend(f'<text x="{_x(value, x):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>' for value in _ticks(x))
    parts.append(f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x.title)}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text x="14" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 14 {middle:.0f})">{escape(y.title)}</text>')
    return parts


def _ticks(axis: Axis) -> list[float]:
    """About five round values inside the axis, its ends included where they are round."""
    span = axis.high - axis.low
    if span <= 0:
        return [axis.low]
    magnitude = 10.0 ** math.floor(math.log10(span / 5))
    step = next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if magnitude * factor >= span / 5 * _ALMOST)
    step = max(1.0, step) if axis.whole else step
    first, last = math.ceil(axis.low / step - (1 - _ALMOST)), math.floor(axis.high / step + (1 - _ALMOST))
    return [round(index * step, 10) for index in range(first, last + 1)]


def _x(value: float, axis: Axis) -> float:
    return LEFT + axis.fraction(value) * (WIDTH - LEFT - RIGHT)


def _y(value: float, axis: Axis) -> float:
    return HEIGHT - BOTTOM - axis.fraction(value) * (HEIGHT - TOP - BOTTOM)


def _polyline(points: Sequence[tuple[float, float]], x: Axis, y: Axis, style: str) -> str:
    coordinates = " ".join(f"{_x(px, x):.1f},{_y(py, y):.1f}" for px, py in points)
    return f'<polyline points="{coordinates}" fill="none" {style}/>'


def _marker(point: tuple[float, float], x: Axis, y: Axis, colour: str) -> str:
    return f'<circle cx="{_x(point[0], x):.1f}" cy="{_y(point[1], y):.1f}" r="2.5" fill="{colour}"/>'


def _bar(position: float, width: float, value: float, x: Axis, y: Axis, colour: str) -> str:
    left, top, base = _x(position, x), _y(value, y), _y(max(y.low, 0.0), y)
    return (
        f'<rect x="{left:.1f}" y="{min(top, base):.1f}" width="{_x(position + width, x) - left:.1f}" height="{abs(base - top):.1f}"'
        f' fill="{colour}"><title>{value:.3f}</title></rect>'
    )


def _label(position: float, text: str, x: Axis, *, rotate: bool) -> str:
    across, down = _x(position, x), HEIGHT - BOTTOM + 14
    turn = f' transform="rotate(-25 {across:.1f} {down})" text-anchor="end"' if rotate else ' text-anchor="middle"'
    return f'<text x="{across:.1f}" y="{down}"{turn}>{escape(text)}</text>'


def _svg(parts: Sequence[str], title: str) -> str:
    name = escape(title)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}"><title>{name}</title>{"".join(parts)}</svg>'


def _legend(names: Sequence[str]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 24 8" class="key"><path d="M0 4H24" stroke="{_colour(index)}" stroke-width="3"'
        f' stroke-dasharray="{_dash(index)}"/></svg>{escape(name)}</li>'
        for index, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _dash(index: int) -> str:
    return DASHES[index // len(COLOURS) % len(DASHES)]
