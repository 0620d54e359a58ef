"""What the hospitals sum in a round: updates of the model, or, in round 0, statistics of its inputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.hospital.cohort import Patients
from gateway.hospital.plan import Plan, normalisation_event, numeric_columns, own_noise, own_normalisation_noise, training_event
from privacy.accounting import SpendEvent
from privacy.models import Vector
from privacy.noise import NoiseSource
from privacy.normalisation import STATISTICS, InputNormalisation, derive, noisy_statistics
from privacy.robust import GroupBound, combine_groups, group_bound, next_parameters, update_bound
from privacy.training import train_round


@dataclass(frozen=True)
class GroupSum:
    """A group's opened sum."""

    members: Sequence[str]
    vector: Vector


class Summed(Protocol):
    """One round's way from a hospital's patients to the candidate that the ledger holds the digest of."""

    @property
    def length(self) -> int:
        """Numbers in each hospital's vector."""

    def event(self, patients: int) -> SpendEvent:
        """What the round costs the training patients of a hospital."""

    def bound(self) -> float:
        """Largest |number| any hospital may send: the encoding's range."""

    def group_bound(self, members: Sequence[str]) -> GroupBound:
        """What the sum of these members keeps to if they are honest."""

    def vector(self, patients: Patients, parameters: Vector, *, noise: NoiseSource) -> Vector:
        """One hospital's vector with its noise. CPU-heavy. Run by the hospital."""

    def candidate(self, sums: Sequence[GroupSum], parameters: Vector) -> Vector:
        """What follows from the usable groups' sums, the same in every gateway."""


@dataclass(frozen=True)
class Updates:
    """A training round: clipped gradients in units of the clip, of patients whose inputs are normalised first."""

    plan: Plan
    normalisation: InputNormalisation | None = None

    @property
    def length(self) -> int:
        return self.plan.parameters

    def event(self, patients: int) -> SpendEvent:
        return training_event(self.plan.task, patients=patients)

    def bound(self) -> float:
        return self.plan.bound()

    def group_bound(self, members: Sequence[str]) -> GroupBound:
        return self.plan.group_bound(members)

    def vector(self, patients: Patients, parameters: Vector, *, noise: NoiseSource) -> Vector:
        task = self.plan.task
        return train_round(
            self.plan.spec,
            parameters,
            patients.normalised(self.normalisation).features,
            patients.labels,
            clip=task.privacy.clip,
            noise_multiplier=own_noise(task, patients=patients.approved),
            sampling_rate=task.training.rate_for(patients=patients.approved),
            expected_of=patients.approved,
            local_steps=task.training.local_steps,
            learning_rate=task.training.learning_rate,
            noise=noise,
            sampler=NoiseSource.from_system(),
        ).vector

    def candidate(self, sums: Sequence[GroupSum], parameters: Vector) -> Vector:
        """The model after a step along the groups' robustly combined mean; the model itself where no group is usable."""
        if not sums:
            return parameters
        settings = self.plan.task
        batches = [self.plan.batch(each.members) for each in sums]
        combined = combine_groups([each.vector for each in sums], batches, settings.training.combine)
        return next_parameters(parameters, combined, clip=settings.privacy.clip, learning_rate=settings.training.learning_rate)


@dataclass(frozen=True)
class Statistics:
    """Round 0: what mean and deviation of the numeric inputs follow from, in units of its sensitivity."""

    plan: Plan

    @property
    def length(self) -> int:
        return STATISTICS * len(numeric_columns(self.plan.task))

    def event(self, patients: int) -> SpendEvent:  # the release takes every patient in, however many there are
        return normalisation_event(self.plan.task)

    def bound(self) -> float:
        noise = own_normalisation_noise(self.plan.task)
        largest = max(size.patients for size in self.plan.sizes.values())
        return update_bound(expected_batch=largest, patients=largest, noise_multiplier=noise, local_steps=1)

    def group_bound(self, members: Sequence[str]) -> GroupBound:
        patients = [self.plan.sizes[mspid].patients for mspid in members]
        noise = own_normalisation_noise(self.plan.task)
        return group_bound(expected_batches=patients, patients=patients, noise_multiplier=noise, local_steps=1, parameters=self.length)

    def vector(self, patients: Patients, parameters: Vector, *, noise: NoiseSource) -> Vector:  # there is no model yet
        multiplier = own_normalisation_noise(self.plan.task)
        columns = numeric_columns(self.plan.task)
        return noisy_statistics(patients.features, patients.observed, columns, noise_multiplier=multiplier, noise=noise)

    def candidate(self, sums: Sequence[GroupSum], parameters: Vector) -> Vector:  # there is no model yet
        """The normalisation's vector; inputs stay as they are where no group is usable."""
        inputs = self.plan.spec.inputs
        if not sums:
            return InputNormalisation.identity(inputs).vector
        patients = [sum(self.plan.sizes[mspid].patients for mspid in each.members) for each in sums]
        members = sum(len(each.members) for each in sums)
        return derive(
            [each.vector for each in sums],
            patients,
            numeric_columns(self.plan.task),
            inputs=inputs,
            noise_deviation=own_normalisation_noise(self.plan.task) * math.sqrt(members) / sum(patients),
        ).vector
