"""Published defences to compare with, in the clear: of single updates, which the product never sees, or of group means.

They stay here. FLTrust needs a root set, patients whose diagnoses nobody doubts and whose gradient every gateway may know: the committee's
validation patients would have to pay for it out of their budget in every round, beside their scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.bench.models import QuickUpdates
from gateway.bench.simulated_data import Parts
from gateway.bench.simulation import Simulation
from gateway.hospital.cohort import Patients
from gateway.hospital.summed import GroupSum
from privacy.models import Vector
from privacy.robust import next_parameters

ROOT_PATIENTS = 100
KEPT_REPUTATION = 0.95
LEAST_SHARE = 1 / 3  # of the equal share of reputation: below it a hospital is not heard any more


@dataclass(frozen=True)
class FLTrust:
    """Cao et al. 2021 (arXiv:2012.13995): every mean is scaled to the root's length and weighs what it has in common with its direction."""

    root: Patients

    def __call__(self, simulation: Simulation, sums: Sequence[GroupSum], parameters: Vector) -> Vector:
        exact = QuickUpdates(simulation.updates.plan, noisy=False)
        own = exact.vector(self.root, parameters, noise=simulation.noise) / len(self.root)
        means = _means(simulation, sums)
        alike = np.maximum(0.0, _cosines(means, own))
        if not alike.any():
            return parameters
        scaled = means * (np.linalg.norm(own) / _lengths(means))[:, np.newaxis]
        return _stepped(simulation, parameters, alike @ scaled / alike.sum())


@dataclass
class CosineReputation:
    """In the manner of RFFL (Xu and Lyu 2020, arXiv:2011.10464): who points where all point together gains reputation, which weighs."""

    reputation: dict[str, float] = field(default_factory=dict)

    def __call__(self, simulation: Simulation, sums: Sequence[GroupSum], parameters: Vector) -> Vector:
        """`sums` of one hospital each."""
        names = [each.members[0] for each in sums]
        means = _means(simulation, sums)
        before = np.array([self.reputation.get(name, 1 / len(names)) for name in names])
        heard = np.where(before >= LEAST_SHARE / len(names), before, 0.0)
        heard = heard if heard.any() else before
        combined = heard @ means / heard.sum()
        after = np.maximum(0.0, KEPT_REPUTATION * before + (1 - KEPT_REPUTATION) * _cosines(means, combined))
        self.reputation.update(zip(names, (after / max(after.sum(), 1e-12)).tolist(), strict=True))
        return _stepped(simulation, parameters, combined)


def root_set(parts: Mapping[str, Parts]) -> Patients:
    """ROOT_PATIENTS validation patients of all hospitals, as if a trusted party had them."""
    pooled = [each.validation for each in parts.values()]
    return Patients(
        np.concatenate([each.features for each in pooled])[:ROOT_PATIENTS],
        np.concatenate([each.observed for each in pooled])[:ROOT_PATIENTS],
        np.concatenate([each.labels for each in pooled])[:ROOT_PATIENTS],
    )


def _means(simulation: Simulation, sums: Sequence[GroupSum]) -> NDArray[np.float64]:
    return np.stack([each.vector / simulation.updates.plan.batch(each.members) for each in sums])


def _lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(np.linalg.norm(vectors, axis=-1), 1e-12))


def _cosines(means: NDArray[np.float64], direction: Vector) -> NDArray[np.float64]:
    return np.asarray(means @ direction / (_lengths(means) * _lengths(direction)))


def _stepped(simulation: Simulation, parameters: Vector, combined: Vector) -> Vector:
    task = simulation.setup.task
    return next_parameters(parameters, combined, clip=task.privacy.clip, learning_rate=task.training.learning_rate)
