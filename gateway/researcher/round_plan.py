"""How to spend a given time: many rounds of few local steps, or few rounds of many (the question of BLADE-FL, answered for noised steps).

The estimate is the consortium's own, in the shape that analyses of local SGD share (Koloskova et al. 2020, arXiv:2003.10422): what is
still to learn falls with the number of steps, noise grows with it, and hospitals drift apart between rounds. It is for choosing, not
for predicting a loss.
"""

import math
from dataclasses import dataclass

from gateway.errors import InputError
from gateway.hospital.plan import model_spec, size_of, training_event
from gateway.task_file import TaskFile
from privacy.models import parameter_count

MOST_LOCAL_STEPS = 64
_DISTANCE = 3.0  # of the best model from the first, in units of the clip times the learning rate's: inputs are of order one
_DRIFT = 0.002  # of the square of how far two hospitals can part in a round


@dataclass(frozen=True)
class RoundSeconds:
    """Measured: one local step of the slowest hospital, encrypting and opening a round's updates, and a round's ledger calls."""

    step: float
    encryption: float
    ledger: float

    def of_round(self, local_steps: int) -> float:
        return self.step * local_steps + self.encryption + self.ledger


@dataclass(frozen=True)
class Schedule:
    """Rounds and local steps, how long they take, and the estimated loss above the best model's, in nats: comparable, not exact."""

    rounds: int
    local_steps: int
    seconds: float
    estimated_excess: float


def best_schedule(task: TaskFile, seconds: float, measured: RoundSeconds, *, patients: int, hospitals: int) -> Schedule:
    """The schedule with the smallest estimate that ends within `seconds`; raise InputError where not one round does."""
    estimate = Estimate.of(task, patients=patients, hospitals=hospitals)
    most = 1 if task.privacy.mode == "distributed" else MOST_LOCAL_STEPS
    found = [
        Schedule(rounds, steps, rounds * measured.of_round(steps), estimate.excess(rounds, steps))
        for steps in range(1, most + 1)
        for rounds in _worth_trying(int(seconds // measured.of_round(steps)), estimate.best_steps / steps)
    ]
    if not found:
        raise InputError(f"one round takes {measured.of_round(1):g} s, and there are {seconds:g} s; give more time")
    return min(found, key=lambda each: (each.estimated_excess, each.seconds))


def _worth_trying(most: int, best: float) -> set[int]:
    """The whole numbers beside the best one, within what the time allows."""
    return {min(most, max(1, math.floor(best))), min(most, math.ceil(best))} if most >= 1 else set()


@dataclass(frozen=True)
class Estimate:
    """a / (rounds · steps) + b · (rounds · steps) + c · (steps - 1)²."""

    to_learn: float
    noise: float
    drift: float

    @classmethod
    def of(cls, task: TaskFile, *, patients: int, hospitals: int) -> "Estimate":
        """The task's: its noise grows with the root of the number of steps, so its variance is a constant for each of them."""
        rate, clip = task.training.learning_rate, task.privacy.clip
        own_steps = task.task.rounds * task.training.local_steps
        batch = size_of(task, patients=patients).batch
        variance_a_step = training_event(task, patients=patients).noise_multiplier ** 2 / own_steps
        return cls(
            to_learn=_DISTANCE**2 / (2 * rate),
            noise=rate * parameter_count(model_spec(task)) * (clip / batch) ** 2 * variance_a_step / (2 * hospitals),
            drift=_DRIFT * (rate * clip) ** 2,
        )

    @property
    def best_steps(self) -> float:
        """Of all rounds together, were there no drift and time without end."""
        return math.sqrt(self.to_learn / self.noise)

    def excess(self, rounds: int, local_steps: int) -> float:
        steps = rounds * local_steps
        return self.to_learn / steps + self.noise * steps + self.drift * (local_steps - 1) ** 2
