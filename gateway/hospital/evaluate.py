"""What a hospital releases about a finished model: its held-out patients counted by score and label, with noise, and paid for first.

The held-out patients were set aside before anything else. They give this and, at the approval, the quality of the data, and both are
debited from their partition of the budget before they are made. The JSON:

{"schema_version": 2, "mspid", "task_id", "patients": training patients, as the approval tells, "parameters", "upload_bytes",
 "federated": {"positives": [noisy count per score bin], "negatives": […], "noise_deviation"},
 "statement": {"unit", "neighbours", "partition", "mechanism", "noise_multiplier", "accountant", "epsilon", "delta", "trust_model"},
 "seconds": {"training", "encryption", "aggregation", "ledger"}}

Bins are those of `privacy.noisy_evaluation`; noisy counts may be negative. `epsilon` is that of this release alone, by the ledger's rule.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from fabric.client.errors import ContractRefused
from fabric.contract.statement import ACCOUNTANT, NEIGHBOURS, UNIT
from fabric.ledger_views import TaskView
from gateway.hospital.cohort import Cohort
from gateway.hospital.context import GatewayContext
from gateway.hospital.plan import Plan, evaluation_event
from gateway.hospital.rounds import Rounds
from gateway.spends import to_ledger
from privacy.accounting import epsilon_at_orders
from privacy.ckks import ciphertext_size
from privacy.models import Vector, predict
from privacy.noise import NoiseSource
from privacy.noisy_evaluation import private_histogram

log = logging.getLogger(__name__)

PARTITION = "test"
NOTHING = b""
"""What is kept where this hospital tells nothing of a model."""


async def keep_evaluation(context: GatewayContext, task: TaskView, rounds: Rounds) -> None:
    """Pay for the evaluation of a finished task's model, make it, and keep it for the researcher; NOTHING where it may not be told.

    A crash after the debit makes it again under the same debit: nothing of the first one got out.
    """
    task_id = task.terms.task_id
    if not context.config.policy.release_evaluation or not await _debited(context, task, rounds):
        context.state.keep_evaluation(task_id, NOTHING)
        return
    cohort = rounds.cohort.normalised(await rounds.normalisation(task))
    result = await asyncio.to_thread(
        evaluate,
        rounds.plan,
        cohort,
        await rounds.latest_parameters(task),
        mspid=context.mspid,
        task_id=task_id,
        seconds=rounds.stopwatch.seconds,
        noise=NoiseSource.from_system(),
    )
    context.state.keep_evaluation(task_id, json.dumps(result).encode())


def evaluate(
    plan: Plan,
    cohort: Cohort,
    parameters: Vector,
    *,
    mspid: str,
    task_id: str,
    seconds: Mapping[str, float],
    noise: NoiseSource,
) -> dict[str, Any]:
    """The evaluation as a JSON object. Run by the hospital at the end of a task, once it is debited."""
    event = evaluation_event(plan.task)
    probabilities = predict(plan.spec, parameters, cohort.test.features)
    found = private_histogram(probabilities, cohort.test.labels, noise_multiplier=event.noise_multiplier, noise=noise)
    delta = 1 / plan.task.privacy.delta_inverse
    return {
        "schema_version": 2,
        "mspid": mspid,
        "task_id": task_id,
        "patients": cohort.train.approved,
        "parameters": plan.parameters,
        "upload_bytes": ciphertext_size(plan.parameters),
        "federated": {"positives": found.positives, "negatives": found.negatives, "noise_deviation": found.deviation},
        "statement": {
            "unit": UNIT,
            "neighbours": NEIGHBOURS,
            "partition": PARTITION,
            "mechanism": event.mechanism,
            "noise_multiplier": event.noise_multiplier,
            "accountant": ACCOUNTANT,
            "epsilon": epsilon_at_orders([event], delta=delta),
            "delta": delta,
            "trust_model": "local",
        },
        "seconds": dict(seconds),
    }


async def _debited(context: GatewayContext, task: TaskView, rounds: Rounds) -> bool:
    """Whether the held-out patients have paid; a budget that is spent is no failure, but the end of what they tell."""
    decision = task.decision(context.mspid)
    assert decision is not None  # of a participant
    spends = [to_ledger(PARTITION, evaluation_event(rounds.plan.task))]
    try:
        with rounds.stopwatch.measure("ledger"):
            await context.ledger.debit_release(task_id=task.terms.task_id, release="evaluation", dataset=decision.dataset, spends=spends)
    except ContractRefused as refusal:
        if refusal.code in ("BUDGET_EXCEEDED", "NOT_FOUND"):
            log.warning("task %s: no evaluation is released: %s", task.terms.task_id, refusal)
            return False
        if refusal.code != "ALREADY_DEBITED":
            raise
    return True
