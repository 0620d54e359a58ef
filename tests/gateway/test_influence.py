"""A patient with hundreds of records moves what a hospital gives by no more than one clip: they become one row before any sum."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from gateway.hospital.cohort import Cohort, read_cohort
from gateway.hospital.plan import SMALLEST_SUM, Plan, Size, own_noise, training_event
from gateway.hospital.summed import Updates
from gateway.task_file import parse
from privacy.noise import NoiseSource
from privacy.training import Mode
from tests.support.hospitals import task_document, write_patients
from tests.support.noise_sources import Silent

RECORDS, SALT = 400, b"s" * 32
HEAVY = "h1-p7"


def _with_many_records(folder: Path) -> Path:
    """Hundreds more measurements of one patient, all of them extreme, and of many more diagnoses."""
    resources = [json.loads(line) for line in (folder / "Observation.ndjson").read_text().splitlines()]
    template = next(each for each in resources if each["subject"]["reference"] == f"Patient/{HEAVY}")
    with (folder / "Observation.ndjson").open("a") as file:
        for number in range(RECORDS):
            quantity = {**template["valueQuantity"], "value": 1e6}
            file.write(json.dumps({**template, "id": f"more-{number}", "valueQuantity": quantity}) + "\n")
    with (folder / "Condition.ndjson").open("a") as file:
        for number in range(RECORDS):
            condition = {"resourceType": "Condition", "id": f"ill-{number}", "subject": {"reference": f"Patient/{HEAVY}"}}
            file.write(json.dumps(condition) + "\n")
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = _with_many_records(write_patients(tmp_path_factory.mktemp("data") / "h1", patients=60, features=2, seed=1))
    return read_cohort(parse(task_document()), folder, quarantine=None, salt=SALT, mspid="A")


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_a_patient_with_hundreds_of_records_moves_the_release_as_accounted(cohort: Cohort, mode: Mode) -> None:
    file = parse(task_document())
    file = file.model_copy(update={"privacy": file.privacy.model_copy(update={"mode": mode})})
    plan = Plan(file, {name: Size(len(cohort.train), len(cohort.train)) for name in ("A", "B", "C")})
    assert cohort.train.keys.count(HEAVY) == 1, "the salt puts this patient among those who train"
    # The number of patients is public and stays; what the sum loses is the patient's part alone.
    gone = replace(cohort.train.without({HEAVY}), withdrawn=1)
    model = np.array([3.0, -2.0, 1.0])
    silent = cast(NoiseSource, Silent())
    vectors = [Updates(plan).vector(patients, model, noise=silent) for patients in (cohort.train, gone)]
    influence = float(np.linalg.norm(vectors[0] - vectors[1]))
    assert 0 < influence <= 1 + 1e-6
    updates_in_the_release = {"local": 1, "distributed": SMALLEST_SUM}[mode]
    noise = own_noise(file, patients=len(cohort.train)) * math.sqrt(updates_in_the_release)
    accounted = training_event(file, patients=len(cohort.train)).noise_multiplier
    assert influence / noise <= (1 + 1e-6) / accounted
