"""The running mechanism audited from outside: what an attacker can tell from an update stays below what is claimed."""

import numpy as np
import pytest

from privacy.accounting import epsilon_pld, spend_event
from privacy.models import ModelSpec, parameter_count
from privacy.noise import NoiseSource
from privacy.training import Mode, noise_share, train_round
from tests.support.one_run_audit import correct_guesses, epsilon_lower_bound

CANARIES, GUESSES, DELTA, NOISE_MULTIPLIER, HOSPITALS = 2000, 1000, 1e-5, 1.0, 3
SPEC = ModelSpec("logistic_regression", CANARIES)
ALMOST_NO_NOISE = 1e-6


def update(features: np.ndarray, *, noise_multiplier: float) -> np.ndarray:
    """One hospital's update from the real training step."""
    return train_round(
        SPEC,
        np.zeros(parameter_count(SPEC)),
        features,
        np.zeros(len(features)),
        clip=1.0,
        noise_multiplier=noise_multiplier,
        sampling_rate=1.0,
        local_steps=1,
        learning_rate=1.0,
        noise=NoiseSource.from_system(),
        sampler=NoiseSource.from_system(),
    ).vector


def released(mode: Mode, included: np.ndarray, *, noise_multiplier: float) -> np.ndarray:
    """What is decrypted of the mode: one update, or a sum of the smallest group's. All canaries are the first hospital's patients.

    A canary is the patient that an update tells most about: its clipped gradient lies along an input that no other patient has.
    """
    canaries = 100.0 * np.eye(CANARIES)[included]
    own = noise_share(noise_multiplier=noise_multiplier, mode=mode, local_steps=1, minimum_members=HOSPITALS)
    total = update(canaries, noise_multiplier=own)
    if mode == "distributed":
        total = total + sum(update(np.zeros((1, CANARIES)), noise_multiplier=own) for _ in range(HOSPITALS - 1))
    return total[:CANARIES]


def measured_epsilon(mode: Mode, *, noise_multiplier: float) -> float:
    included = np.random.default_rng(7).random(CANARIES) < 0.5
    scores = released(mode, included, noise_multiplier=noise_multiplier)
    correct = correct_guesses(scores, included, guesses=GUESSES)
    return epsilon_lower_bound(canaries=CANARIES, guesses=GUESSES, correct=correct, delta=DELTA)


def claim() -> float:
    """By the tightest accountant, so that the ledger's larger figure holds with it."""
    return epsilon_pld([spend_event(noise_multiplier=NOISE_MULTIPLIER, sampling_rate=1.0, steps=1)], delta=DELTA)


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_an_attacker_learns_less_than_is_claimed(mode: Mode) -> None:
    measured = measured_epsilon(mode, noise_multiplier=NOISE_MULTIPLIER)
    assert measured < claim()
    assert measured > 0.3  # the audit sees the canaries: with a blind one the line above could not fail


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_without_noise_the_audit_breaks_the_claim(mode: Mode) -> None:
    assert measured_epsilon(mode, noise_multiplier=ALMOST_NO_NOISE) > claim()


def test_a_share_of_the_noise_alone_does_not_keep_the_claim_of_the_sum() -> None:
    """Why mode distributed needs the secure sum: one hospital's own update tells more than the sum of three."""
    included = np.random.default_rng(7).random(CANARIES) < 0.5
    weaker = noise_share(noise_multiplier=NOISE_MULTIPLIER, mode="distributed", local_steps=1, minimum_members=HOSPITALS)
    alone = update(100.0 * np.eye(CANARIES)[included], noise_multiplier=weaker)[:CANARIES]
    right_alone = correct_guesses(alone, included, guesses=GUESSES)
    right_sum = correct_guesses(released("distributed", included, noise_multiplier=NOISE_MULTIPLIER), included, guesses=GUESSES)
    assert right_alone > right_sum


def test_the_bound_itself_is_right_for_randomised_response() -> None:
    """Randomised response of a known ε is ε-private and no better: the bound comes close to ε and stays below it."""
    epsilon, guesses = 1.5, 20_000
    correct = int((np.random.default_rng(3).random(guesses) < np.exp(epsilon) / (1 + np.exp(epsilon))).sum())
    assert 0.9 * epsilon < epsilon_lower_bound(canaries=guesses, guesses=guesses, correct=correct, delta=0.0) < epsilon
