"""The Rényi filter: what a privacy event costs at fixed orders, and whether a budget still holds it.

Used by the contract to debit and by gateways to plan. Everything that leaves this module is an integer in micro-units,
rounded against the spender. Logarithms are computed with `decimal` in a context fixed here: its arithmetic, `exp` and `ln`
included, is specified to the last digit (correctly rounded), so every peer computes the same integers whatever its machine.

Sources: RDP of the Gaussian: Mironov 2017, "Rényi Differential Privacy", corollary 3. RDP of the Poisson-sampled Gaussian at
integer orders: Mironov, Talwar, Zhang 2019, section 3.3. Conversion ε = RDP + ln(1/δ)/(α - 1): Mironov 2017, proposition 3.
Filter over several orders, valid for adaptively chosen events: Lécuyer 2021, "Practical Privacy Filters and Odometers with
Rényi Differential Privacy".
"""

import functools
import math
from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal

ORDERS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128)
MICRO = 1_000_000

# 60 digits: sums of some hundred terms lose a few, and a sampling rate of 10^-6 cancels about 16 more.
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX)
_SLACK = Decimal(10) ** -30  # micro-units; far above the rounding error, so that "up" is always up


@functools.lru_cache(maxsize=4096)
def rdp_cost_micro(mechanism: str, noise_multiplier_micro: int, sampling_rate_ppm: int, steps: int) -> tuple[int, ...]:
    """RDP of an event at each of ORDERS, in micro-units rounded up.

    mechanism: "gaussian" (sampling_rate_ppm must be 1_000_000) or "sampled_gaussian" (Poisson sampling). noise_multiplier: σ
    over the sensitivity, in micro-units. The neighbouring relation is adding or removing one patient.
    Raises ValueError for anything else.
    """
    if mechanism not in ("gaussian", "sampled_gaussian") or noise_multiplier_micro < 1 or steps < 1:
        raise ValueError("mechanism must be gaussian or sampled_gaussian, with a positive noise multiplier and steps")
    if not 1 <= sampling_rate_ppm <= MICRO or (mechanism == "gaussian" and sampling_rate_ppm != MICRO):
        raise ValueError("sampling_rate_ppm must lie between 1 and 1000000, and a gaussian event is not sampled: 1000000")
    if sampling_rate_ppm == MICRO:
        return tuple(_gaussian_micro(order, noise_multiplier_micro, steps) for order in ORDERS)
    return tuple(
        _ceil(_CONTEXT.multiply(one_step, Decimal(steps))) for one_step in _sampled_micro(noise_multiplier_micro, sampling_rate_ppm)
    )


def _gaussian_micro(order: int, noise_multiplier_micro: int, steps: int) -> int:
    """Ceiling of α·steps/(2σ²), exactly: no logarithm is in it."""
    return -(-order * steps * MICRO**3 // (2 * noise_multiplier_micro**2))


@functools.lru_cache(maxsize=1024)
def _sampled_micro(noise_multiplier_micro: int, sampling_rate_ppm: int) -> tuple[Decimal, ...]:
    """One step's RDP at each order, in micro-units: ln Σ_k C(α,k)(1-q)^(α-k) q^k e^{k(k-1)/(2σ²)}, over α - 1."""
    taken = _powers(Decimal(sampling_rate_ppm), max(ORDERS))
    left = _powers(Decimal(MICRO - sampling_rate_ppm), max(ORDERS))
    weights = [_CONTEXT.multiply(power, factor) for power, factor in zip(taken, _exponentials(noise_multiplier_micro), strict=True)]
    return tuple(_sampled_at(order, weights, left) for order in ORDERS)


def _sampled_at(order: int, weights: Sequence[Decimal], left: Sequence[Decimal]) -> Decimal:
    total = Decimal(0)
    for chosen in range(order + 1):
        term = _CONTEXT.multiply(weights[chosen], left[order - chosen])
        total = _CONTEXT.add(total, _CONTEXT.multiply(Decimal(math.comb(order, chosen)), term))
    scaled = _CONTEXT.divide(total, Decimal(MICRO) ** order)  # the powers of q and 1-q were taken in ppm
    return _CONTEXT.divide(_CONTEXT.multiply(_CONTEXT.ln(scaled), Decimal(MICRO)), Decimal(order - 1))


def _powers(base: Decimal, highest: int) -> list[Decimal]:
    powers = [Decimal(1)]
    for _ in range(highest):
        powers.append(_CONTEXT.multiply(powers[-1], base))
    return powers


def _exponentials(noise_multiplier_micro: int) -> list[Decimal]:
    """e^{k(k-1)/(2σ²)} for k = 0, 1, ...: successive quotients are powers of e^{1/σ²}, so one `exp` serves all."""
    ratio = _CONTEXT.exp(_CONTEXT.divide(Decimal(MICRO**2), Decimal(noise_multiplier_micro**2)))
    values, quotient = [Decimal(1)], Decimal(1)
    for _ in range(max(ORDERS)):
        values.append(_CONTEXT.multiply(values[-1], quotient))
        quotient = _CONTEXT.multiply(quotient, ratio)
    return values


@functools.lru_cache(maxsize=1024)
def caps_micro(epsilon_micro: int, delta_inverse: int) -> tuple[int, ...]:
    """The most RDP allowed at each order under (ε, δ = 1/delta_inverse): ε - ln(1/δ)/(α - 1), rounded down, never below 0."""
    return tuple(max(0, epsilon_micro - share) for share in _delta_shares(delta_inverse))


def fits(spent: Sequence[int], cost: Sequence[int], caps: Sequence[int]) -> bool:
    """True if, with `cost` added, some order stays under its cap."""
    return any(done + new <= cap for done, new, cap in zip(spent, cost, caps, strict=True))


def add(spent: Sequence[int], cost: Sequence[int]) -> tuple[int, ...]:
    """RDP composes by addition at each order."""
    return tuple(done + new for done, new in zip(spent, cost, strict=True))


def epsilon_spent_micro(spent: Sequence[int], delta_inverse: int) -> int:
    """The ε (micro, rounded up) that the RDP spent so far amounts to at δ = 1/delta_inverse; 0 if nothing was spent."""
    if not any(spent):
        return 0
    return min(done + share for done, share in zip(spent, _delta_shares(delta_inverse), strict=True))


@functools.lru_cache(maxsize=1024)
def _delta_shares(delta_inverse: int) -> tuple[int, ...]:
    """ln(1/δ)/(α - 1) at each order, in micro-units rounded up."""
    if delta_inverse < 2:
        raise ValueError("delta_inverse must be at least 2")
    logarithm = _CONTEXT.multiply(_CONTEXT.ln(Decimal(delta_inverse)), Decimal(MICRO))
    return tuple(_ceil(_CONTEXT.divide(logarithm, Decimal(order - 1))) for order in ORDERS)


def _ceil(value: Decimal) -> int:
    """Integer not below the true value; `value` is exact to within _SLACK."""
    return math.ceil(_CONTEXT.add(value, _SLACK))
