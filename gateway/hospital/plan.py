"""The numbers of a task that every participant must agree on, from the task file and the approvals on the ledger alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from gateway.fhir.features import names
from gateway.task_file import MICRO, TaskFile
from privacy.accounting import SpendEvent, noise_multiplier_for, spend_event
from privacy.models import ModelSpec, parameter_count
from privacy.robust import GroupBound, group_bound, update_bound
from privacy.training import expected_batch, noise_share

# Decrypted sums are rounded to this grid (in units of the clip) before anything is computed from them. CKKS decoding ends in
# floating-point arithmetic that may differ in the last places between machines, and everybody must arrive at the same model; the
# grid is a thousandth of the noise and a billion times coarser than those differences.
SUM_GRID = 2.0**-13


# Fewest hospitals whose sum is ever decrypted (the contract's own rule): the sum of two would tell each of them the other's update.
SMALLEST_SUM = 3


@dataclass(frozen=True)
class Size:
    """What a hospital's approval says about its training patients."""

    patients: int
    batch: int


@dataclass(frozen=True)
class Plan:
    """One task's settings, with the participants' sizes by MSP id."""

    task: TaskFile
    sizes: Mapping[str, Size]

    @property
    def participants(self) -> list[str]:
        """MSP ids in ledger order; a holder's index in the key ceremony is its place here, from 1."""
        return sorted(self.sizes)

    @property
    def spec(self) -> ModelSpec:
        return model_spec(self.task)

    @property
    def parameters(self) -> int:
        return parameter_count(self.spec)

    @property
    def threshold(self) -> int:
        """Holders whose decryption shares open a sum: ⌈2n/3⌉ (DESIGN: a third may be away, and no third can open anything)."""
        return -(-2 * len(self.sizes) // 3)

    @property
    def members(self) -> int:
        """The most ciphertexts that are ever added."""
        return len(self.sizes)

    def bound(self) -> float:
        """Largest |coordinate| any hospital may send, in units of the clip: the encoding's range."""
        return max(
            update_bound(
                expected_batch=size.batch,
                patients=size.patients,
                noise_multiplier=own_noise(self.task, patients=size.patients),
                local_steps=self.task.training.local_steps,
            )
            for size in self.sizes.values()
        )

    def group_bound(self, members: Sequence[str]) -> GroupBound:
        """What the sum of these members keeps to if they are honest."""
        sizes = [self.sizes[mspid] for mspid in members]
        return group_bound(
            expected_batches=[size.batch for size in sizes],
            patients=[size.patients for size in sizes],
            noise_multiplier=max(own_noise(self.task, patients=size.patients) for size in sizes),
            local_steps=self.task.training.local_steps,
            parameters=self.parameters,
        )

    def batch(self, members: Sequence[str]) -> int:
        return sum(self.sizes[mspid].batch for mspid in members)

    @property
    def utilities_per_round(self) -> int:
        """The most utilities one validator tells in a round: one for each group but its own, one for the candidate."""
        return max(1, len(self.sizes) // self.task.task.group_size)

    def score_event(self) -> SpendEvent:
        """What scoring one round costs the validation patients."""
        steps = self.task.task.rounds * self.utilities_per_round
        noise = _noise(self.task.privacy.score_epsilon_micro, self.task.privacy.delta_inverse, 1.0, steps)
        return spend_event(noise_multiplier=noise, sampling_rate=1.0, steps=self.utilities_per_round)


def column_names(task: TaskFile) -> list[str]:
    """The model's inputs in order: one for each number, category and missingness indicator, and for each hospital's own intercept."""
    return [*(name for feature in task.features for name in names(feature)), *(f"hospital={mspid}" for mspid in task.model.intercepts)]


def numeric_columns(task: TaskFile) -> tuple[int, ...]:
    """Places of the inputs that are numbers within bounds: what a normalisation is of."""
    numeric = {feature.name for feature in task.features if not feature.categories}
    return tuple(place for place, name in enumerate(column_names(task)) if name in numeric)


def model_spec(task: TaskFile) -> ModelSpec:
    return ModelSpec(task.model.kind, len(column_names(task)), task.model.hidden)


def size_of(task: TaskFile, *, patients: int) -> Size:
    return Size(patients, expected_batch(patients=patients, sampling_rate=task.training.rate_for(patients=patients)))


def training_event(task: TaskFile, *, patients: int) -> SpendEvent:
    """What one round costs the training patients of a hospital: debited before the round trains."""
    rate = task.training.rate_for(patients=patients)
    steps = task.training.local_steps
    before = () if task.normalisation is None else (normalisation_event(task),)
    noise = _noise(task.privacy.epsilon_micro, task.privacy.delta_inverse, rate, task.task.rounds * steps, before)
    return spend_event(noise_multiplier=noise, sampling_rate=rate, steps=steps)


def own_noise(task: TaskFile, *, patients: int) -> float:
    """The noise multiplier that one hospital adds itself: all of it, or its share in mode distributed."""
    return noise_share(
        noise_multiplier=training_event(task, patients=patients).noise_multiplier,
        mode=task.privacy.mode,
        local_steps=task.training.local_steps,
        minimum_members=SMALLEST_SUM,
    )


def normalisation_event(task: TaskFile) -> SpendEvent:
    """What round 0 costs the training patients of a hospital.

    A release that spends all of epsilon has a Rényi divergence of order/(2 noise^2): with noise / sqrt(share) it has its share of that.
    """
    if task.normalisation is None:
        raise ValueError("the task has no [normalisation]")
    alone = _noise(task.privacy.epsilon_micro, task.privacy.delta_inverse, 1.0, 1)
    noise = math.ceil(alone / math.sqrt(task.normalisation.share) * MICRO) / MICRO
    return spend_event(noise_multiplier=noise, sampling_rate=1.0, steps=1)


def own_normalisation_noise(task: TaskFile) -> float:
    """The noise multiplier that one hospital adds itself in round 0: all of it, or its share in mode distributed."""
    event = normalisation_event(task)
    return noise_share(
        noise_multiplier=event.noise_multiplier, mode=task.privacy.mode, local_steps=event.steps, minimum_members=SMALLEST_SUM
    )


@cache
def _noise(epsilon_micro: int, delta_inverse: int, rate: float, steps: int, beside: tuple[SpendEvent, ...] = ()) -> float:
    return noise_multiplier_for(epsilon=epsilon_micro / MICRO, delta=1 / delta_inverse, sampling_rate=rate, steps=steps, beside=beside)
