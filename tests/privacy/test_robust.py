"""Group sums: bounds that honest groups keep and scaled updates break, combination, and the step."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy.robust import combine_groups, group_bound, next_parameters, update_bound, within_bound

finite = st.floats(-1e6, 1e6)
GROUP = {"expected_batches": [60, 40, 37], "patients": [60, 40, 37], "noise_multiplier": 3.0, "local_steps": 1, "parameters": 31}


def honest_sum(rng: np.random.Generator, scale: float = 1.0) -> np.ndarray:
    """Every patient's clipped gradient in the same direction, the worst case, and each hospital's noise; the last one scales."""
    direction = np.ones(31) / math.sqrt(31)
    updates = [batch * direction + rng.normal(0, 3.0, 31) for batch in GROUP["expected_batches"]]
    return updates[0] + updates[1] + scale * updates[2]


def test_honest_groups_keep_the_bound_and_scaled_updates_break_it():
    rng = np.random.default_rng(0)
    bound = group_bound(**GROUP)
    assert all(within_bound(honest_sum(rng), bound) for _ in range(2000))
    assert not any(within_bound(honest_sum(rng, scale=20.0), bound) for _ in range(200))


def test_noise_of_a_group_adds_up_over_members_and_steps():
    one = group_bound(expected_batches=[10], patients=[10], noise_multiplier=3.0, local_steps=1, parameters=100)
    four = group_bound(expected_batches=[5, 5], patients=[5, 5], noise_multiplier=3.0, local_steps=2, parameters=100)
    assert (one.coordinate, one.norm) == (10 + 8 * 3.0, 10 + (10 + 6) * 3.0)
    assert (four.coordinate, four.norm) == (20 + 8 * 6.0, 20 + (10 + 6) * 6.0)


def test_the_noise_alone_of_an_honest_group_keeps_the_norm():
    bound = group_bound(**(GROUP | {"expected_batches": [1, 1, 1], "patients": [1, 1, 1]}))
    noise = np.linalg.norm(np.random.default_rng(0).normal(0, 3.0 * math.sqrt(3), (100_000, 31)), axis=1)
    assert 0.5 * bound.norm < noise.max() < bound.norm


def test_one_coordinate_beyond_is_enough():
    bound = group_bound(**GROUP)
    spike = np.zeros(31)
    spike[7] = -bound.coordinate * 1.001
    assert not within_bound(spike, bound)


def test_many_coordinates_within_but_too_long_together():
    bound = group_bound(**GROUP)
    assert not within_bound(np.full(31, bound.coordinate * 0.9), bound)
    assert within_bound(np.full(31, bound.norm / math.sqrt(31) * 0.999), bound)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_never_within(bad):
    assert not within_bound(np.array([0.0, bad]), group_bound(**(GROUP | {"parameters": 2})))


def test_update_bound_covers_every_patient_and_the_noise():
    assert update_bound(expected_batch=60, patients=60, noise_multiplier=2.0, local_steps=1) == 60 + 16.0
    assert update_bound(expected_batch=60, patients=60, noise_multiplier=2.0, local_steps=4) == 240 + 32.0


@pytest.mark.parametrize(("patients", "rate"), [(2000, 0.5), (5000, 0.01), (100, 0.1)])
def test_poisson_batches_keep_the_bound(patients, rate):
    rng = np.random.default_rng(0)
    bound = update_bound(expected_batch=round(rate * patients), patients=patients, noise_multiplier=1e-9, local_steps=1)
    assert rng.binomial(patients, rate, 100_000).max() < bound <= patients


def test_one_or_two_groups_are_averaged_over_all_patients():
    sums = [np.array([6.0, 2.0]), np.array([3.0, -8.0])]
    assert combine_groups(sums[:1], [6]).tolist() == [1.0, 2.0 / 6.0]
    assert combine_groups(sums, [6, 3]).tolist() == [1.0, -6.0 / 9.0]


def test_three_groups_give_the_median_of_their_means():
    assert combine_groups([np.array([6.0]), np.array([1e9]), np.array([8.0])], [2, 1, 2]).tolist() == [4.0]


def test_eight_groups_lose_two_at_each_end():
    values = [5.0, 1e9, 3.0, 4.0, -1e9, 1e9, 6.0, -1e9]
    assert combine_groups([np.array([value]) for value in values], [1] * 8).tolist() == [4.5]


@given(arrays(np.float64, (5, 4), elements=finite), st.permutations(range(5)))
@example(np.outer([1.0, -1.0, 0.0, -0.0, 0.0], np.ones(4)), [0, 1, 2, 4, 3])
def test_from_three_groups_on_the_order_does_not_matter(sums, order):
    batches = [3, 1, 4, 1, 5]
    straight = combine_groups(list(sums), batches)
    mixed = combine_groups([sums[i] for i in order], [batches[i] for i in order])
    assert straight.tobytes() == mixed.tobytes()


@settings(deadline=None)
@pytest.mark.parametrize("how", ["trimmed_mean", "median"])
@given(sums=arrays(np.float64, (4, 3), elements=finite), attack=st.floats(-1e30, 1e30))
def test_one_bad_group_of_four_cannot_leave_the_range_of_the_others(how, sums, attack):
    combined = combine_groups([*sums[:3], np.full(3, attack)], [1, 1, 1, 1], how)
    slack = 1e-9 * (1 + np.abs(sums).max())
    assert (combined <= sums[:3].max(axis=0) + slack).all() and (combined >= sums[:3].min(axis=0) - slack).all()


@settings(deadline=None)
@given(arrays(np.float64, (7, 3), elements=finite))
def test_the_median_is_that_of_the_group_means(sums):
    np.testing.assert_allclose(combine_groups(list(sums), [2] * 7, "median"), np.median(sums / 2, axis=0))


@settings(deadline=None)
@given(arrays(np.float64, (6, 3), elements=finite))
def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle(sums):
    np.testing.assert_allclose(combine_groups(list(sums), [1] * 6, "median"), np.median(sums, axis=0))


def test_the_mean_is_over_patients_and_gives_way_to_one_bad_group():
    sums = [np.array([6.0]), np.array([3.0]), np.array([1e9])]
    assert combine_groups(sums, [6, 2, 2], "mean").tolist() == [(9.0 + 1e9) / 10.0]


@pytest.mark.parametrize(("sums", "batches"), [([], []), ([np.zeros(2)], [1, 2]), ([np.zeros(2)], [0])])
def test_groups_without_matching_batches_are_refused(sums, batches):
    with pytest.raises(ValueError, match="combining needs"):
        combine_groups(sums, batches)


def test_the_step_undoes_the_units():
    stepped = next_parameters(np.array([1.0, -1.0]), np.array([0.5, -0.25]), clip=2.0, learning_rate=0.1)
    assert stepped == pytest.approx([0.9, -0.95])
