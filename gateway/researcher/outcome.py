"""What a finished task came to: everything that its summary and its report say, gathered, checked, and free of I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from privacy.accounting import SpendEvent
from privacy.evaluation import Histogram, auc, merge

MICRO = 1_000_000


@dataclass(frozen=True)
class Quality:
    """A model on a hospital's held-out patients; `auc` is exact, and None unless both labels are present."""

    histogram: Histogram
    auc: float | None


@dataclass(frozen=True)
class Evaluation:
    """What a hospital released about models on its held-out patients."""

    patients: int
    """All patients of the hospital's cohort, whatever part they were split into, without parts too small for it to tell."""
    federated: Quality
    alone: Quality
    """The model that the hospital trained on its own patients only, without privacy."""
    seconds: Mapping[str, float]
    """Where the gateway's time went: training, encryption, aggregation, ledger."""
    warnings: tuple[str, ...] = ()
    """What a person should know about the hospital's data."""


@dataclass(frozen=True)
class HospitalOutcome:
    """One hospital at the end of a task."""

    mspid: str
    patients: int
    """Patients of its cohort, as it released them; the training patients that its approval states where it released nothing."""
    epsilon: float
    """Spent on its training patients by this task, by the ledger's rule."""
    delta: float
    spends: tuple[SpendEvent, ...]
    trust_ppm: int
    tokens_micro: int
    evaluation: Evaluation | None
    """None where the hospital released none; `note` says why."""
    note: str = ""
    views_digest: str | None = None
    """Digests of the SQL that the hospital read and of its resources, salted, as its approval states them."""
    cohort_digest: str | None = None


@dataclass(frozen=True)
class RoundOutcome:
    """One settled round: trust and pay by hospital."""

    number: int
    accepted: bool
    trust_ppm: Mapping[str, int]
    pay_micro: Mapping[str, int]


@dataclass(frozen=True)
class LedgerOutcome:
    """What was verified of the ledger; `verified` is None where nobody asked."""

    kind: str
    height: int
    last_hash: str
    verified: bool | None


@dataclass(frozen=True)
class TaskFacts:
    """The task as it stands on the ledger and in its document."""

    task_id: str
    title: str
    purpose: str
    permit: str
    digest: str
    status: str
    model: str
    parameters: int
    mode: str
    clip: float
    epsilon: float
    delta: float
    normalised: bool = False
    """Whether it began with round 0."""


@dataclass(frozen=True)
class Outcome:
    """Everything about one task."""

    task: TaskFacts
    hospitals: tuple[HospitalOutcome, ...]
    rounds: tuple[RoundOutcome, ...]
    ledger: LedgerOutcome
    ciphertext_bytes: int
    """Largest update that a hospital uploaded in a round."""
    seconds: Mapping[str, float]
    pooled_plain_auc: float | None = None
    """AUC of the same model trained on all patients in one place without privacy: only a trial can know it."""

    @property
    def evaluated(self) -> tuple[tuple[str, Evaluation], ...]:
        """Hospitals that released an evaluation, with it."""
        return tuple((hospital.mspid, hospital.evaluation) for hospital in self.hospitals if hospital.evaluation is not None)

    @property
    def pooled(self) -> Histogram | None:
        """Scores of the federated model on the held-out patients of all hospitals that released them."""
        histograms = [evaluation.federated.histogram for _, evaluation in self.evaluated]
        return merge(histograms) if histograms else None

    @property
    def local_auc(self) -> dict[str, float]:
        """AUC of each hospital's own model on its own held-out patients, where both labels are present."""
        return {mspid: evaluation.alone.auc for mspid, evaluation in self.evaluated if evaluation.alone.auc is not None}

    @property
    def upload_bytes_per_parameter(self) -> float:
        return self.ciphertext_bytes / self.task.parameters


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def summary(outcome: Outcome) -> dict[str, Any]:
    """The content of summary.json."""
    local = outcome.local_auc
    return {
        "schema_version": 1,
        "task": outcome.task.task_id,
        "status": outcome.task.status,
        "hospitals": [_hospital(hospital) for hospital in outcome.hospitals],
        "rounds": len(outcome.rounds),
        "auc": {
            "federated": auc(outcome.pooled) if outcome.pooled else None,
            "local_mean": mean(list(local.values())),
            "local": local,
            "pooled_plain": outcome.pooled_plain_auc,
        },
        "ledger": {"kind": outcome.ledger.kind, "height": outcome.ledger.height, "verified": outcome.ledger.verified},
        "upload_bytes_per_parameter": round(outcome.upload_bytes_per_parameter, 2),
        "seconds": {name: round(seconds, 2) for name, seconds in outcome.seconds.items()},
    }


def _hospital(hospital: HospitalOutcome) -> dict[str, Any]:
    return {
        "mspid": hospital.mspid,
        "patients": hospital.patients,
        "epsilon": round(hospital.epsilon, 6),
        "delta": hospital.delta,
        "trust_ppm": hospital.trust_ppm,
        "tokens": hospital.tokens_micro / MICRO,
        "views_digest": hospital.views_digest,
        "cohort_digest": hospital.cohort_digest,
    }
