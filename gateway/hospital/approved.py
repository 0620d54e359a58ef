"""What a hospital approved is what it runs: its SQL and its resources, compared with the approval on the ledger."""

import hashlib
import hmac

from fabric.ledger_views import Decision
from gateway.errors import VerificationFailed


def salted(content: str, *, salt: bytes) -> str:
    """The digest of a cohort's content as the ledger may hold it.

    Whoever guesses the resources cannot try the guess without the salt, which the hospital keeps and can destroy.
    """
    return hmac.new(salt, content.encode(), hashlib.sha256).hexdigest()


def check_sql(approval: Decision | None, views_digest: str, *, task_id: str) -> None:
    """Raise VerificationFailed if the task's SQL is not what was approved: other software may ask other things of the data."""
    if approval is not None and approval.views_digest is not None and approval.views_digest != views_digest:
        raise VerificationFailed(
            f"this gateway's SQL for task {task_id} has the digest {views_digest}, but {approval.views_digest} was approved:"
            " the gateway's software changed in between; run the version that was approved until the task ends, or abort the task"
        )


def check_cohort(approval: Decision | None, cohort_digest: str, *, task_id: str) -> None:
    """Raise VerificationFailed if the resources are not those that were approved."""
    if approval is not None and approval.cohort_digest is not None and approval.cohort_digest != cohort_digest:
        raise VerificationFailed(
            f"the cohort of task {task_id} changed since it was approved; the approval and its budget no longer fit the data:"
            " keep the data folder as it was until the task ends"
        )
