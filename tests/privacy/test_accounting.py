"""Epsilon against accountants that others wrote, closed forms, and the ledger's rule done in integers."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, getcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from privacy.accounting import (
    ORDERS,
    AccountingError,
    SpendEvent,
    epsilon_at_orders,
    epsilon_pld,
    epsilon_rdp,
    noise_multiplier_for,
    renyi_divergence,
    spend_event,
)

BUDGETS = [(8.0, 1e-3, 1.0, 30), (6.0, 1e-4, 0.5, 24), (1.0, 1e-5, 1.0, 150), (3.0, 1e-5, 0.01, 1000)]


def gaussian_epsilon(sigma: float, steps: int, delta: float) -> float:
    """Exact epsilon of composed Gaussian mechanisms (Balle and Wang 2018, arXiv:1805.06530, theorem 8)."""
    mu = math.sqrt(steps) / sigma

    def excess(epsilon):
        return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu) - delta

    return brentq(excess, 0, 100)


def exact_divergence(order: int, sigma: Decimal, rate: Decimal) -> Decimal:
    """The binomial sum of Mironov, Talwar and Zhang in 60 decimals, without logarithms of terms."""
    getcontext().prec = 60
    terms = (
        math.comb(order, k) * (1 - rate) ** (order - k) * rate**k * (Decimal(k * k - k) / (2 * sigma * sigma)).exp()
        for k in range(order + 1)
    )
    return sum(terms, Decimal(0)).ln() / (order - 1)


@pytest.mark.parametrize(("epsilon", "delta", "rate", "steps"), BUDGETS)
def test_three_accountants_agree_on_the_order(epsilon, delta, rate, steps):
    sigma = noise_multiplier_for(epsilon=epsilon, delta=delta, sampling_rate=rate, steps=steps)
    events = [spend_event(noise_multiplier=sigma, sampling_rate=rate, steps=steps)]
    ledger = epsilon_at_orders(events, delta=delta)
    assert 0.5 * epsilon < epsilon_pld(events, delta=delta) < epsilon_rdp(events, delta=delta) < ledger <= epsilon


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rate", [0.01, 0.5, 1.0])
def test_divergence_is_that_of_opacus_and_of_exact_arithmetic(order, rate):
    from opacus.accountants.analysis.rdp import compute_rdp

    ours = renyi_divergence(order, 1.7, rate)
    assert ours == pytest.approx(float(compute_rdp(q=rate, noise_multiplier=1.7, steps=1, orders=[order])[0]), rel=1e-9)
    if rate < 1:
        assert ours == pytest.approx(float(exact_divergence(order, Decimal("1.7"), Decimal(str(rate)))), rel=1e-10)


def test_pld_is_the_exact_epsilon_of_the_gaussian_mechanism():
    events = [SpendEvent("gaussian", 4.0, 1.0, 20)]
    exact = gaussian_epsilon(4.0, 20, 1e-4)
    assert exact <= epsilon_pld(events, delta=1e-4) <= exact + 0.01
    assert epsilon_at_orders(events, delta=1e-4) > exact


def test_different_events_add_up():
    events = [SpendEvent("gaussian", 4.0, 1.0, 10), SpendEvent("sampled_gaussian", 2.0, 0.2, 15)]
    for accountant in (epsilon_at_orders, epsilon_rdp, epsilon_pld):
        both = accountant(events, delta=1e-4)
        assert max(accountant(events[:1], delta=1e-4), accountant(events[1:], delta=1e-4)) < both
        assert accountant(events[::-1], delta=1e-4) == pytest.approx(both)


def test_nothing_spent_is_nothing():
    assert epsilon_rdp([], delta=1e-5) == epsilon_pld([], delta=1e-5) == 0.0


@given(epsilon=st.floats(0.5, 20), inverse=st.integers(100, 10**7), rate=st.integers(10_000, 1_000_000), rounds=st.integers(1, 200))
@settings(deadline=None, max_examples=40)
def test_a_ledger_counting_in_integers_allows_every_round(epsilon, inverse, rate, rounds):
    sigma = noise_multiplier_for(epsilon=epsilon, delta=1 / inverse, sampling_rate=rate / 10**6, steps=rounds)
    assert sigma * 10**6 == pytest.approx(round(sigma * 10**6), abs=1e-6)

    def allowed(order: int) -> bool:
        divergence = Decimal(order) / (2 * Decimal(repr(sigma)) ** 2)
        if rate < 10**6:
            divergence = exact_divergence(order, Decimal(repr(sigma)), Decimal(rate) / 10**6)
        debit = (divergence * 10**6).to_integral_value(ROUND_CEILING)
        cap = ((Decimal(repr(epsilon)) - Decimal(inverse).ln() / (order - 1)) * 10**6).to_integral_value(ROUND_FLOOR)
        return rounds * debit <= cap

    assert any(allowed(order) for order in ORDERS)


@given(epsilon=st.floats(0.5, 20), rate=st.floats(0.05, 1.0), steps=st.integers(1, 200))
@settings(deadline=None, max_examples=40)
def test_the_noise_is_the_least_that_fits_and_grows_with_the_demand(epsilon, rate, steps):
    sigma = noise_multiplier_for(epsilon=epsilon, delta=1e-5, sampling_rate=rate, steps=steps)
    less = [spend_event(noise_multiplier=sigma * 0.999, sampling_rate=rate, steps=steps)]
    assert epsilon_at_orders(less, delta=1e-5) > epsilon - 4e-6 * (steps + 1)
    assert noise_multiplier_for(epsilon=epsilon, delta=1e-5, sampling_rate=rate, steps=steps + 1) >= sigma
    assert noise_multiplier_for(epsilon=epsilon * 1.1, delta=1e-5, sampling_rate=rate, steps=steps) <= sigma
    assert noise_multiplier_for(epsilon=epsilon, delta=1e-6, sampling_rate=rate, steps=steps) >= sigma


def test_a_budget_below_what_delta_alone_costs_is_refused():
    with pytest.raises(AccountingError, match="too small for 10 steps"):
        noise_multiplier_for(epsilon=0.05, delta=1e-5, sampling_rate=1.0, steps=10)


@pytest.mark.parametrize(
    "wrong",
    [{"epsilon": 0.0}, {"epsilon": math.inf}, {"delta": 0.0}, {"delta": 1.0}, {"sampling_rate": 0.0}, {"sampling_rate": 1.1}, {"steps": 0}],
)
def test_impossible_demands_are_refused(wrong):
    with pytest.raises(AccountingError):
        noise_multiplier_for(**({"epsilon": 1.0, "delta": 1e-5, "sampling_rate": 0.5, "steps": 10} | wrong))


@pytest.mark.parametrize(
    "fields",
    [
        ("laplace", 1.0, 1.0, 1),
        ("gaussian", 0.0, 1.0, 1),
        ("gaussian", math.nan, 1.0, 1),
        ("gaussian", 1.0, 0.5, 1),
        ("sampled_gaussian", 1.0, 0.0, 1),
        ("sampled_gaussian", 1.0, 0.5, 0),
    ],
)
def test_impossible_events_are_refused(fields):
    with pytest.raises(AccountingError):
        SpendEvent(*fields)


def test_the_mechanism_follows_the_rate():
    assert spend_event(noise_multiplier=1.0, sampling_rate=1.0, steps=2).mechanism == "gaussian"
    assert spend_event(noise_multiplier=1.0, sampling_rate=0.5, steps=2).mechanism == "sampled_gaussian"
