"""The numbers of a task that every participant must agree on, from the task file and the approvals on the ledger alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gateway.fhir.inputs import input_names
from gateway.task_file import MICRO, TaskFile
from privacy.accounting import SpendEvent, noise_multiplier_for, spend_event
from privacy.architectures import Convolutions, Transformer
from privacy.frozen_base import FrozenBase, base_file
from privacy.models import ModelSpec, parameter_count
from privacy.robust import GroupBound, group_bound, update_bound
from privacy.training import expected_batch, noise_share

# Decrypted sums are rounded to this grid (in units of the clip) before anything is computed from them. CKKS decoding ends in
# floating-point arithmetic that may differ in the last places between machines, and everybody must arrive at the same model; the
# grid is a thousandth of the noise and a billion times coarser than those differences.
SUM_GRID = 2.0**-13


# Fewest hospitals whose sum is ever decrypted (the contract's own rule): the sum of two would tell each of them the other's update.
SMALLEST_SUM = 3


QUALITY_SHARE = 0.1
"""Of what held-out patients give (of the Rényi divergence, at every order): for the quality of the data; the rest is for the evaluation."""


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
    bases: Path | None = None
    """Folder of this hospital's large models; None where nothing is computed with one."""

    @property
    def participants(self) -> list[str]:
        """MSP ids in ledger order; a holder's index in the key ceremony is its place here, from 1."""
        return sorted(self.sizes)

    @property
    def spec(self) -> ModelSpec:
        return model_spec(self.task, bases=self.bases)

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
        return largest_group(len(self.sizes), group_size=self.task.task.group_size)

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


def largest_group(hospitals: int, *, group_size: int) -> int:
    """The most members a group can have, however many of these hospitals reveal: below twice the size there is one group of all."""
    return min(hospitals, 2 * group_size - 1)


def column_names(task: TaskFile) -> list[str]:
    """The model's inputs in order: a sequence's or signal's, one for each number, category and missingness indicator of the features, and
    for each hospital's own intercept."""
    return [*input_names(task), *(f"hospital={mspid}" for mspid in task.model.intercepts)]


def numeric_columns(task: TaskFile) -> tuple[int, ...]:
    """Places of the inputs that are numbers within bounds: what a normalisation is of."""
    numeric = {feature.name for feature in task.features if not feature.categories}
    return tuple(place for place, name in enumerate(column_names(task)) if name in numeric)


def model_spec(task: TaskFile, *, bases: Path | None = None) -> ModelSpec:
    """The task's model; with `bases`, the hospital's folder of large models, it can be computed with where it rests on one.

    Raises ModelError for sizes that no model of this product has.
    """
    return ModelSpec(task.model.kind, len(column_names(task)), task.model.hidden, _architecture(task), _base(task, bases))


def _architecture(task: TaskFile) -> Convolutions | Transformer | None:
    model = task.model
    if model.kind == "cnn" and task.signal is not None:
        return Convolutions(task.signal.shape, task.signal.channels, model.filters, model.kernel or 0)
    if model.kind == "transformer" and task.sequence is not None:
        return Transformer(task.sequence.steps, task.sequence.channels, model.dimension or 0, model.heads or 0, model.blocks or 0)
    return None


def _base(task: TaskFile, bases: Path | None) -> FrozenBase | None:
    base = task.model.base
    if base is None:
        return None
    return FrozenBase(base.digest, base.train, base.adapter_rank, None if bases is None else base_file(bases, base.digest))


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
    """What round 0 costs the training patients of a hospital."""
    if task.normalisation is None:
        raise ValueError("the task has no [normalisation]")
    noise = _noise_of_share(task.privacy.epsilon_micro, task.privacy.delta_inverse, task.normalisation.share)
    return spend_event(noise_multiplier=noise, sampling_rate=1.0, steps=1)


def quality_event(task: TaskFile) -> SpendEvent:
    """What the quality of a hospital's data costs its held-out patients: debited before it is told with the approval."""
    return _held_out_event(task, QUALITY_SHARE)


def evaluation_event(task: TaskFile) -> SpendEvent:
    """What the evaluation of the finished model costs the held-out patients: debited before it is made."""
    return _held_out_event(task, 1 - QUALITY_SHARE)


def _held_out_event(task: TaskFile, share: float) -> SpendEvent:
    privacy = task.privacy
    return spend_event(
        noise_multiplier=_noise_of_share(privacy.evaluation_epsilon_micro, privacy.delta_inverse, share), sampling_rate=1.0, steps=1
    )


def _noise_of_share(epsilon_micro: int, delta_inverse: int, share: float) -> float:
    """Noise of one release that takes a share of (ε, δ).

    A release that spends all of epsilon has a Rényi divergence of order/(2 noise^2): with noise / sqrt(share) it has its share of that.
    """
    return math.ceil(_noise(epsilon_micro, delta_inverse, 1.0, 1) / math.sqrt(share) * MICRO) / MICRO


def own_normalisation_noise(task: TaskFile) -> float:
    """The noise multiplier that one hospital adds itself in round 0: all of it, or its share in mode distributed."""
    event = normalisation_event(task)
    return noise_share(
        noise_multiplier=event.noise_multiplier, mode=task.privacy.mode, local_steps=event.steps, minimum_members=SMALLEST_SUM
    )


@cache
def _noise(epsilon_micro: int, delta_inverse: int, rate: float, steps: int, beside: tuple[SpendEvent, ...] = ()) -> float:
    return noise_multiplier_for(epsilon=epsilon_micro / MICRO, delta=1 / delta_inverse, sampling_rate=rate, steps=steps, beside=beside)
