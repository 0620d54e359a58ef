"""Step 1 of a task: look at it, look at the data, decide by the hospital's policy, and sign the answer on the ledger."""

import logging

from fabric.ledger import Receipt
from fabric.ledger_views import TaskView
from gateway.errors import PolicyRefused
from gateway.fhir.errors import DataError, ViewError
from gateway.hospital.plan import evaluation_event, model_spec, size_of
from gateway.hospital.policy import Decision, decide
from gateway.hospital.recorder import LEDGER
from gateway.hospital.task_work import TaskWork
from gateway.hospital.told_quality import told_quality_ppm
from gateway.permit import check_permit
from gateway.task_file import TaskFile, TaskFileError
from privacy.accounting import AccountingError
from privacy.models import ModelError, check_base, parameter_count

log = logging.getLogger(__name__)

UNFIT_DATA = "this hospital's data cannot serve the task; its own staff find the reason in the gateway's log"


async def consider(work: TaskWork, view: TaskView) -> Decision:
    """What this hospital's policy says of the task. A document or data that cannot be used is a rejection, in its own words."""
    try:
        file = await work.file(view)
        refusal = _differs(file, view)
        if refusal is not None:
            return Decision("reject", refusal)
        check_permit(view.terms.permit, view.terms.permit_expires, now=work.context.now())
        evaluation_event(file)  # which may ask for more noise than there is
        cohort = await work.cohort(view)
    except DataError as error:
        # The reason stands on the ledger for all to read: what the sentence counts and where files lie does not belong there.
        log.warning("task %s: %s", work.task_id, error)
        return Decision("reject", UNFIT_DATA)
    except (TaskFileError, ViewError, ModelError, PolicyRefused, AccountingError) as error:
        return Decision("reject", str(error))
    config = work.context.config
    missing = missing_base(work, file)
    if missing is not None:
        return Decision("ask a person", missing)
    return decide(file, policy=config.policy, budget=config.budget, patients=len(cohort), views_digest=cohort.views_digest)


async def approve(work: TaskWork, view: TaskView) -> Receipt:
    """Sign the approval, bound to the document's digest, the SQL that was read, the resources, the caps and the last round."""
    file, cohort = await work.file(view), await work.cohort(view)
    size = size_of(file, patients=len(cohort.train))
    quality_ppm = await told_quality_ppm(work.context, file, cohort, task_id=work.task_id)
    work.context.records.disclosed(view.terms, "approval", recipient=LEDGER, digest=view.terms.digest)
    return await work.context.ledger.approve_task(
        task_id=work.task_id,
        digest=view.terms.digest,
        dataset=work.context.config.budget.dataset,
        epsilon_micro=view.terms.epsilon_micro,
        score_epsilon_micro=view.terms.score_epsilon_micro,
        delta_inverse=view.terms.delta_inverse,
        batch=size.batch,
        patients=size.patients,
        quality_ppm=quality_ppm,
        last_round=view.terms.rounds,
        views_digest=cohort.views_digest,
        cohort_digest=work.cohort_digest(cohort),
    )


async def reject(work: TaskWork, view: TaskView, reason: str) -> Receipt:
    return await work.context.ledger.reject_task(task_id=work.task_id, digest=view.terms.digest, reason=reason)


async def approve_by_person(work: TaskWork, view: TaskView) -> Receipt:
    """A person's approval; what the hospital's policy refuses stays refused."""
    decision = await consider(work, view)
    missing = missing_base(work, await work.file(view))
    if decision.verdict == "reject" or missing is not None:
        raise PolicyRefused(missing or decision.reason)
    return await approve(work, view)


def missing_base(work: TaskWork, file: TaskFile) -> str | None:
    """Why this hospital has not the large model that the task rests on; None where it has it, or the task has none. Reads all of it."""
    folder = work.context.config.gateway.models
    base = model_spec(file, bases=folder).base
    if base is None:
        return None
    if folder is None:
        return f"the task rests on the model {base.digest}; name a folder for it in [gateway] models, and put the file there"
    try:
        check_base(model_spec(file, bases=folder))
    except ModelError as error:
        return str(error)
    return None


def _differs(file: TaskFile, view: TaskView) -> str | None:
    """Why the terms on the ledger are not those of the document; they are what the contract enforces."""
    pairs = {
        "rounds": (file.task.rounds, view.terms.rounds),
        "minimum_hospitals": (file.task.minimum_hospitals, view.terms.min_hospitals),
        "group_size": (file.task.group_size, view.terms.group_size),
        "purpose": (file.task.purpose, view.terms.purpose),
        "permit": (file.task.permit, view.terms.permit),
        "permit_expires": (file.task.last_day, view.terms.permit_expires),
        "epsilon": (file.privacy.epsilon_micro, view.terms.epsilon_micro),
        "score_epsilon": (file.privacy.score_epsilon_micro, view.terms.score_epsilon_micro),
        "score_clip": (file.privacy.score_clip_micro, view.terms.score_clip_micro),
        "delta": (file.privacy.delta_inverse, view.terms.delta_inverse),
        "mode": (file.privacy.mode, view.terms.mode),
        "parameters": (parameter_count(model_spec(file)), view.terms.parameters),
        "normalisation": (file.normalisation is not None, view.terms.normalisation),
    }
    for key, (in_file, on_ledger) in pairs.items():
        if in_file != on_ledger:
            return f"the document says {key} = {in_file}, the ledger {on_ledger}; the researcher must submit the task as its document says"
    return None
