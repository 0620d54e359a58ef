"""The oracle of contributions: against its definition, and the product's reward against it."""

import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from gateway.bench.conduct import LABEL_FLIP
from gateway.bench.shapley import Coalition, leave_group_out, rank_correlation, shapley
from gateway.bench.simulated_data import breast_cancer
from gateway.bench.simulation import Setup, Simulation
from gateway.bench.worth import coalition_value

NAMES = ("a", "b", "c", "d")


@st.composite
def games(draw: st.DrawFn) -> dict[Coalition, float]:
    count = draw(st.integers(1, 4))
    members = NAMES[:count]
    coalitions = [frozenset(name for place, name in enumerate(members) if number >> place & 1) for number in range(1 << count)]
    return {coalition: draw(st.integers(-1000, 1000)) / 10 for coalition in coalitions}


@given(games())
def test_values_are_the_mean_over_all_orders(game: dict[Coalition, float]) -> None:
    members = sorted(max(game, key=len))
    found = shapley(members, game.__getitem__)
    orders = list(permutations(members))
    for name in members:
        gains = [game[frozenset(order[: order.index(name) + 1])] - game[frozenset(order[: order.index(name)])] for order in orders]
        assert found[name] == pytest.approx(sum(gains) / len(orders), abs=1e-9)
    assert math.fsum(found.values()) == pytest.approx(game[frozenset(members)] - game[frozenset()], abs=1e-9)


def test_eight_hospitals_are_the_most() -> None:
    assert set(shapley([str(number) for number in range(8)], len).values()) == {1.0}
    with pytest.raises(ValueError, match="up to 8"):
        shapley([str(number) for number in range(9)], len)
    with pytest.raises(ValueError, match="distinct"):
        shapley(["a", "a"], len)


def test_a_group_shares_what_is_lost_without_it() -> None:
    worth = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 6.0}
    found = leave_group_out([("a", "b"), ("c", "d")], lambda coalition: sum(worth[name] for name in coalition))
    assert found == {"a": 1.5, "b": 1.5, "c": 4.5, "d": 4.5}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=8))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    first = {str(number): float(pair[0]) for number, pair in enumerate(pairs)}
    second = {str(number): float(pair[1]) for number, pair in enumerate(pairs)}
    found = rank_correlation(first, second)
    if len(set(first.values())) == 1 or len(set(second.values())) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(spearmanr(list(first.values()), list(second.values())).statistic)


def test_rewards_and_oracle_are_of_the_same_hospitals() -> None:
    with pytest.raises(ValueError, match="different hospitals"):
        rank_correlation({"a": 1.0}, {"b": 1.0})


def test_who_is_worth_least_is_paid_least() -> None:
    """Six hospitals, one of them with flipped labels, without privacy noise: the exact value and the reward name the same one."""
    data = breast_cancer()
    names = sorted(data.hospitals)[:6]
    parts = {mspid: part for mspid, part in data.divide(1).items() if mspid in names}
    setup = Setup(data.task, parts, seed=1, epsilon=None, conduct={names[0]: LABEL_FLIP})
    played = Simulation(setup).play(20)
    rewards = {mspid: float(sum(each.pay_micro.get(mspid, 0) for each in played)) for mspid in names}
    oracle = shapley(names, coalition_value(setup, rounds=5))
    assert oracle[names[0]] < 0 < min(oracle[mspid] for mspid in names[1:])
    assert min(rewards, key=rewards.__getitem__) == names[0]
    assert rewards[names[0]] < sum(rewards.values()) / len(names) / 2
