"""Trust of a hospital from what was seen of it, round by round: integers only, floor division.

The formulas are the consortium's own ("BTIMFL-style"): statistics weigh rewards, only proofs fine. S stands for 1,000,000.
"""

from dataclasses import dataclass

S = 1_000_000
HISTORY = 20

_ATTENDANCE, _UTILITY, _NORM, _QUALITY, _VALIDATOR = 150_000, 550_000, 150_000, 50_000, 100_000
_KEEP_POSITIVE, _KEEP_NEGATIVE = 980_000, 970_000
_NEGATIVE_WEIGHT = 16
_PRIOR = 10 * S  # a newcomer has to earn its trust


@dataclass(frozen=True)
class TrustState:
    """What is remembered: P (positive) and X (negative) in micro-units, rounds attended in a row, last measured utilities in ppm."""

    positive: int = 0
    negative: int = 0
    streak: int = 0
    history_ppm: tuple[int, ...] = ()

    @property
    def trust_ppm(self) -> int:
        """T = P·S/(P + X + 10·S)."""
        return self.positive * S // (self.positive + self.negative + _PRIOR)

    @property
    def utility_ppm(self) -> int:
        """G: the mean of the last measured utilities, and one half for a hospital that was never measured."""
        return sum(self.history_ppm) // len(self.history_ppm) if self.history_ppm else S // 2


@dataclass(frozen=True)
class Signals:
    """One round's signals in ppm; None where a signal was not measured.

    integrity (I) is a gate: signatures, commitment equal to reveal, right key. utility: this round's, before averaging.
    """

    attendance_ppm: int
    integrity: bool
    utility_ppm: int | None
    norm_ppm: int | None
    quality_ppm: int
    validator_ppm: int | None


def update(state: TrustState, signals: Signals) -> TrustState:
    """The state after one round: P·0.98 + q, X·0.97 + 16·max(0, S/2 - q)."""
    history = state.history_ppm
    if signals.utility_ppm is not None:
        history = (*history, signals.utility_ppm)[-HISTORY:]
    attended = signals.integrity and signals.attendance_ppm > 0
    remembered = TrustState(state.positive, state.negative, state.streak + 1 if attended else 0, history)
    quality = round_quality(signals, utility_ppm=remembered.utility_ppm) if attended else 0
    return TrustState(
        positive=state.positive * _KEEP_POSITIVE // S + quality,
        negative=state.negative * _KEEP_NEGATIVE // S + _NEGATIVE_WEIGHT * max(0, S // 2 - quality),
        streak=remembered.streak,
        history_ppm=history,
    )


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
