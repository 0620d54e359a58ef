"""How much privacy a mechanism really loses, from one run of it: a lower bound on ε.

Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run" (NeurIPS 2023), theorem 5.2 and its numerical form: m canaries are
each put in or left out by a coin; an attacker who sees the output guesses `guesses` of the coins; under (ε, δ)-differential privacy so many
correct guesses would be unlikely.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

_SIGNIFICANCE = 0.05


def correct_guesses(scores: NDArray[np.float64], included: NDArray[np.bool_], *, guesses: int) -> int:
    """Guess "in" for the highest scores and "out" for the lowest, half of `guesses` each; how many are right."""
    order = np.argsort(scores)
    out, inside = order[: guesses // 2], order[len(order) - guesses // 2 :]
    return int(included[inside].sum() + (~included[out]).sum())


def epsilon_lower_bound(*, canaries: int, guesses: int, correct: int, delta: float) -> float:
    """The largest ε that so many correct guesses rule out at the 5 % level (0 if none)."""
    low, high = 0.0, 50.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        ruled_out = _probability(canaries, guesses, correct, middle, delta) < _SIGNIFICANCE
        low, high = (middle, high) if ruled_out else (low, middle)
    return low


def _probability(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """A bound on the probability of `correct` right guesses or more under (ε, δ)-differential privacy."""
    right = 1 / (1 + math.exp(-epsilon))
    beyond = float(binom.sf(correct - 1, guesses, right))
    within = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, right))
    steepest = float(np.max(within / np.arange(1, correct + 1), initial=0.0))
    return min(1.0, beyond + 2 * canaries * delta * steepest)
