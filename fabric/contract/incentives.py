"""Who is paid what for a round: on-chain reward weighted by utility, trust and consistency. Integers only."""

from collections.abc import Mapping

from fabric.contract.trust import S, TrustState

_STREAK_STEP, _LONGEST_STREAK = 50_000, 10


def consistency_ppm(streak: int) -> int:
    """M = S + 50,000·min(streak, 10): up to half as much again for a hospital that never misses a round."""
    return S + _STREAK_STEP * min(streak, _LONGEST_STREAK)


def weight(state: TrustState) -> int:
    """w = G·T/S·M/S of a hospital's state after the round (with T of before it, nobody could be paid in a first round)."""
    return state.utility_ppm * state.trust_ppm // S * consistency_ppm(state.streak) // S


def split(budget_micro: int, weights: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """pay_i = B·w_i/Σw and the remainder, which is the treasury's; nobody is paid and nothing remains to give where Σw = 0."""
    total = sum(weights.values())
    if total == 0:
        return dict.fromkeys(weights, 0), 0
    pay = {mspid: budget_micro * share // total for mspid, share in weights.items()}
    return pay, budget_micro - sum(pay.values())
