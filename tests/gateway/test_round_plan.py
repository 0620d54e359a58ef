"""`task plan --seconds`: what it chooses against every schedule there is, and against federations that are really trained."""

import numpy as np
import pytest

from gateway.errors import InputError
from gateway.hospital.plan import training_event
from gateway.researcher.round_plan import MOST_LOCAL_STEPS, Estimate, RoundSeconds, best_schedule
from gateway.task_file import TaskFile, parse
from tests.support.fhir_folders import SAMPLE_TASKS

PATIENTS, HOSPITALS, INPUTS = 60, 6, 30
SLOW_ROUNDS = RoundSeconds(step=0.1, encryption=1.0, ledger=9.0)


def sample(**privacy: object) -> TaskFile:
    task = parse((SAMPLE_TASKS / "breast-cancer.toml").read_bytes())
    return task.model_copy(update={"privacy": task.privacy.model_copy(update=privacy)})


@pytest.mark.parametrize("seconds", [10.1, 47.0, 100.0, 600.0, 50_000.0])
def test_no_schedule_within_the_time_has_a_smaller_estimate(seconds: float) -> None:
    chosen = best_schedule(sample(), seconds, SLOW_ROUNDS, patients=PATIENTS, hospitals=HOSPITALS)
    estimate = Estimate.of(sample(), patients=PATIENTS, hospitals=HOSPITALS)
    every = [
        estimate.excess(rounds, steps)
        for steps in range(1, MOST_LOCAL_STEPS + 1)
        for rounds in range(1, min(5000, int(seconds // SLOW_ROUNDS.of_round(steps))) + 1)
    ]
    assert chosen.estimated_excess == min(every)
    assert chosen.seconds <= seconds


def test_time_enough_means_single_steps_and_little_time_means_several() -> None:
    rich = best_schedule(sample(), 3600.0, SLOW_ROUNDS, patients=PATIENTS, hospitals=HOSPITALS)
    poor = best_schedule(sample(), 60.0, SLOW_ROUNDS, patients=PATIENTS, hospitals=HOSPITALS)
    assert rich.local_steps == 1 < poor.local_steps
    assert poor.rounds < rich.rounds


def test_noise_once_a_sum_allows_one_local_step_only() -> None:
    assert best_schedule(sample(mode="distributed"), 60.0, SLOW_ROUNDS, patients=PATIENTS, hospitals=HOSPITALS).local_steps == 1


def test_no_time_for_a_single_round_is_said() -> None:
    with pytest.raises(InputError, match=r"one round takes 10\.1 s, and there are 10 s"):
        best_schedule(sample(), 10.0, SLOW_ROUNDS, patients=PATIENTS, hospitals=HOSPITALS)


@pytest.mark.parametrize(("epsilon", "seconds"), [(3.0, 100.0), (8.0, 60.0)])
def test_a_sweep_of_trained_federations_finds_nothing_much_better(epsilon: float, seconds: float) -> None:
    task = sample(epsilon=epsilon)
    chosen = best_schedule(task, seconds, SLOW_ROUNDS, patients=PATIENTS, hospitals=HOSPITALS)
    losses = {steps: trained(task, int(seconds // SLOW_ROUNDS.of_round(steps)), steps) for steps in (1, 2, 4, 8, 16, 32)}
    assert trained(task, chosen.rounds, chosen.local_steps) < min(losses.values()) + 0.02
    assert max(losses.values()) > min(losses.values()) + 0.1  # or the choice would not matter


def trained(task: TaskFile, rounds: int, local_steps: int) -> float:
    """Log loss on new patients of logistic regression by local steps of clipped, noised gradients, mean of a few seeds, in NumPy alone."""
    own = task.task.rounds * task.training.local_steps
    deviation = training_event(task, patients=PATIENTS).noise_multiplier * (rounds * local_steps / own) ** 0.5
    return float(np.mean([_trained(task.training.learning_rate, deviation, rounds, local_steps, seed) for seed in range(6)]))


def _trained(rate: float, deviation: float, rounds: int, local_steps: int, seed: int) -> float:
    draws = np.random.default_rng(seed)
    truth = draws.normal(size=INPUTS)
    truth *= 6 / np.linalg.norm(truth)
    means = 0.15 * draws.normal(size=(HOSPITALS, 1, INPUTS))
    inputs = 0.5 * draws.normal(size=(HOSPITALS, PATIENTS, INPUTS)) + means
    labels = draws.random((HOSPITALS, PATIENTS)) < 1 / (1 + np.exp(-inputs @ truth))
    model = np.zeros(INPUTS)
    for _ in range(rounds):
        own = np.tile(model, (HOSPITALS, 1))
        for _ in range(local_steps):
            logits = np.einsum("hpi,hi->hp", inputs, own)
            gradients = ((1 + np.tanh(logits / 2)) / 2 - labels)[..., np.newaxis] * inputs
            gradients /= np.maximum(1, np.linalg.norm(gradients, axis=2, keepdims=True))
            own -= rate * (gradients.sum(axis=1) + draws.normal(0, deviation, own.shape)) / PATIENTS
        model = own.mean(axis=0)
    fresh = 0.5 * draws.normal(size=(2000, INPUTS))
    ill = draws.random(2000) < 1 / (1 + np.exp(-fresh @ truth))
    return float(np.mean(np.logaddexp(0, fresh @ model) - ill * (fresh @ model)))
