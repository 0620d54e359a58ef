"""What a finished task came to: everything that its summary and its report say, gathered, checked, and free of I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from privacy.accounting import SpendEvent, epsilon_at_orders
from privacy.evaluation import Histogram, auc
from privacy.noisy_evaluation import NoisyHistogram, merge_noisy, plausible

MICRO = 1_000_000


@dataclass(frozen=True)
class Evaluation:
    """What a hospital released about the model on its held-out patients."""

    federated: NoisyHistogram
    seconds: Mapping[str, float]
    """Where the gateway's time went: training, encryption, aggregation, ledger."""


@dataclass(frozen=True)
class HospitalOutcome:
    """One hospital at the end of a task."""

    mspid: str
    patients: int
    """Who train: the number that its approval tells. How many validate or are held out nobody tells."""
    delta: float
    spends: Mapping[str, tuple[SpendEvent, ...]]
    """The events that this task debited, by partition: train, validation, test."""
    trust_ppm: int
    tokens_micro: int
    evaluation: Evaluation | None
    """None where the hospital released none; `note` says why."""
    note: str = ""
    views_digest: str | None = None
    """Digests of the SQL that the hospital read and of its resources, salted, as its approval states them."""
    cohort_digest: str | None = None

    @property
    def epsilon(self) -> float:
        """Spent on its training patients by this task, by the ledger's rule."""
        return self.epsilon_of("train")

    def epsilon_of(self, partition: str) -> float:
        """Spent on one partition's patients by this task, by the ledger's rule."""
        spends = self.spends.get(partition, ())
        return epsilon_at_orders(spends, delta=self.delta) if spends else 0.0


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
    score_epsilon: float
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
    local_auc: Mapping[str, float] = field(default_factory=dict)
    """AUC of each hospital's own model, without privacy, on its own held-out patients, where both labels are present: so, too."""

    @property
    def evaluated(self) -> tuple[tuple[str, Evaluation], ...]:
        """Hospitals that released an evaluation, with it."""
        return tuple((hospital.mspid, hospital.evaluation) for hospital in self.hospitals if hospital.evaluation is not None)

    @property
    def noisy(self) -> NoisyHistogram | None:
        """Noisy counts of the federated model's scores on the held-out patients of all hospitals that released them."""
        histograms = [evaluation.federated for _, evaluation in self.evaluated]
        return merge_noisy(histograms) if histograms else None

    @property
    def pooled(self) -> Histogram | None:
        """The counts that are nearest to the noisy ones among those that can be."""
        return plausible(self.noisy) if self.noisy else None

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
            "local": dict(local),
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
