"""The Rényi filter against Opacus' accountant, and what a filter must never allow."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants.analysis.rdp import compute_rdp

from fabric.contract import budget

events = st.tuples(st.integers(300_000, 20_000_000), st.integers(100, 1_000_000), st.integers(1, 2_000))


@settings(max_examples=40, deadline=None)
@given(events)
def test_cost_agrees_with_opacus_and_is_never_below_it(event: tuple[int, int, int]) -> None:
    sigma, rate, steps = event
    ours = budget.rdp_cost_micro("sampled_gaussian", sigma, rate, steps)
    theirs = compute_rdp(q=rate / 1e6, noise_multiplier=sigma / 1e6, steps=steps, orders=list(budget.ORDERS))
    for micro, value in zip(ours, theirs, strict=True):
        assert micro / 1e6 == pytest.approx(value, rel=1e-6, abs=2e-6)
        assert micro + 1e-6 * micro + 1e-3 >= value * 1e6  # rounded up, but for the float oracle's own error


@given(st.integers(10_000, 10**8), st.integers(1, 10**6))
def test_gaussian_is_the_exact_fraction_rounded_up(sigma: int, steps: int) -> None:
    for order, micro in zip(budget.ORDERS, budget.rdp_cost_micro("gaussian", sigma, 1_000_000, steps), strict=True):
        assert (micro - 1) * 2 * sigma**2 < order * steps * 10**18 <= micro * 2 * sigma**2


@given(st.integers(1, 10**8), st.integers(2, 10**15))
def test_caps_are_the_conversion_rounded_down(epsilon: int, delta_inverse: int) -> None:
    for order, cap in zip(budget.ORDERS, budget.caps_micro(epsilon, delta_inverse), strict=True):
        exact = epsilon - math.log(delta_inverse) / (order - 1) * 1e6
        assert cap == 0 if exact <= 0 else exact - 1.001 <= cap <= exact + 1e-6 * abs(exact) + 1e-6


@settings(deadline=None)
@given(st.lists(events, min_size=1, max_size=30), st.integers(500_000, 10_000_000), st.integers(100, 10**8))
def test_a_filter_never_passes_its_epsilon(spends: list[tuple[int, int, int]], epsilon: int, delta_inverse: int) -> None:
    caps = budget.caps_micro(epsilon, delta_inverse)
    spent: tuple[int, ...] = (0,) * len(caps)
    for sigma, rate, steps in spends:
        cost = budget.rdp_cost_micro("sampled_gaussian", sigma, rate, steps)
        if budget.fits(spent, cost, caps):
            spent = budget.add(spent, cost)
        else:
            assert budget.epsilon_spent_micro(budget.add(spent, cost), delta_inverse) > epsilon
    assert budget.epsilon_spent_micro(spent, delta_inverse) <= epsilon


def test_one_order_under_its_cap_is_enough_and_the_cap_itself_may_be_reached() -> None:
    assert budget.fits((0, 5), (9, 5), (1, 10))
    assert not budget.fits((0, 6), (9, 5), (1, 10))


def test_nothing_spent_is_zero() -> None:
    assert budget.epsilon_spent_micro((0,) * len(budget.ORDERS), 100_000) == 0


def test_cost_grows_with_steps_and_sampling_and_falls_with_noise() -> None:
    cost = budget.rdp_cost_micro("sampled_gaussian", 1_000_000, 100_000, 10)
    assert all(a < b for a, b in zip(cost, budget.rdp_cost_micro("sampled_gaussian", 1_000_000, 100_000, 11), strict=True))
    assert all(a < b for a, b in zip(cost, budget.rdp_cost_micro("sampled_gaussian", 1_000_000, 110_000, 10), strict=True))
    assert all(a > b for a, b in zip(cost, budget.rdp_cost_micro("sampled_gaussian", 1_100_000, 100_000, 10), strict=True))
