"""What differential privacy rests on: without noise, no patient moves a step by more than the clip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.models import ModelSpec, parameter_count
from privacy.training import train_round
from tests.support.noise_sources import Picking, Silent

SPECS = [ModelSpec("logistic_regression", 3), ModelSpec("mlp", 3, (4,))]
extreme = st.one_of(st.floats(-1, 1), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1e12, -1e12]))


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_adding_one_patient_moves_the_sum_by_at_most_one_clip(data):
    spec = data.draw(st.sampled_from(SPECS))
    count = data.draw(st.integers(1, 5))
    rows = data.draw(st.lists(st.lists(extreme, min_size=3, max_size=3), min_size=count, max_size=count))
    labels = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    theta = data.draw(st.lists(st.floats(-100, 100), min_size=parameter_count(spec), max_size=parameter_count(spec)))
    clip = data.draw(st.floats(1e-3, 1e3))

    def clipped_sum(drawn: range) -> np.ndarray:
        result = train_round(
            spec,
            np.array(theta),
            rows,
            labels,
            clip=clip,
            noise_multiplier=1.0,
            sampling_rate=0.5,
            local_steps=1,
            learning_rate=1.0,
            noise=Silent(),
            sampler=Picking(drawn),
        )
        return result.vector

    influence = np.linalg.norm(clipped_sum(range(count)) - clipped_sum(range(count - 1)))
    assert influence <= 1 + 1e-9


def test_a_large_gradient_is_cut_to_the_clip_and_a_small_one_left():
    def length(feature: float) -> float:
        result = train_round(
            SPECS[0],
            np.zeros(4),
            [[feature, 0.0, 0.0]],
            [1],
            clip=1.0,
            noise_multiplier=1.0,
            sampling_rate=1.0,
            local_steps=1,
            learning_rate=1.0,
            noise=Silent(),
            sampler=Picking([0]),
        )
        return float(np.linalg.norm(result.vector))

    assert length(1000.0) == pytest.approx(1.0, rel=1e-5)
    assert length(0.0) == pytest.approx(0.5)  # the bias alone: |sigmoid(0) - 1|
