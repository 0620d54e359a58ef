"""What a hospital releases about a finished model: its quality on the hospital's held-out test patients.

The test patients were set aside before anything else and are used for nothing but this. The release is exact, not differentially
private; a hospital that does not want that sets `release_evaluation = false`. The JSON:

{"schema_version": 1, "mspid", "task_id", "patients": {"train", "validation", "test"}, "parameters", "upload_bytes",
 "federated": MODEL, "alone": MODEL, "quality_ppm", "warnings": [sentence, …],
 "seconds": {"training", "encryption", "aggregation", "ledger"}}

with MODEL = {"positives": [count per score bin], "negatives": […], "auc", "accuracy", "brier", "calibration_error"}; `alone` is the
same model trained by this hospital on its own patients, without noise. A figure is null where the test patients cannot give it.

Counts of patients below the policy's `smallest_count` are not told: small bins are added to their neighbours, a small part's size is
null, and where fewer held-out patients have or lack the label, all bins are 0 and all figures null.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.hospital.cohort import Cohort, Patients
from gateway.hospital.plan import Plan
from privacy.evaluation import accuracy, brier, calibration_error, exact_auc, score_histogram
from privacy.models import ModelSpec, Vector, predict
from privacy.training import train_plain


def evaluate(
    plan: Plan,
    cohort: Cohort,
    parameters: Vector,
    *,
    mspid: str,
    task_id: str,
    upload_bytes: int,
    seconds: Mapping[str, float],
    smallest_count: int,
) -> dict[str, Any]:
    """The evaluation as a JSON object. CPU-heavy. Run by the hospital at the end of a task."""
    alone = train_plain(plan.spec, cohort.train.features, cohort.train.labels)
    return {
        "schema_version": 1,
        "mspid": mspid,
        "task_id": task_id,
        "patients": {
            "train": cohort.train.approved,  # which the ledger tells
            "validation": _told(len(cohort.validation), smallest_count),
            "test": _told(len(cohort.test), smallest_count),
        },
        "parameters": plan.parameters,
        "upload_bytes": upload_bytes,
        "federated": _quality(plan.spec, parameters, cohort.test, smallest_count),
        "alone": _quality(plan.spec, alone, cohort.test, smallest_count),
        "quality_ppm": cohort.report.quality_ppm,
        "warnings": list(cohort.report.warnings(smallest_count)),
        "seconds": dict(seconds),
    }


def _told(count: int, smallest: int) -> int | None:
    return None if 0 < count < smallest else count


def _quality(spec: ModelSpec, parameters: Vector, patients: Patients, smallest: int) -> dict[str, Any]:
    probabilities = predict(spec, parameters, patients.features)
    histogram = score_histogram(probabilities, patients.labels)
    if any(0 < sum(counts) < smallest for counts in (histogram.positives, histogram.negatives)):
        nothing = [0] * len(histogram.positives)
        return {"positives": nothing, "negatives": nothing, "auc": None, "accuracy": None, "brier": None, "calibration_error": None}
    return {
        "positives": merged_bins(histogram.positives, smallest),
        "negatives": merged_bins(histogram.negatives, smallest),
        "auc": exact_auc(probabilities, patients.labels),
        "accuracy": accuracy(histogram),
        "brier": brier(histogram),
        "calibration_error": calibration_error(histogram),
    }


def merged_bins(counts: Sequence[int], smallest: int) -> list[int]:
    """The same number in all, in as many bins, none of them with fewer than `smallest` but for 0.

    From the lowest bin on, bins are added up until they hold enough and stand where their middle patient is; the rest goes to the last.
    """
    merged, waiting, last = [0] * len(counts), [], None
    for place, count in enumerate(counts):
        waiting += [place] * count
        if count and len(waiting) >= smallest:
            last = waiting[len(waiting) // 2]
            merged[last] += len(waiting)
            waiting = []
    if waiting:
        merged[waiting[len(waiting) // 2] if last is None else last] += len(waiting)
    return merged
