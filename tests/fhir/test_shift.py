"""A hospital's features beside the federation's private statistics."""

from pathlib import Path

import numpy as np
import pytest

from gateway.cli.data import _federation
from gateway.errors import InputError
from gateway.fhir.check import check_folder
from gateway.fhir.extract import extract
from gateway.task_file import parse
from privacy.models import ModelSpec, initial_parameters, to_safetensors
from privacy.normalisation import InputNormalisation
from tests.support.fhir_folders import TASK, small_hospital, write

SPEC = ModelSpec("logistic_regression", 2)


def _model(path: Path, normalisation: InputNormalisation | None, spec: ModelSpec = SPEC) -> Path:
    path.write_bytes(to_safetensors(spec, initial_parameters(spec, seed=1), {"task_id": "t"}, normalisation))
    return path


def test_the_difference_is_in_the_federation_s_deviations(tmp_path: Path) -> None:
    task, folder = parse(TASK.encode()), write(tmp_path / "data", small_hospital())
    extracted = extract(task, folder, quarantine=None)
    own = [value for value, seen in zip(extracted.features[:, 0].tolist(), extracted.observed[:, 0].tolist(), strict=True) if seen]
    mean = sum(own) / len(own)
    federation = _federation(_model(tmp_path / "model", InputNormalisation(np.array([mean + 0.5, 0.0]), np.array([0.25, 1.0]))), task)
    report = check_folder(folder, task, quarantine=None, federation=federation)
    (shift,) = report.shifts
    assert (shift.feature, shift.patients) == ("glucose", len(own))
    assert shift.difference == pytest.approx(-2.0)
    (finding,) = [finding for finding in report.findings if finding.kind == "shift"]
    assert finding.sentence == "glucose: the mean here lies 2.0 standard deviations below the federation's"
    near = InputNormalisation(np.array([mean - 0.1, 0.0]), np.array([0.25, 1.0]))
    again = check_folder(folder, task, quarantine=None, federation=near)
    assert again.shifts[0].difference == pytest.approx(0.4)
    assert not [finding for finding in again.findings if finding.kind == "shift"]


def test_a_model_that_cannot_be_compared_with_is_refused(tmp_path: Path) -> None:
    task = parse(TASK.encode())
    with pytest.raises(InputError, match="has no statistics of the federation"):
        _federation(_model(tmp_path / "model", None), task)
    other = ModelSpec("logistic_regression", 5)
    with pytest.raises(InputError, match="takes in 5 inputs, the task has 2"):
        _federation(_model(tmp_path / "model", InputNormalisation.identity(5), other), task)
    with pytest.raises(InputError, match="cannot read the model"):
        _federation(tmp_path / "none", task)
    (tmp_path / "model").write_bytes(b"no model")
    with pytest.raises(InputError, match="is no model file"):
        _federation(tmp_path / "model", task)
