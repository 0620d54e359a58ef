"""A measured value in another unit: UCUM's conversions by `ucumvert`, and between mass and amount of substance by a table.

A conversion is worked out once for each unit that occurs and then applied to whole columns.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gateway.fhir.ucum import is_ucum

if TYPE_CHECKING:  # the registry of units takes a second to load, and most tasks convert nothing
    from pint import Unit

MAX_LENGTH = 100
"""Longest unit that is read; it comes from a hospital's records."""

_INTERNATIONAL = re.compile(r"\[i[uU]\]|\[IU\]")
_INCOMPARABLE = re.compile(r"\[(?:i[uU]|\w*[A-Z]U|\w+'U|\w+'\w+'U|\w+ID_50|LD_50|IR|Lf|S|MET|hp\S+)\]|(?<![a-z])[mnpkdcu]?eq(?![a-z])")
"""UCUM's arbitrary units, which the library takes for plain numbers, and equivalents, which it takes for moles whatever the charge."""


@dataclass(frozen=True)
class Conversion:
    """value · factor + shift."""

    factor: float
    shift: float


@dataclass(frozen=True)
class _Substances:
    molar_masses: Mapping[str, float]
    """LOINC code → g/mol."""
    enzymes: frozenset[str]


@cache
def conversion(unit: str, target: str, loinc: str | None = None) -> Conversion | None:
    """How values in the UCUM unit `unit` become values in `target`, or None if they do not.

    `loinc` says what is measured, where a mass becomes an amount of substance or an enzyme's international units become U.
    """
    if unit == target:
        return Conversion(1.0, 0.0)
    if not all(len(code) <= MAX_LENGTH and is_ucum(code) for code in (unit, target)):
        return None
    if loinc in _substances().enzymes:
        unit, target = (_INTERNATIONAL.sub("U", code) for code in (unit, target))
    if _incomparable(unit) != _incomparable(target):
        return None
    try:
        return _linear(unit, target, _substances().molar_masses.get(loinc or ""))
    except Exception:  # whatever the library raises for units that do not convert, of which it has many ways
        return None


def _incomparable(unit: str) -> set[str]:
    return {found[-2:] if found.endswith("eq") else found.upper() for found in _INCOMPARABLE.findall(unit)}


def _linear(unit: str, target: str, molar_mass: float | None) -> Conversion | None:
    registry = _registry()
    source, wanted = registry.from_ucum(unit), registry.from_ucum(target)
    if molar_mass is not None and not source.is_compatible_with(wanted):
        # Amount · (g/mol) is a mass: one of the two directions fits, or neither does.
        mass = molar_mass * registry.from_ucum("g/mol")
        source = source * mass if (source * mass).is_compatible_with(wanted) else source / mass
    zero, one, two = (_converted(registry, value * source.magnitude, source.units, wanted.units) / wanted.magnitude for value in (0, 1, 2))
    factor = one - zero
    if not math.isclose(two - one, factor, rel_tol=1e-9) or not math.isfinite(factor) or factor == 0:
        return None  # a logarithm, such as a sound level's
    return Conversion(factor, zero)


def _converted(registry: Any, value: float, source: "Unit", wanted: "Unit") -> float:
    return float(registry.Quantity(value, source).to(wanted).magnitude)


@cache
def _registry() -> Any:
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()


@cache
def _substances() -> _Substances:
    table = tomllib.loads(files("gateway.fhir").joinpath("substances.toml").read_text(encoding="utf-8"))
    masses = {code: float(entry["molar_mass"]) for entry in table["substance"] for code in entry["loinc"]}
    return _Substances(masses, frozenset(table["enzymes"]["loinc"]))
