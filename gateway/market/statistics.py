"""Who is in a hospital's data: patients by sex and by age, counted with noise.

Each patient is in one cell of each table, so adding or removing one changes the counts by at most sqrt(2) in Euclidean norm: one Gaussian
release of all counts together. Patients without consent are not counted.
"""

import datetime
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.fhir.extract import LeftOut
from gateway.fhir.view_definition import view_definition
from gateway.fhir.view_rows import view_rows
from gateway.fhir.views import compile_views
from privacy.accounting import SpendEvent, noise_multiplier_for, spend_event
from privacy.noise import NoiseSource
from privacy.noisy_counts import nearest_counts, noisy_counts

SEXES = ("female", "male", "other", "unknown")
"""Codes of FHIR's administrative-gender; what is missing is unknown."""
AGES = ("0-17", "18-29", "30-39", "40-49", "50-59", "60-69", "70-79", "80 and above", "unknown")
_FROM_YEARS = (0, 18, 30, 40, 50, 60, 70, 80)
SENSITIVITY = math.sqrt(2)

_VIEW = {
    "name": "patients",
    "resource": "Patient",
    "select": [
        {
            "column": [
                {"name": "patient", "path": "getResourceKey()"},
                {"name": "sex", "path": "gender"},
                {"name": "born", "path": "birthDate"},
            ]
        }
    ],
}


@dataclass(frozen=True)
class Person:
    """What is counted of a patient: places in SEXES and AGES."""

    sex: int
    age: int


@dataclass(frozen=True)
class Statistics:
    """Noisy counts, made plausible: none negative, and the same number in each table as the noise left there."""

    by_sex: Mapping[str, float]
    by_age: Mapping[str, float]
    deviation: float
    """Of the noise on each count."""

    @property
    def patients(self) -> int:
        return round(sum(self.by_sex.values()))


def statistics_event(*, epsilon: float, delta: float) -> SpendEvent:
    """What the statistics cost every patient. Raises AccountingError where no usable amount of noise is enough."""
    noise = noise_multiplier_for(epsilon=epsilon, delta=delta, sampling_rate=1.0, steps=1)
    return spend_event(noise_multiplier=noise, sampling_rate=1.0, steps=1)


def private_statistics(people: Iterable[Person], *, noise_multiplier: float, noise: NoiseSource) -> Statistics:
    """Count with noise. Run by the hospital, after the debit."""
    sexes, ages = [0] * len(SEXES), [0] * len(AGES)
    for person in people:
        sexes[person.sex] += 1
        ages[person.age] += 1
    scale = noise_multiplier * SENSITIVITY
    noisy = noisy_counts([*sexes, *ages], scale=scale, noise=noise)
    by_sex, by_age = nearest_counts(noisy[: len(SEXES)]), nearest_counts(noisy[len(SEXES) :])
    return Statistics(dict(zip(SEXES, by_sex, strict=True)), dict(zip(AGES, by_age, strict=True)), scale)


def read_people(folder: Path, *, as_of: datetime.date, left_out: LeftOut | None) -> list[Person]:
    """The patients of a folder of FHIR files, each once, without those whom consent leaves out. CPU-heavy. Raises DataError."""
    found: dict[str, Person] = {}
    for batch in view_rows(compile_views([view_definition(_VIEW)], "R4"), folder):
        for row in map(json.loads, batch):
            key = row["patient"]
            if key is not None and (left_out is None or left_out(key) is None):
                found[key] = Person(_sex(row["sex"]), _age(row["born"], as_of))
    return list(found.values())


def _sex(code: str | None) -> int:
    return SEXES.index(code if code in SEXES else "unknown")


def _age(born: str | None, as_of: datetime.date) -> int:
    """By the year alone where that is all that is known; what is no date, or lies in the future, is unknown."""
    try:
        year, month, day = (*map(int, (born or "").split("-")), 1, 1)[:3]
        birth = datetime.date(year, month, day)
    except ValueError:
        return AGES.index("unknown")
    years = as_of.year - birth.year - ((as_of.month, as_of.day) < (birth.month, birth.day))
    return AGES.index("unknown") if years < 0 else max(place for place, start in enumerate(_FROM_YEARS) if years >= start)
