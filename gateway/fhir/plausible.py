"""The table of plausible values, plausible.toml: LOINC code → unit → range."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LOINC = "http://loinc.org"


@dataclass(frozen=True)
class Plausible:
    """What a measurement can be in a living patient."""

    name: str
    ranges: Mapping[str, tuple[float, float]]
    """UCUM code → lowest and highest value."""
    reason: str


@cache
def plausible_values() -> Mapping[str, Plausible]:
    """LOINC code → its plausible values."""
    table = tomllib.loads(files("gateway.fhir").joinpath("plausible.toml").read_text(encoding="utf-8"))
    return {
        code: Plausible(entry["name"], {unit: (low, high) for unit, (low, high) in entry["ranges"].items()}, entry["reason"])
        for entry in table["observation"]
        for code in entry["loinc"]
    }
