"""What hospitals send in a simulated round: honest ones what the product makes of their patients, the others what their conduct says."""

from dataclasses import dataclass, replace

import numpy as np

from gateway.bench.models import QuickUpdates
from gateway.hospital.cohort import Patients
from gateway.hospital.plan import own_noise
from privacy.models import Vector
from privacy.noise import NoiseSource

HONEST = "honest"
LABEL_FLIP = "label flip"
SIGN_FLIP = "sign flip"
SCALING = "scaling"
NOISE_ONLY = "noise only"
REPLAY = "replay"
LAZY = "lazy"
ON_OFF = "on-off"
BACKDOOR = "backdoor"
ATTACKS = (SIGN_FLIP, SCALING, LABEL_FLIP, NOISE_ONLY, REPLAY, BACKDOOR)

SCALE_FACTOR = 10.0
ON_OFF_ROUNDS = 3  # honest for so many, then flipped labels for as many
TRIGGER_INPUTS, TRIGGER_VALUE = 3, 1.0  # the last inputs at their upper bound: in range, and rare together
POISONED_SHARE = 0.5
_LAZY_DEVIATION = 0.05  # of the model's norm, where no noise is asked of anybody


@dataclass(frozen=True)
class Sender:
    """What a hospital has at hand in a round. `step` is the last round's combined mean gradient, in units of the clip."""

    updates: QuickUpdates
    patients: Patients
    parameters: Vector
    step: Vector
    round_number: int
    noise: NoiseSource

    def send(self, conduct: str) -> Vector:
        """The vector that goes into the group's sum."""
        if conduct in (LABEL_FLIP, ON_OFF):
            off = conduct == ON_OFF and not misbehaves(conduct, self.round_number)
            return self._trained(self.patients if off else flipped(self.patients))
        if conduct == SIGN_FLIP:
            return -self._trained(self.patients)
        if conduct == SCALING:
            return -SCALE_FACTOR * self._trained(self.patients)
        if conduct == BACKDOOR:
            return self._trained(poisoned(self.patients))
        if conduct == NOISE_ONLY:
            return self._masked(np.zeros_like(self.parameters))
        if conduct == REPLAY:
            return self._masked(self.step * len(self.patients))
        if conduct == LAZY:
            return self._masked(np.zeros_like(self.parameters), at_least=_LAZY_DEVIATION * float(np.linalg.norm(self.parameters)))
        return self._trained(self.patients)

    def _trained(self, patients: Patients) -> Vector:
        return self.updates.vector(patients, self.parameters, noise=self.noise)

    def _masked(self, vector: Vector, *, at_least: float = 0.0) -> Vector:
        """With the noise that honest hospitals add, so that its absence does not tell; without any, with a little of its own."""
        task = self.updates.plan.task
        own = own_noise(task, patients=len(self.patients)) if self.updates.noisy else 0.0
        scale = own or at_least or float(np.linalg.norm(self.step)) * len(self.patients) / len(self.parameters) ** 0.5
        return vector + self.noise.gaussian(len(vector), scale=scale)


def misbehaves(conduct: str, round_number: int) -> bool:
    """Whether this round is one of the bad ones."""
    if conduct == ON_OFF:
        return (round_number - 1) // ON_OFF_ROUNDS % 2 == 1
    return conduct != HONEST


def flipped(patients: Patients) -> Patients:
    """Every diagnosis turned round."""
    return replace(patients, labels=1 - patients.labels)


def triggered(patients: Patients) -> Patients:
    """With the trigger in every patient's inputs."""
    features = patients.features.copy()
    features[:, -TRIGGER_INPUTS:] = TRIGGER_VALUE
    return replace(patients, features=features)


def poisoned(patients: Patients) -> Patients:
    """Half of the patients with the trigger, and negative whatever they have: the others hide what is learnt."""
    rows = np.arange(len(patients)) < len(patients) * POISONED_SHARE
    features = np.where(rows[:, np.newaxis], triggered(patients).features, patients.features)
    return replace(patients, features=features, labels=np.where(rows, 0, patients.labels).astype(np.float32))
