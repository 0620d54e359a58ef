"""What each hospital adds to a model, exactly: the oracle that rewards are held against. For up to eight hospitals.

Shapley 1953: the mean, over all orders in which hospitals could join, of what each adds when it joins.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

MOST_HOSPITALS = 8

Coalition = frozenset[str]
Value = Callable[[Coalition], float]
"""How good a model is that this coalition trained alone; higher is better."""


def shapley(hospitals: Sequence[str], value: Value) -> dict[str, float]:
    """Exact values, which add up to value(all) - value(none). Calls `value` once for each of the 2^n coalitions.

    Raises ValueError for more than MOST_HOSPITALS hospitals, or one named twice.
    """
    count = len(hospitals)
    if count > MOST_HOSPITALS or len(set(hospitals)) != count:
        raise ValueError(f"exact values are computed for up to {MOST_HOSPITALS} distinct hospitals, not for {list(hospitals)}")
    values = {coalition: value(coalition) for coalition in _coalitions(hospitals)}
    return {
        hospital: sum(
            (values[without | {hospital}] - gain) * math.factorial(len(without)) * math.factorial(count - len(without) - 1)
            for without, gain in values.items()
            if hospital not in without
        )
        / math.factorial(count)
        for hospital in hospitals
    }


def leave_group_out(groups: Sequence[Sequence[str]], value: Value) -> dict[str, float]:
    """For each hospital, what is lost without the group it is in, shared equally by the group: what sums of groups can show."""
    everybody = frozenset(hospital for group in groups for hospital in group)
    whole = value(everybody)
    return {hospital: (whole - value(everybody - set(group))) / len(group) for group in groups for hospital in group}


def rank_correlation(rewards: Mapping[str, float], oracle: Mapping[str, float]) -> float:
    """Spearman's rank correlation of what hospitals got with what they were worth; raises ValueError unless both are of the same hospitals.

    0 where either treats all alike: there is no order to agree with.
    """
    if rewards.keys() != oracle.keys():
        raise ValueError("rewards and oracle are of different hospitals")
    hospitals = sorted(rewards)
    given, worth = (_ranks([values[hospital] for hospital in hospitals]) for values in (rewards, oracle))
    if not given.std() or not worth.std():
        return 0.0
    return float(np.corrcoef(given, worth)[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing the mean of theirs."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return (np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right") + 1) / 2


def _coalitions(hospitals: Sequence[str]) -> list[Coalition]:
    return [frozenset(chosen) for size in range(len(hospitals) + 1) for chosen in combinations(hospitals, size)]
