"""Scores of validators: what they say, what one patient can change, and that the noise is there."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from privacy.models import ModelSpec
from privacy.noise import NoiseSource
from privacy.scoring import patient_losses, private_utility
from tests.support.noise_sources import Counting, Silent

SPEC = ModelSpec("logistic_regression", 2)
losses = st.lists(st.floats(0, 30), min_size=2, max_size=8)


def test_losses_are_the_log_loss():
    features, labels = np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, 0.0]]), np.array([1, 0, 1])
    vector = np.array([0.5, -1.0, 0.2])
    probabilities = 1 / (1 + np.exp(-(features @ vector[:2] + vector[2])))
    ours = patient_losses(SPEC, vector, features, labels)
    assert ours.shape == (3,) and ours.mean() == pytest.approx(log_loss(labels, probabilities))


def test_a_certain_and_wrong_model_has_a_finite_loss():
    assert np.isfinite(patient_losses(SPEC, np.array([1e6, 0.0, 0.0]), [[1.0, 0.0], [-1.0, 0.0]], [0, 1])).all()


def test_the_utility_is_the_mean_of_clipped_savings():
    before, after = [1.0, 1.0, 1.0, 1.0], [0.99, 0.0, 3.0, 1.0]
    expected = (0.01 + 0.05 - 0.05 + 0.0) / 4
    assert private_utility(before, after, expected=4, clip=0.05, noise_multiplier=1.0, noise=Silent()) == pytest.approx(expected)


def test_the_noise_is_scaled_to_the_clip_and_divided_by_a_public_number_of_patients():
    noise = Counting()
    utility = private_utility([1.0] * 7, [1.0] * 7, expected=10, clip=0.5, noise_multiplier=3.0, noise=noise)
    assert noise.drawn == [(1, 1.5)] and utility == pytest.approx(0.15)


@given(before=losses, data=st.data(), clip=st.floats(1e-3, 10))
def test_one_patient_moves_the_sum_by_at_most_the_clip(before, data, clip):
    after = data.draw(st.lists(st.floats(0, 30), min_size=len(before), max_size=len(before)))

    def total(count: int) -> float:
        return private_utility(before[:count], after[:count], expected=1e6, clip=clip, noise_multiplier=1.0, noise=Silent())

    # Divided by a number that does not change with the data: with the true one, an unmoved sum would give the patient away.
    assert abs(total(len(before)) - total(len(before) - 1)) <= clip / 1e6 * (1 + 1e-9)


def test_scores_stay_within_the_clip_whatever_the_noise():
    source = NoiseSource(b"n" * 32)
    scores = [private_utility([1.0], [1.0], expected=1, clip=0.1, noise_multiplier=50.0, noise=source) for _ in range(50)]
    assert max(map(abs, scores)) == 0.1 and len(set(scores)) >= 2


@pytest.mark.parametrize(("before", "after"), [([[1.0]], [[1.0]]), ([1.0], [math.nan]), ([math.inf], [1.0])])
def test_unusable_losses_are_refused(before, after):
    with pytest.raises(ValueError, match="scoring needs one finite loss"):
        private_utility(before, after, expected=1, clip=0.1, noise_multiplier=1.0, noise=Silent())


@pytest.mark.parametrize(("clip", "noise_multiplier"), [(0.0, 1.0), (0.1, 0.0), (math.nan, 1.0), (0.1, math.inf)])
def test_unusable_settings_are_refused(clip, noise_multiplier):
    with pytest.raises(ValueError, match="positive clip and noise multiplier"):
        private_utility([1.0], [1.0], expected=1, clip=clip, noise_multiplier=noise_multiplier, noise=Silent())


def test_a_hospital_without_validation_patients_tells_noise():
    assert private_utility([], [], expected=10, clip=0.5, noise_multiplier=3.0, noise=Counting()) == pytest.approx(0.15)
    with pytest.raises(ValueError, match="positive number of patients"):
        private_utility([], [], expected=0, clip=0.5, noise_multiplier=3.0, noise=Silent())
