"""The ceiling to compare with: the same model, all training patients in one place, no privacy. Only a trial can compute it."""

from collections.abc import Mapping, Sequence

import numpy as np

from gateway.config import GatewaySection
from gateway.hospital.cohort import Patients, read_cohort, split_salt
from gateway.hospital.plan import model_spec, numeric_columns
from gateway.task_file import TaskFile
from privacy.evaluation import auc, score_histogram
from privacy.models import predict
from privacy.normalisation import InputNormalisation, derive, statistics
from privacy.training import train_plain


def pooled_plain_auc(task: TaskFile, hospitals: Mapping[str, GatewaySection]) -> float | None:
    """AUC on all hospitals' held-out patients, read from their folders; None unless both labels are present. CPU-heavy.

    The patients are split as each gateway split them, and the AUC is read off a histogram of scores as the federated model's is.
    """
    cohorts = [
        read_cohort(task, hospital.data, quarantine=None, salt=split_salt(hospital.state), mspid=mspid)
        for mspid, hospital in hospitals.items()
    ]
    if task.normalisation is not None:
        exact = exact_normalisation(task, [cohort.train for cohort in cohorts])
        cohorts = [cohort.normalised(exact) for cohort in cohorts]
    spec = model_spec(task)
    train = [cohort.train for cohort in cohorts]
    parameters = train_plain(spec, np.concatenate([each.features for each in train]), np.concatenate([each.labels for each in train]))
    features = np.concatenate([cohort.test.features for cohort in cohorts])
    labels = np.concatenate([cohort.test.labels for cohort in cohorts])
    return auc(score_histogram(predict(spec, parameters, features), labels))


def exact_normalisation(task: TaskFile, train: Sequence[Patients]) -> InputNormalisation:
    """What round 0 would come to without noise."""
    columns = numeric_columns(task)
    total = np.sum([statistics(part.features, part.observed, columns) for part in train], axis=0)
    return derive([total], [sum(len(part) for part in train)], columns, inputs=model_spec(task).inputs)
