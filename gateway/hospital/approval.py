"""Step 1 of a task: look at it, look at the data, decide by the hospital's policy, and sign the answer on the ledger."""

from fabric.ledger import Receipt
from fabric.ledger_views import TaskView
from gateway.errors import PolicyRefused
from gateway.fhir.errors import DataError, ViewError
from gateway.hospital.plan import model_spec, size_of
from gateway.hospital.policy import Decision, decide
from gateway.hospital.task_work import TaskWork
from gateway.task_file import TaskFile, TaskFileError
from privacy.models import ModelError, parameter_count


async def consider(work: TaskWork, view: TaskView) -> Decision:
    """What this hospital's policy says of the task. A document or data that cannot be used is a rejection, in its own words."""
    try:
        file = await work.file(view)
        refusal = _differs(file, view)
        if refusal is not None:
            return Decision("reject", refusal)
        cohort = await work.cohort(view)
    except (TaskFileError, DataError, ViewError, ModelError) as error:
        # The reason stands on the ledger for all to read: where the hospital keeps its files does not belong there.
        return Decision("reject", str(error).replace(str(work.context.config.gateway.data), "its data folder"))
    config = work.context.config
    return decide(file, policy=config.policy, budget=config.budget, patients=len(cohort.extracted.labels))


async def approve(work: TaskWork, view: TaskView) -> Receipt:
    """Sign the approval, bound to the document's digest, the caps and the last round."""
    file, cohort = await work.file(view), await work.cohort(view)
    size = size_of(file, patients=len(cohort.train))
    return await work.context.ledger.approve_task(
        task_id=work.task_id,
        digest=view.terms.digest,
        dataset=work.context.config.budget.dataset,
        epsilon_micro=view.terms.epsilon_micro,
        score_epsilon_micro=view.terms.score_epsilon_micro,
        delta_inverse=view.terms.delta_inverse,
        batch=size.batch,
        patients=size.patients,
        quality_ppm=cohort.extracted.report.quality_ppm,
        last_round=view.terms.rounds,
    )


async def reject(work: TaskWork, view: TaskView, reason: str) -> Receipt:
    return await work.context.ledger.reject_task(task_id=work.task_id, digest=view.terms.digest, reason=reason)


async def approve_by_person(work: TaskWork, view: TaskView) -> Receipt:
    """A person's approval; what the hospital's policy refuses stays refused."""
    decision = await consider(work, view)
    if decision.verdict == "reject":
        raise PolicyRefused(decision.reason)
    return await approve(work, view)


def _differs(file: TaskFile, view: TaskView) -> str | None:
    """Why the terms on the ledger are not those of the document; they are what the contract enforces."""
    pairs = {
        "rounds": (file.task.rounds, view.terms.rounds),
        "minimum_hospitals": (file.task.minimum_hospitals, view.terms.min_hospitals),
        "group_size": (file.task.group_size, view.terms.group_size),
        "purpose": (file.task.purpose, view.terms.purpose),
        "permit": (file.task.permit, view.terms.permit),
        "epsilon": (file.privacy.epsilon_micro, view.terms.epsilon_micro),
        "score_epsilon": (file.privacy.score_epsilon_micro, view.terms.score_epsilon_micro),
        "score_clip": (file.privacy.score_clip_micro, view.terms.score_clip_micro),
        "delta": (file.privacy.delta_inverse, view.terms.delta_inverse),
        "parameters": (parameter_count(model_spec(file)), view.terms.parameters),
    }
    for key, (in_file, on_ledger) in pairs.items():
        if in_file != on_ledger:
            return f"the document says {key} = {in_file}, the ledger {on_ledger}; the researcher must submit the task as its document says"
    return None
