"""Trust of a hospital from what was seen of it, round by round: integers only, floor division.

The formulas are the consortium's own ("BTIMFL-style"): statistics weigh rewards and quarantine, only proofs fine. S stands for 1,000,000.
docs/benchmarks/trust.md holds the sweep that chose the constants.
"""

from collections.abc import Sequence
from dataclasses import dataclass

S = 1_000_000
HISTORY = 20

_ATTENDANCE, _UTILITY, _NORM, _QUALITY, _VALIDATOR = 150_000, 550_000, 150_000, 50_000, 100_000
_PRIOR = 10 * S  # a newcomer has to earn its trust
_UNMEASURED_ROUNDS = 4  # at one half, which a hospital's E counts as measured before it is: one or two rounds say little


@dataclass(frozen=True)
class Constants:
    """What a sweep may vary. The quarantine's limits are of E, which may be negative."""

    keep_positive_ppm: int
    keep_negative_ppm: int
    negative_weight: int
    fewest_measured: int
    quarantine_below_ppm: int
    return_above_ppm: int


FIRST = Constants(
    keep_positive_ppm=980_000,
    keep_negative_ppm=970_000,
    negative_weight=16,
    fewest_measured=HISTORY + 1,  # never
    quarantine_below_ppm=0,
    return_above_ppm=0,
)
"""Of contract 1.0, which did not quarantine: for whoever computes its rounds again."""

CONSTANTS = Constants(
    keep_positive_ppm=980_000,
    keep_negative_ppm=970_000,
    negative_weight=16,
    fewest_measured=16,
    quarantine_below_ppm=-150_000,
    return_above_ppm=300_000,
)


@dataclass(frozen=True)
class TrustState:
    """What is remembered: P (positive) and X (negative) in micro-units, rounds attended in a row, last credits in ppm, quarantine."""

    positive: int = 0
    negative: int = 0
    streak: int = 0
    history_ppm: tuple[int, ...] = ()
    quarantined: bool = False

    @property
    def trust_ppm(self) -> int:
        """T = P·S/(P + X + 10·S)."""
        return self.positive * S // (self.positive + self.negative + _PRIOR)

    @property
    def effect_ppm(self) -> int:
        """E: what a hospital does to its groups' rank, the mean of its last credits and of a few rounds at one half."""
        return (sum(self.history_ppm) + _UNMEASURED_ROUNDS * S // 2) // (len(self.history_ppm) + _UNMEASURED_ROUNDS)

    @property
    def utility_ppm(self) -> int:
        """G: the mean of the last credits, kept between 0 and S, and one half for a hospital that was never measured."""
        return min(S, max(0, sum(self.history_ppm) // len(self.history_ppm))) if self.history_ppm else S // 2


@dataclass(frozen=True)
class Signals:
    """One round's signals in ppm; None where a signal was not measured.

    integrity (I) is a gate: signatures, commitment equal to reveal, right key. utility: this round's credit, before averaging.
    """

    attendance_ppm: int
    integrity: bool
    utility_ppm: int | None
    norm_ppm: int | None
    quality_ppm: int
    validator_ppm: int | None


def credit_ppm(rank_ppm: int, companions_ppm: Sequence[int]) -> int:
    """What a group's rank says of one of its n members, once what is known of the others is taken off: S/2 + n·(rank - S/2) - Σ(E - S/2).

    A group does as well as its members do on average, so this is how the one would have to be for the group to come out as it did:
    backfitting of an additive model (Buja, Hastie and Tibshirani 1989), a step a round. Without it, who was drawn beside a bad hospital
    would pay for it. `companions_ppm` are the others' E. Kept within two S of a rank's own range, whatever the group's size.
    """
    deviation = (len(companions_ppm) + 1) * (rank_ppm - S // 2) - sum(effect - S // 2 for effect in companions_ppm)
    return min(3 * S, max(-2 * S, S // 2 + deviation))


def update(state: TrustState, signals: Signals, constants: Constants = CONSTANTS) -> TrustState:
    """The state after one round: P·keep + q, X·keep + weight·max(0, S/2 - q), and into quarantine or out of it by E."""
    history = state.history_ppm
    if signals.utility_ppm is not None:
        history = (*history, signals.utility_ppm)[-HISTORY:]
    attended = signals.integrity and signals.attendance_ppm > 0
    remembered = TrustState(state.positive, state.negative, state.streak + 1 if attended else 0, history, state.quarantined)
    quality = round_quality(signals, utility_ppm=remembered.utility_ppm) if attended else 0
    return TrustState(
        positive=state.positive * constants.keep_positive_ppm // S + quality,
        negative=state.negative * constants.keep_negative_ppm // S + constants.negative_weight * max(0, S // 2 - quality),
        streak=remembered.streak,
        history_ppm=history,
        quarantined=_suspected(remembered, constants),
    )


def _suspected(state: TrustState, constants: Constants) -> bool:
    """Whether E is too low to go on as before; who is quarantined returns by good rounds, and needs more than would have kept it out."""
    if len(state.history_ppm) < constants.fewest_measured:
        return state.quarantined
    return state.effect_ppm < (constants.return_above_ppm if state.quarantined else constants.quarantine_below_ppm)


def round_quality(signals: Signals, *, utility_ppm: int) -> int:
    """q of a hospital that attended with integrity: weighted mean of the signals that were measured, in ppm."""
    measured = [
        (_ATTENDANCE, signals.attendance_ppm),
        (_UTILITY, utility_ppm),
        (_NORM, signals.norm_ppm),
        (_QUALITY, signals.quality_ppm),
        (_VALIDATOR, signals.validator_ppm),
    ]
    present = [(weight, value) for weight, value in measured if value is not None]
    return sum(weight * value for weight, value in present) // sum(weight for weight, _ in present)
