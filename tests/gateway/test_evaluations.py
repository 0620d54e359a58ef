"""What gateways send about a model is checked before it is believed."""

import json
from typing import Any

import pytest

from gateway.errors import VerificationFailed
from gateway.researcher.evaluations import parse_evaluation
from privacy.noisy_evaluation import NoisyHistogram

NOISY = {"positives": [-0.5, *[3.25] * 9], "negatives": [2.0] * 10, "noise_deviation": 0.75}
SOUND: dict[str, Any] = {
    "schema_version": 2,
    "mspid": "north",
    "task_id": "sepsis-1",
    "patients": 60,
    "parameters": 500,
    "upload_bytes": 15_100,
    "federated": NOISY,
    "statement": {"unit": "patient"},
    "seconds": {"training": 1.5, "encryption": 1, "aggregation": 0, "ledger": 2.5},
}


def test_a_sound_evaluation() -> None:
    evaluation = parse_evaluation(json.dumps(SOUND).encode())
    assert evaluation.federated == NoisyHistogram((-0.5, *[3.25] * 9), (2.0,) * 10, 0.75)
    assert evaluation.seconds["ledger"] == 2.5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not JSON",
        b"[]",
        b"[" * 100_000,
        json.dumps({**SOUND, "federated": None}).encode(),
        json.dumps({**SOUND, "federated": {**NOISY, "positives": [1]}}).encode(),
        json.dumps({**SOUND, "federated": {**NOISY, "positives": [float("nan")] * 10}}).encode(),
        json.dumps({**SOUND, "federated": {**NOISY, "noise_deviation": "small"}}).encode(),
        json.dumps({**SOUND, "federated": {**NOISY, "negatives": [1e300] * 10}}).encode(),
        json.dumps({**SOUND, "seconds": {"training": "long"}}).encode(),
        json.dumps({key: value for key, value in SOUND.items() if key != "federated"}).encode(),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationFailed, match="cannot be read"):
        parse_evaluation(data)
