"""The default data: every real patient once, as valid FHIR, over unlike hospitals."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from gateway.fhir.extract import extract
from gateway.fhir.samples import measurement_code, write_breast_cancer
from gateway.fhir.validate import resource
from gateway.task_file import load
from tests.support.fhir_folders import SAMPLE_TASKS


@pytest.mark.parametrize("hospitals", [3, 6, 16])
def test_every_patient_is_in_one_hospital(tmp_path: Path, hospitals: int) -> None:
    folders = write_breast_cancer(tmp_path, hospitals=hospitals)
    keys = [json.loads(line)["id"] for folder in folders for line in (folder / "Patient.ndjson").read_text().splitlines()]
    assert len(folders) == hospitals
    assert sorted(keys) == [f"wdbc-{number:03d}" for number in range(1, 570)]
    mixes = []
    for folder in folders:
        patients = len((folder / "Patient.ndjson").read_text().splitlines())
        ill = len((folder / "Condition.ndjson").read_text().splitlines())
        assert patients >= load(SAMPLE_TASKS / "breast-cancer.toml").cohort.minimum_patients
        mixes.append((patients, ill / patients))
    assert max(size for size, _ in mixes) > 1.3 * min(size for size, _ in mixes)
    assert max(mix for _, mix in mixes) > 1.3 * min(mix for _, mix in mixes)


@pytest.mark.parametrize("hospitals", [2, 17])
def test_too_few_or_too_many_hospitals_are_refused(tmp_path: Path, hospitals: int) -> None:
    with pytest.raises(ValueError, match="divide over 3 to 16"):
        write_breast_cancer(tmp_path, hospitals=hospitals)


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    for one, two in zip(write_breast_cancer(tmp_path / "one"), write_breast_cancer(tmp_path / "two"), strict=True):
        for name in ("Patient.ndjson", "Observation.ndjson", "Condition.ndjson"):
            assert (one / name).read_bytes() == (two / name).read_bytes()


def test_the_matrix_is_what_scikit_learn_ships(tmp_path: Path) -> None:
    task, data = load(SAMPLE_TASKS / "breast-cancer.toml"), load_breast_cancer()
    bounds = {feature.name: (feature.low, feature.high) for feature in task.features}
    seen = 0
    for folder in write_breast_cancer(tmp_path):
        found = extract(task, folder, quarantine=None)
        rows = [int(key.removeprefix("wdbc-")) - 1 for key in found.patient_keys]
        assert found.labels.tolist() == (data.target[rows] == 0).tolist()
        assert found.feature_names == tuple(measurement_code(name) for name in data.feature_names)
        for column, name in enumerate(found.feature_names):
            low, high = bounds[name]
            assert low is not None
            assert high is not None
            expected = (np.clip(data.data[rows, column], low, high) - low) / (high - low) * 2 - 1
            assert found.features[:, column] == pytest.approx(expected, abs=1e-6)
        assert found.report.lines.dropped == {}
        assert found.report.quality_ppm == 1_000_000
        seen += len(rows)
    assert seen == 569


def test_a_sample_line_is_valid_with_every_check(tmp_path: Path) -> None:
    folder = write_breast_cancer(tmp_path)[0]
    for name in ("Patient", "Observation", "Condition"):
        for line in (folder / f"{name}.ndjson").read_bytes().splitlines()[:40]:
            assert resource(line, frozenset({name})) is not None
