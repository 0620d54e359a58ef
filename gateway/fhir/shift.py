"""How a hospital's patients differ from the federation's, by the statistics that round 0 made with differential privacy."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gateway.fhir.extract import Extracted
from gateway.fhir.findings import Finding
from gateway.task_file import TaskFile
from privacy.normalisation import InputNormalisation

WORTH_A_LOOK = 0.5
"""Standardised mean difference that is called medium (Cohen, Statistical Power Analysis, 1988, 2.2)."""


@dataclass(frozen=True)
class Shift:
    """One feature with bounds."""

    feature: str
    patients: int
    """With an observed value, here."""
    difference: float
    """Mean here less mean of the federation, in standard deviations of the federation."""


def shifts(task: TaskFile, extracted: Extracted, federation: InputNormalisation) -> tuple[Shift, ...]:
    """Compare the features with bounds; those that nobody here has are left out. `federation` is of the task's inputs."""
    numeric = {feature.name for feature in task.features if not feature.categories}
    found = []
    for place, name in enumerate(extracted.feature_names):
        seen = extracted.observed[:, place]
        if name in numeric and seen.any():
            mean = float(np.mean(extracted.features[seen, place], dtype=np.float64))
            difference = (mean - float(federation.mean[place])) / float(federation.deviation[place])
            found.append(Shift(name, int(seen.sum()), round(difference, 3)))
    return tuple(found)


def in_shifts(found: tuple[Shift, ...]) -> Iterator[Finding]:
    """Features whose mean lies far from the federation's."""
    for each in found:
        if abs(each.difference) >= WORTH_A_LOOK:
            where = "above" if each.difference > 0 else "below"
            sentence = f"{each.feature}: the mean here lies {abs(each.difference):.1f} standard deviations {where} the federation's"
            yield Finding("shift", each.feature, each.patients, each.patients, sentence)
