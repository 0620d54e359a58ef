"""The ceiling to compare with: the same model, all training patients in one place, no privacy. Only a trial can compute it."""

from collections.abc import Sequence

import numpy as np

from gateway.config import GatewaySection
from gateway.hospital.cohort import read_cohort, split_salt
from gateway.hospital.plan import model_spec
from gateway.task_file import TaskFile
from privacy.evaluation import auc, score_histogram
from privacy.models import predict
from privacy.training import train_plain


def pooled_plain_auc(task: TaskFile, hospitals: Sequence[GatewaySection]) -> float | None:
    """AUC on all hospitals' held-out patients, read from their folders; None unless both labels are present. CPU-heavy.

    The patients are split as each gateway split them, and the AUC is read off a histogram of scores as the federated model's is.
    """
    cohorts = [read_cohort(task, hospital.data, quarantine=None, salt=split_salt(hospital.state)) for hospital in hospitals]
    spec = model_spec(task)
    train = [cohort.train for cohort in cohorts]
    parameters = train_plain(spec, np.concatenate([each.features for each in train]), np.concatenate([each.labels for each in train]))
    features = np.concatenate([cohort.test.features for cohort in cohorts])
    labels = np.concatenate([cohort.test.labels for cohort in cohorts])
    return auc(score_histogram(predict(spec, parameters, features), labels))
