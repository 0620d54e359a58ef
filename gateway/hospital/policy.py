"""Whether this hospital takes part in a task: its own rules, fail closed. No I/O."""

from dataclasses import dataclass
from typing import Literal

from gateway.config import BudgetSection, PolicySection
from gateway.task_file import TaskFile

Verdict = Literal["approve", "reject", "ask a person"]


@dataclass(frozen=True)
class Decision:
    """What the policy says, with its reason in one sentence: it goes onto the ledger or in front of a person."""

    verdict: Verdict
    reason: str


def decide(task: TaskFile, *, policy: PolicySection, budget: BudgetSection, patients: int, views_digest: str) -> Decision:
    """Judge a task for a hospital that has `patients` labelled patients for it. Whatever is not allowed is refused.

    `views_digest` is that of the task's SQL, as `consortium data explain` shows it.
    """
    refusal = _refusal(task, policy=policy, budget=budget, patients=patients)
    if refusal is not None:
        return Decision("reject", refusal)
    if policy.approve == "manual":
        return Decision(
            "ask a person", "this hospital's policy leaves the decision to a person: `consortium task approve` or `task reject`"
        )
    if policy.views_digests and views_digest not in policy.views_digests:
        return Decision(
            "ask a person",
            f"nobody here has read the task's SQL with the digest {views_digest}: `consortium data explain` shows it;"
            " add the digest to policy.views_digests, or decide with `consortium task approve` or `task reject`",
        )
    return Decision("approve", "within this hospital's policy")


def _refusal(task: TaskFile, *, policy: PolicySection, budget: BudgetSection, patients: int) -> str | None:
    if policy.purposes and task.task.purpose not in policy.purposes:
        return f"the purpose {task.task.purpose!r} is not among those this hospital allows"
    for what, epsilon in (("epsilon", task.privacy.epsilon), ("score_epsilon", task.privacy.score_epsilon)):
        cap = min(policy.max_epsilon, budget.epsilon)
        if epsilon > cap:
            return f"the task asks for {what} {epsilon:g}, this hospital allows at most {cap:g}"
    if task.privacy.delta_inverse < budget.delta_inverse:
        return f"the task asks for delta {task.privacy.delta:g}, this hospital allows at most {budget.delta:g}"
    needed = max(policy.minimum_patients, task.cohort.minimum_patients)
    if patients < needed:
        return f"too few patients here for this task: at least {needed} are needed"
    return None
