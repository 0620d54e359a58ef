"""The page of `consortium data check`: one file that needs nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from gateway.fhir.check import CheckReport
from gateway.fhir.measurements import BINS, Measurement, UnitValues
from gateway.fhir.quality import QualityReport
from gateway.researcher.page import style, table
from gateway.researcher.plots import Axis, Series, axis_for, line_chart

_CHARTS = 24
"""Most histograms on a page: those of codes with findings, then the most frequent."""


def render_check(report: CheckReport, *, title: str) -> str:
    """The page's HTML."""
    found, lines = report.profile, report.profile.lines
    dropped = sum(lines.dropped.values())
    template = Template(files("gateway.fhir").joinpath("check_page.html").read_text(encoding="utf-8"))
    return template.substitute(
        style=style(),
        title=escape(title),
        content=found.content,
        numbers=_numbers(report),
        findings=table(
            ("what", "kind", "how many", "of"),
            [(each.sentence, each.kind, f"{each.count}", f"{each.of}") for each in report.findings],
        ),
        balance=f"{lines.read} = {lines.kept} + {dropped}",
        lines=table(("what became of them", "lines"), [("kept", f"{lines.kept}"), *((name, f"{n}") for name, n in lines.dropped.items())]),
        task=_task(report),
        charts="".join(_histogram(measured) for measured in _shown(report)),
        measurements=_measurements(found.measurements),
        systems=table(
            ("resource", "code system", "codings"),
            [
                (resource, system or "no code", f"{count}")
                for resource, systems in found.code_systems.items()
                for system, count in systems.items()
            ],
        ),
        references=table(
            ("from", "to", "references", "lead nowhere"),
            [
                (each.source, each.target, f"{each.references}", f"{each.dangling}" if each.exported else "type is not in the folder")
                for each in found.references
            ],
        ),
    )


def _numbers(report: CheckReport) -> str:
    found = report.profile
    facts = [
        ("lines read", found.lines.read),
        ("set aside", found.lines.quarantined),
        *((resource, count) for resource, count in found.resources.items()),
        ("findings", len(report.findings)),
    ]
    return "".join(f"<div>{escape(name)}<b>{count}</b></div>" for name, count in facts)


def _task(report: CheckReport) -> str:
    if report.refusal is not None:
        return f'<h2>For the task</h2><p class="bad">{escape(report.refusal)}</p>'
    return _features(report.task) if report.task is not None else ""


def _features(task: QualityReport) -> str:
    rows = [
        (each.name, *(f"{count}" for count in (each.missing, each.outside, each.clamped, each.rows.kept)), _reasons(each.rows.dropped))
        for each in task.features
    ]
    return (
        f"<h2>For the task</h2><p>{task.patients} patients: {task.positive} with the label, {task.negative} without;"
        f" {task.unlabelled} of {task.cohort} in the cohort have none. Quality {task.quality_ppm / 10_000:.1f} %.</p>"
        f'<div class="scroll">{table(("feature", "missing", "outside", "clamped", "rows used", "rows not used"), rows)}</div>'
    )


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in dropped.items())


def _shown(report: CheckReport) -> Sequence[Measurement]:
    suspicious = {finding.where.partition(" (")[0] for finding in report.profile.findings}
    return sorted(report.profile.measurements, key=lambda measured: measured.code not in suspicious)[:_CHARTS]


def _histogram(measured: Measurement) -> str:
    """One line of steps for each unit, over a common axis."""
    series = [Series(unit.unit or "no unit", _steps(unit)) for unit in measured.units]
    x = axis_for("value", [value for unit in measured.units for value in (unit.minimum, unit.maximum)])
    y = Axis("values", 0, max(max(unit.histogram) for unit in measured.units) * 1.06, whole=True)
    name = f"{measured.code} {measured.name}".strip()
    return f"<figure><figcaption>{escape(name)}</figcaption>{line_chart(series, x=x, y=y)}</figure>"


def _steps(unit: UnitValues) -> list[tuple[float, float]]:
    width = (unit.maximum - unit.minimum) / BINS
    corners = [(unit.minimum, 0.0)]
    for position, count in enumerate(unit.histogram):
        left = unit.minimum + position * width
        corners += [(left, float(count)), (left + width, float(count))]
    return [*corners, (unit.maximum, 0.0)]


def _measurements(measurements: Sequence[Measurement]) -> str:
    rows = [
        (
            f"{measured.code} {measured.name}".strip(),
            unit.unit or "–",
            *(f"{number}" for number in (unit.values, unit.zeros, unit.low, unit.high)),
            *(f"{number:g}" for number in (unit.minimum, *unit.quartiles, unit.maximum)),
        )
        for measured in measurements
        for unit in measured.units
    ]
    header = ("code", "unit", "values", "zeros", "too low", "too high", "minimum", "1st quartile", "median", "3rd quartile", "maximum")
    return table(header, rows)
