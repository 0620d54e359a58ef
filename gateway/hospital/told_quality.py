"""The quality of a hospital's data, as its approval tells it: how many of the values that the task asks for are there, with noise.

It is of the held-out patients, who stand for the others: each gives the share of the values that are missing, a number from 0 to 1, so
the sum is a Gaussian release of sensitivity 1. It is divided by a public number, which the approval tells beside it.
"""

from fabric.client.errors import ContractRefused
from gateway.fhir.split import expected_test
from gateway.hospital.cohort import Cohort, Patients
from gateway.hospital.context import GatewayContext
from gateway.hospital.plan import quality_event
from gateway.spends import to_ledger
from gateway.task_file import MICRO, TaskFile
from privacy.accounting import SpendEvent
from privacy.noise import NoiseSource

PARTITION = "test"


async def told_quality_ppm(context: GatewayContext, task: TaskFile, cohort: Cohort, *, task_id: str) -> int:
    """Pay for the quality, and draw its noise once: what was drawn is kept, for an approval that has to be sent again.

    0 where the budget of the held-out patients holds nothing more. Raises ContractRefused for any other refusal.
    """
    kept = context.state.told_quality(task_id)
    if kept is not None:
        return kept
    told = 0
    if await _debited(context, quality_event(task), task_id=task_id):
        told = private_quality_ppm(
            cohort.test,
            training=len(cohort.train),
            noise_multiplier=quality_event(task).noise_multiplier,
            noise=NoiseSource.from_system(),
        )
    context.state.keep_told_quality(task_id, told)
    return told


def private_quality_ppm(patients: Patients, *, training: int, noise_multiplier: float, noise: NoiseSource) -> int:
    """Share of the values that are there, in ppm; `training`: the public number of training patients."""
    missing = float((1.0 - patients.observed.mean(axis=1)).sum()) if len(patients) else 0.0
    noisy = missing + float(noise.gaussian(1, scale=noise_multiplier)[0])
    share = 1.0 - noisy / expected_test(training)
    return round(MICRO * min(1.0, max(0.0, share)))


async def _debited(context: GatewayContext, event: SpendEvent, *, task_id: str) -> bool:
    spends = [to_ledger(PARTITION, event)]
    try:
        await context.ledger.debit_release(task_id=task_id, release="quality", dataset=context.config.budget.dataset, spends=spends)
    except ContractRefused as refusal:
        if refusal.code == "BUDGET_EXCEEDED":
            return False
        if refusal.code != "ALREADY_DEBITED":  # before a crash, which kept nothing and told nothing
            raise
    return True
