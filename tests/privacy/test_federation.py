"""The parts together on real patients: six hospitals in two groups learn, and the validators' noisy scores find who flips labels."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from privacy.accounting import noise_multiplier_for
from privacy.evaluation import auc, exact_auc, score_histogram
from privacy.models import ModelSpec, initial_parameters, predict
from privacy.noise import NoiseSource
from privacy.robust import combine_groups, group_bound, next_parameters, within_bound
from privacy.scoring import patient_losses, private_utility
from privacy.training import Update, train_plain, train_round

ROUNDS, CLIP, LEARNING_RATE, SCORE_CLIP = 24, 1.0, 2.0, 0.02
SPEC = ModelSpec("logistic_regression", 30)
SIZES = (150, 120, 100, 80, 65, 54)
NOISE = noise_multiplier_for(epsilon=6, delta=1e-4, sampling_rate=1.0, steps=ROUNDS)
SCORE_NOISE = noise_multiplier_for(epsilon=8, delta=1e-4, sampling_rate=1.0, steps=2 * ROUNDS)


@dataclass
class Hospital:
    training: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


@dataclass
class Outcome:
    parameters: np.ndarray
    wins: np.ndarray  # share of rounds in which a hospital's group was scored best, shape (hospitals,)
    refused: list[list[int]]  # members of groups that broke the bound


def hospitals(flipped: int | None = None) -> list[Hospital]:
    data = load_breast_cancer()
    middle, width = data.data.mean(axis=0), 2 * data.data.std(axis=0)
    features = np.clip((data.data - middle) / width, -1, 1)
    labels = 1 - data.target
    result = []
    for number, rows in enumerate(np.split(np.random.default_rng(0).permutation(569), np.cumsum(SIZES)[:-1])):
        told = 1 - labels if number == flipped else labels
        test, validation, training = np.split(rows, [int(0.3 * len(rows)), int(0.44 * len(rows))])
        result.append(Hospital(*((features[part], told[part]) for part in (training, validation)), (features[test], labels[test])))
    return result


def federate(sites: list[Hospital], *, scaled: int | None = None) -> Outcome:
    order, noise = np.random.default_rng(1), NoiseSource(b"federation noise for this test..")
    theta, wins, refused = initial_parameters(SPEC, seed=0), np.zeros(len(sites)), []
    for _ in range(ROUNDS):
        updates = [train(site, theta, noise) for site in sites]
        if scaled is not None:
            updates[scaled] = Update(20 * updates[scaled].vector, updates[scaled].expected_batch)
        groups = [list(group) for group in np.split(order.permutation(len(sites)), 2)]
        sums = [sum(updates[i].vector for i in group) for group in groups]
        batches = [sum(updates[i].expected_batch for i in group) for group in groups]
        kept = [k for k in (0, 1) if within_bound(sums[k], bound_of([updates[i] for i in groups[k]]))]
        refused += [groups[k] for k in (0, 1) if k not in kept]
        best = max(kept, key=lambda k: score(sites, groups[k], theta, step(theta, sums[k], batches[k]), noise))
        wins[groups[best]] += 1 / ROUNDS
        combined = combine_groups([sums[k] for k in kept], [batches[k] for k in kept])
        theta = next_parameters(theta, combined, clip=CLIP, learning_rate=LEARNING_RATE)
    return Outcome(theta, wins, refused)


def train(site: Hospital, theta: np.ndarray, noise: NoiseSource) -> Update:
    settings = {"clip": CLIP, "noise_multiplier": NOISE, "sampling_rate": 1.0, "local_steps": 1, "learning_rate": LEARNING_RATE}
    return train_round(SPEC, theta, *site.training, **settings, noise=noise, sampler=noise)


def bound_of(members: list[Update]):
    batches = [update.expected_batch for update in members]
    return group_bound(expected_batches=batches, patients=batches, noise_multiplier=NOISE, local_steps=1, parameters=31)


def step(theta: np.ndarray, group_sum: np.ndarray, batch: int) -> np.ndarray:
    return next_parameters(theta, combine_groups([group_sum], [batch]), clip=CLIP, learning_rate=LEARNING_RATE)


def score(sites: list[Hospital], group: list[int], before: np.ndarray, after: np.ndarray, noise: NoiseSource) -> float:
    """Median over the validators that are not in the group."""
    scores = []
    for number, site in enumerate(sites):
        if number not in group:
            losses = [patient_losses(SPEC, vector, *site.validation) for vector in (before, after)]
            scores.append(private_utility(*losses, expected=len(losses[0]), clip=SCORE_CLIP, noise_multiplier=SCORE_NOISE, noise=noise))
    return float(np.median(scores))


def pooled_auc(sites: list[Hospital], theta: np.ndarray) -> float:
    features, labels = (np.concatenate(parts) for parts in zip(*(site.test for site in sites), strict=True))
    value = auc(score_histogram(predict(SPEC, theta, features), labels))
    assert value is not None
    return value


def test_the_federated_model_comes_close_to_training_on_all_patients_without_privacy():
    sites = hospitals()
    everyone = [np.concatenate(parts) for parts in zip(*(site.training for site in sites), strict=True)]
    features, labels = (np.concatenate(parts) for parts in zip(*(site.test for site in sites), strict=True))
    ceiling = exact_auc(predict(SPEC, train_plain(SPEC, *everyone), features), labels)
    outcome = federate(sites)
    assert ceiling is not None and ceiling - 0.02 < pooled_auc(sites, outcome.parameters) <= 1
    assert not outcome.refused


@pytest.mark.parametrize("flipped", [0, 4])
def test_a_hospital_that_flips_labels_has_the_lowest_score(flipped):
    outcome = federate(hospitals(flipped=flipped))
    assert outcome.wins[flipped] + 0.1 < np.delete(outcome.wins, flipped).min()
    assert pooled_auc(hospitals(), outcome.parameters) > 0.95


def test_a_hospital_that_scales_its_update_is_refused_with_its_group_and_nobody_else():
    outcome = federate(hospitals(), scaled=4)
    assert len(outcome.refused) > ROUNDS / 2 and all(4 in group for group in outcome.refused)
    assert pooled_auc(hospitals(), outcome.parameters) > 0.97
