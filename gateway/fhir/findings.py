"""What a person should look at in a hospital's data: rules over counts, each finding one sentence. No finding holds a patient's value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.fhir.measurements import Measurement, UnitValues
from gateway.fhir.plausible import LOINC, Plausible, plausible_values
from gateway.fhir.references import ReferenceCount
from gateway.fhir.ucum import MISREAD, is_ucum

_ENOUGH = 20
"""Fewest other values before zeros among them are called strange without a table's word for it."""

_MOST = 0.5
_SEVERAL = 3
"""The unit, rather than single values, is at fault where so many values outside the range would be inside it in another unit, and
where they are this share of all that are outside."""


@dataclass(frozen=True)
class Finding:
    """One thing to look at."""

    kind: str
    where: str
    """Resource type or code."""
    count: int
    of: int
    sentence: str


def in_measurement(measured: Measurement) -> Iterator[Finding]:
    """Zeros, implausible values and units of one code."""
    plausible = plausible_values().get(measured.code) if measured.system == LOINC else None
    for unit in measured.units:
        yield from _of_unit(measured, unit, plausible)
    names = [unit.unit or "no unit" for unit in measured.units]
    if len(set(names)) > 1:
        shares = ", ".join(f"{name} {unit.values}" for name, unit in zip(names, measured.units, strict=True))
        rest = measured.values - measured.units[0].values
        yield _finding("mixed-units", measured, rest, measured.values, f"units are mixed: {shares}")


def _of_unit(measured: Measurement, unit: UnitValues, plausible: Plausible | None) -> Iterator[Finding]:
    known = plausible is not None and unit.unit in plausible.ranges
    zeros = unit.zeros if (known and unit.low >= unit.zeros) or (not known and _strange_zeros(unit)) else 0
    outside = unit.low + unit.high - (zeros if known else 0)
    other, moved = max(unit.elsewhere.items(), key=lambda pair: pair[1], default=("", 0))
    if moved >= max(_SEVERAL, _MOST * outside):
        yield _finding(
            "wrong-unit",
            measured,
            moved,
            unit.values,
            f"{moved} of {unit.values} values in {unit.unit} are implausible, but plausible in {other}: probably the unit is wrong",
        )
    elif plausible is not None and outside:
        hint = f"; {moved} would be plausible in {other}" if moved else ""
        yield _finding("implausible", measured, outside, unit.values, _outside(unit, zeros, plausible) + hint)
    if zeros:
        sentence = f"{zeros} of {unit.values} values are 0, which is no measurement: probably they are missing"
        yield _finding("zero", measured, zeros, unit.values, sentence)
    yield from _unit_name(measured, unit)


def _outside(unit: UnitValues, zeros: int, plausible: Plausible) -> str:
    low, high = plausible.ranges[unit.unit]
    parts = [(unit.low - zeros, f"below {low:g}"), (unit.high, f"above {high:g}")]
    counts = " and ".join(f"{count} {where}" for count, where in parts if count)
    return f"{counts} {unit.unit}, of {unit.values} values; plausible are {low:g} to {high:g}"


def _strange_zeros(unit: UnitValues) -> bool:
    """Whether zeros lie apart from all other values: a score or a count has small values beside them, a missing value has not."""
    if not unit.zeros or unit.minimum < 0 or unit.values - unit.zeros < _ENOUGH or unit.least_other is None:
        return False
    return unit.least_other >= max(10.0, 0.2 * unit.quartiles[2])


def _unit_name(measured: Measurement, unit: UnitValues) -> Iterator[Finding]:
    if unit.unit in MISREAD:
        reason = f"{unit.unit} does not mean in UCUM what is meant here; write {MISREAD[unit.unit]}"
    elif not unit.unit:
        reason = "values have no unit"
    elif not is_ucum(unit.unit):
        reason = f"{unit.unit} is no UCUM unit"
    elif not unit.ucum:
        reason = f"the unit {unit.unit} does not say that it is UCUM's"
    else:
        return
    yield _finding("non-ucum", measured, unit.values, measured.values, f"{reason} ({unit.values} of {measured.values} values)")


def _finding(kind: str, measured: Measurement, count: int, of: int, sentence: str) -> Finding:
    name = f"{measured.code} ({measured.name})" if measured.name else measured.code
    return Finding(kind, name, count, of, f"{name}: {sentence}")


def in_references(reference: ReferenceCount) -> Iterator[Finding]:
    """References that lead nowhere."""
    where = f"{reference.source} → {reference.target}"
    if not reference.exported:
        sentence = f"{where}: {reference.references} references, but the folder holds no {reference.target}"
        yield Finding("not-exported", where, reference.references, reference.references, sentence)
    elif reference.dangling:
        sentence = f"{where}: {reference.dangling} of {reference.references} references lead to no resource of the folder"
        yield Finding("dangling-reference", where, reference.dangling, reference.references, sentence)


def in_lines(read: int, quarantined: Mapping[str, int]) -> Iterator[Finding]:
    """Lines that were set aside, by reason."""
    for reason, count in quarantined.items():
        kind = "duplicate" if reason == "duplicate-id" else "line"
        yield Finding(kind, reason, count, read, f"{count} of {read} lines were set aside: {reason}")
