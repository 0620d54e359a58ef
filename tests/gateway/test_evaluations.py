"""What gateways send about a model is checked before it is believed."""

import json
from typing import Any

import pytest

from gateway.errors import VerificationFailed
from gateway.researcher.evaluations import parse_evaluation

QUALITY = {"positives": [0, 3], "negatives": [2, 0], "auc": 1.0, "accuracy": 1.0, "brier": 0.1, "calibration_error": 0.1}
SOUND: dict[str, Any] = {
    "schema_version": 1,
    "mspid": "north",
    "task_id": "sepsis-1",
    "patients": {"train": 60, "validation": 10, "test": 30},
    "parameters": 500,
    "upload_bytes": 15_100,
    "federated": QUALITY,
    "alone": {**QUALITY, "auc": None},
    "quality_ppm": 900_000,
    "warnings": ["fever: missing for 20 of 100 patients"],
    "seconds": {"training": 1.5, "encryption": 1, "aggregation": 0, "ledger": 2.5},
}


def test_a_sound_evaluation() -> None:
    evaluation = parse_evaluation(json.dumps(SOUND).encode())
    assert evaluation.patients == 100
    assert evaluation.federated.histogram.positives == (0, 3)
    assert (evaluation.federated.auc, evaluation.alone.auc) == (1.0, None)
    assert evaluation.seconds["ledger"] == 2.5
    assert evaluation.warnings == ("fever: missing for 20 of 100 patients",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not JSON",
        b"[]",
        b"[" * 100_000,
        json.dumps({**SOUND, "federated": None}).encode(),
        json.dumps({**SOUND, "federated": {**QUALITY, "positives": [1]}}).encode(),
        json.dumps({**SOUND, "federated": {**QUALITY, "positives": [-1, 1]}}).encode(),
        json.dumps({**SOUND, "patients": 100}).encode(),
        json.dumps({**SOUND, "seconds": {"training": "long"}}).encode(),
        json.dumps({key: value for key, value in SOUND.items() if key != "alone"}).encode(),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationFailed, match="cannot be read"):
        parse_evaluation(data)
