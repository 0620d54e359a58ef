"""What a hospital releases about a finished model: its quality on the hospital's held-out test patients.

The test patients were set aside before anything else and are used for nothing but this. The release is exact, not differentially
private; a hospital that does not want that sets `release_evaluation = false`. The JSON:

{"schema_version": 1, "mspid", "task_id", "patients": {"train", "validation", "test"}, "parameters", "upload_bytes",
 "federated": MODEL, "alone": MODEL, "quality_ppm", "warnings": [sentence, …],
 "seconds": {"training", "encryption", "aggregation", "ledger"}}

with MODEL = {"positives": [count per score bin], "negatives": […], "auc", "accuracy", "brier", "calibration_error"}; `alone` is the
same model trained by this hospital on its own patients, without noise. A figure is null where the test patients cannot give it.
"""

from collections.abc import Mapping
from typing import Any

from gateway.hospital.cohort import Cohort, Patients
from gateway.hospital.plan import Plan
from privacy.evaluation import accuracy, brier, calibration_error, exact_auc, score_histogram
from privacy.models import ModelSpec, Vector, predict
from privacy.training import train_plain


def evaluate(
    plan: Plan, cohort: Cohort, parameters: Vector, *, mspid: str, task_id: str, upload_bytes: int, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """The evaluation as a JSON object. CPU-heavy. Run by the hospital at the end of a task."""
    alone = train_plain(plan.spec, cohort.train.features, cohort.train.labels)
    return {
        "schema_version": 1,
        "mspid": mspid,
        "task_id": task_id,
        "patients": {"train": len(cohort.train), "validation": len(cohort.validation), "test": len(cohort.test)},
        "parameters": plan.parameters,
        "upload_bytes": upload_bytes,
        "federated": _quality(plan.spec, parameters, cohort.test),
        "alone": _quality(plan.spec, alone, cohort.test),
        "quality_ppm": cohort.extracted.report.quality_ppm,
        "warnings": list(cohort.extracted.report.warnings()),
        "seconds": dict(seconds),
    }


def _quality(spec: ModelSpec, parameters: Vector, patients: Patients) -> dict[str, Any]:
    probabilities = predict(spec, parameters, patients.features)
    histogram = score_histogram(probabilities, patients.labels)
    return {
        "positives": list(histogram.positives),
        "negatives": list(histogram.negatives),
        "auc": exact_auc(probabilities, patients.labels),
        "accuracy": accuracy(histogram),
        "brier": brier(histogram),
        "calibration_error": calibration_error(histogram),
    }
