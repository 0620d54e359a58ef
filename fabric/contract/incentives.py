"""Who is paid what for a round: a reward weighted by utility, trust, consistency and attested fairness. Integers only."""

from collections.abc import Iterable, Mapping

from fabric.contract.trust import S, Signals, TrustState

_STREAK_STEP, _LONGEST_STREAK = 50_000, 10


def consistency_ppm(streak: int) -> int:
    """M = S + 50,000·min(streak, 10): up to half as much again for a hospital that never misses a round."""
    return S + _STREAK_STEP * min(streak, _LONGEST_STREAK)


def fairness_ppm(attested: Iterable[int]) -> int:
    """F: the lower median of what auditors attested, so that half of them have to agree to more; S for a hospital that none examined."""
    ordered = sorted(attested)
    return ordered[(len(ordered) - 1) // 2] if ordered else S


def weight(state: TrustState, *, fairness: int = S) -> int:
    """w = G·T/S·M/S·F/S of a hospital's state after the round (with T of before it, nobody could be paid in a first round).

    `fairness`: F in ppm.
    """
    return state.utility_ppm * state.trust_ppm // S * consistency_ppm(state.streak) // S * fairness // S


def split(budget_micro: int, weights: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """pay_i = B·w_i/Σw and the remainder, which is the treasury's; nobody is paid and nothing remains to give where Σw = 0."""
    total = sum(weights.values())
    if total == 0:
        return dict.fromkeys(weights, 0), 0
    pay = {mspid: budget_micro * share // total for mspid, share in weights.items()}
    return pay, budget_micro - sum(pay.values())


def kept_its_word(signals: Signals) -> bool:
    """Whether a hospital was there and did as it had said: its rewards vest in such a round, and it shares what others forfeit."""
    return signals.integrity and signals.attendance_ppm > 0


def share_out(forfeited_micro: int, honest: int) -> tuple[int, int]:
    """What each of the `honest` gets, and the treasury's remainder. All stake the same deposit: pro rata is in equal parts."""
    each = forfeited_micro // honest if honest else 0
    return each, forfeited_micro - each * honest
