"""What to compare with, without privacy: the same model on all training patients in one place, and on each hospital's own.

Only a trial can compute it: it reads the folders of all hospitals, and no hospital releases any of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.config import GatewaySection
from gateway.hospital.cohort import Patients, read_cohort, split_salt
from gateway.hospital.plan import model_spec, numeric_columns
from gateway.task_file import TaskFile
from privacy.evaluation import exact_auc
from privacy.models import ModelSpec, predict
from privacy.normalisation import InputNormalisation, derive, statistics
from privacy.training import train_plain


@dataclass(frozen=True)
class Baselines:
    """Exact AUCs on held-out patients. `pooled`: None unless both labels are present; `local`: of hospitals where they are."""

    pooled: float | None
    local: Mapping[str, float]


def baselines(task: TaskFile, hospitals: Mapping[str, GatewaySection]) -> Baselines:
    """Read all hospitals' folders, with the patients split as each gateway split them, and train. CPU-heavy."""
    cohorts = {
        mspid: read_cohort(task, hospital.data, quarantine=None, salt=split_salt(hospital.state), mspid=mspid)
        for mspid, hospital in hospitals.items()
    }
    if task.normalisation is not None:
        exact = exact_normalisation(task, [cohort.train for cohort in cohorts.values()])
        cohorts = {mspid: cohort.normalised(exact) for mspid, cohort in cohorts.items()}
    spec = model_spec(task)
    found = {mspid: _auc(spec, [cohort.train], [cohort.test]) for mspid, cohort in cohorts.items()}
    together = [cohort.train for cohort in cohorts.values()], [cohort.test for cohort in cohorts.values()]
    return Baselines(_auc(spec, *together), {mspid: value for mspid, value in found.items() if value is not None})


def _auc(spec: ModelSpec, train: Sequence[Patients], test: Sequence[Patients]) -> float | None:
    parameters = train_plain(spec, np.concatenate([each.features for each in train]), np.concatenate([each.labels for each in train]))
    probabilities = predict(spec, parameters, np.concatenate([each.features for each in test]))
    return exact_auc(probabilities, np.concatenate([each.labels for each in test]))


def exact_normalisation(task: TaskFile, train: Sequence[Patients]) -> InputNormalisation:
    """What round 0 would come to without noise."""
    columns = numeric_columns(task)
    total = np.sum([statistics(part.features, part.observed, columns) for part in train], axis=0)
    return derive([total], [sum(len(part) for part in train)], columns, inputs=model_spec(task).inputs)
