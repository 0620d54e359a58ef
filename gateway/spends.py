"""A privacy event as the accountants take it, and as a debit on the ledger counts it."""

import math

from fabric.ledger_views import Spend, SpentView
from gateway.task_file import MICRO
from privacy.accounting import SpendEvent


def to_ledger(partition: str, event: SpendEvent) -> Spend:
    """The event as it is debited from a partition's patients."""
    # Calibration gives whole micro-units and ppm; the ceiling guards the sampling rate against the last place of a float.
    return Spend(
        partition=partition,
        mechanism=event.mechanism,
        noise_multiplier_micro=math.floor(event.noise_multiplier * MICRO + 0.5),
        sampling_rate_ppm=math.floor(event.sampling_rate * MICRO + 0.5),
        steps=event.steps,
    )


def from_ledger(spend: Spend | SpentView) -> SpendEvent:
    """The event that was debited. Raises AccountingError for a mechanism that the accountants do not know."""
    return SpendEvent(
        spend.mechanism,  # type: ignore[arg-type]  # the event itself refuses another name
        spend.noise_multiplier_micro / MICRO,
        spend.sampling_rate_ppm / MICRO,
        spend.steps,
    )
