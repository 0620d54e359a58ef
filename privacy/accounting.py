"""Privacy accounting: how much noise a budget asks for, and second opinions on what was spent.

The ledger's own filter is integer arithmetic in the contract. This module calibrates noise so that the filter allows the whole task,
and recomputes epsilon from the events on the ledger with two accountants that others wrote.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MICRO = 1_000_000
ORDERS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128)  # Rényi orders of the ledger's filter
LARGEST_NOISE_MULTIPLIER = 10_000.0

# The ledger rounds each debit up and each cap down to a whole micro-unit, and its decimals differ from our floats in the last place.
ROUNDING_PER_STEP = 2 / MICRO


class AccountingError(ValueError):
    """A budget or a spend cannot be used; the message says which and why."""


@dataclass(frozen=True)
class SpendEvent:
    """`steps` releases of a clipped sum with Gaussian noise; `sampled_gaussian` if each patient is in it with `sampling_rate`.

    Noise has standard deviation noise_multiplier times the clip. Neighbours differ by adding or removing one patient.
    """

    mechanism: Literal["gaussian", "sampled_gaussian"]
    noise_multiplier: float
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        if self.mechanism not in ("gaussian", "sampled_gaussian"):
            raise AccountingError(f"mechanism {self.mechanism!r} is unknown; use gaussian or sampled_gaussian")
        if not 0 < self.noise_multiplier < math.inf or self.steps < 1:
            raise AccountingError("a spend needs a positive noise multiplier and at least one step")
        if not 0 < self.sampling_rate <= 1 or (self.mechanism == "gaussian" and self.sampling_rate != 1):
            raise AccountingError("a spend's sampling rate lies above 0 and at most 1, and is 1 for the gaussian mechanism")


def spend_event(*, noise_multiplier: float, sampling_rate: float, steps: int) -> SpendEvent:
    """The event of `steps` training steps: gaussian where every patient is always in, sampled_gaussian otherwise."""
    mechanism: Literal["gaussian", "sampled_gaussian"] = "gaussian" if sampling_rate == 1 else "sampled_gaussian"
    return SpendEvent(mechanism, noise_multiplier, sampling_rate, steps)


def noise_multiplier_for(*, epsilon: float, delta: float, sampling_rate: float, steps: int, beside: tuple[SpendEvent, ...] = ()) -> float:
    """The smallest noise multiplier, in whole micro-units, with which the ledger's filter allows `steps` steps within (epsilon, delta).

    `steps` counts all steps of all rounds; `beside` are events that the same budget pays.
    Raises AccountingError if no usable amount of noise is enough.
    """
    if not (math.isfinite(epsilon) and epsilon > 0 and 0 < delta < 1):
        raise AccountingError(f"a budget needs epsilon above 0 and delta between 0 and 1, not {epsilon} and {delta}")
    if not 0 < sampling_rate <= 1 or steps < 1:
        raise AccountingError(f"sampling_rate {sampling_rate} and steps {steps} are no training")
    low, high = 0, int(LARGEST_NOISE_MULTIPLIER * MICRO)
    if not _fits(high, epsilon, delta, sampling_rate, steps, beside):
        raise AccountingError(f"epsilon {epsilon} at delta {delta} is too small for {steps} steps; allow more or train fewer rounds")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _fits(middle, epsilon, delta, sampling_rate, steps, beside) else (middle, high)
    return high / MICRO


def epsilon_at_orders(events: Sequence[SpendEvent], *, delta: float) -> float:
    """Epsilon by the ledger's rule: min over ORDERS of the summed Rényi divergence + ln(1/delta)/(order - 1) (Mironov 2017, prop. 3)."""
    return min(
        sum(event.steps * renyi_divergence(order, event.noise_multiplier, event.sampling_rate) for event in events)
        + math.log(1.0 / delta) / (order - 1)
        for order in ORDERS
    )


def renyi_divergence(order: int, noise_multiplier: float, sampling_rate: float) -> float:
    """Rényi divergence of one step at an integer order from 2 (Mironov, Talwar and Zhang 2019, arXiv:1908.10530, section 3.3)."""
    if sampling_rate == 1:
        return order / (2.0 * noise_multiplier**2)
    logs = [
        math.log(math.comb(order, k))
        + (order - k) * math.log1p(-sampling_rate)
        + k * math.log(sampling_rate)
        + (k * k - k) / (2.0 * noise_multiplier**2)
        for k in range(order + 1)
    ]
    largest = max(logs)
    return (largest + math.log(math.fsum(math.exp(value - largest) for value in logs))) / (order - 1)


def epsilon_rdp(events: Sequence[SpendEvent], *, delta: float) -> float:
    """Epsilon by Opacus' Rényi accountant: fractional orders too and a tighter conversion, so at most the ledger's figure."""
    # Opacus takes seconds to import, and only reports ask for this.
    from opacus.accountants import RDPAccountant

    if not events:
        return 0.0
    accountant = RDPAccountant()
    accountant.history = [(event.noise_multiplier, event.sampling_rate, event.steps) for event in events]
    return float(accountant.get_epsilon(delta))


def epsilon_prv(events: Sequence[SpendEvent], *, delta: float) -> float:
    """Epsilon by Opacus' accountant of privacy random variables (Gopi, Lee and Wutschitz 2021, arXiv:2106.02848): an upper estimate."""
    # Opacus takes seconds to import, and only reports ask for this.
    from opacus.accountants import PRVAccountant

    if not events:
        return 0.0
    accountant = PRVAccountant()
    accountant.history = [(event.noise_multiplier, event.sampling_rate, event.steps) for event in events]
    # Opacus also takes the logarithm where its distribution ends and then leaves it out.
    with np.errstate(divide="ignore"):
        return float(accountant.get_epsilon(delta))


def epsilon_pld(events: Sequence[SpendEvent], *, delta: float) -> float:
    """Epsilon by dp-accounting's privacy loss distributions (pessimistic): the tightest figure, used in reports."""
    # dp-accounting takes seconds to import, and only reports ask for this.
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    if not events:
        return 0.0
    accountant = PLDAccountant()
    for event in events:
        gaussian = GaussianDpEvent(event.noise_multiplier)
        one_step = gaussian if event.sampling_rate == 1 else PoissonSampledDpEvent(event.sampling_rate, gaussian)
        accountant.compose(one_step, event.steps)
    return float(accountant.get_epsilon(delta))


def _fits(
    noise_multiplier_micro: int, epsilon: float, delta: float, sampling_rate: float, steps: int, beside: tuple[SpendEvent, ...]
) -> bool:
    event = spend_event(noise_multiplier=noise_multiplier_micro / MICRO, sampling_rate=sampling_rate, steps=steps)
    rounding = (steps + len(beside) + 1) * ROUNDING_PER_STEP
    return epsilon_at_orders([event, *beside], delta=delta) + rounding <= epsilon
