"""`consortium bench models`: how good a task's model becomes, with and without privacy, over many divisions of the patients.

The federation is played in one process by the product's own functions: extraction, split, round 0, noise from the task's calibration,
random groups, the sums' grid and bounds, robust combination. A hospital's gradient alone is computed otherwise, see QuickUpdates. There
is no ledger, no encryption, and no committee that turns candidates down.
"""

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from fabric.contract.groups import partition
from gateway.bench.machine import Machine, describe
from gateway.bench.model_data import Hospitals, Parts, TrialData
from gateway.bench.results import BenchReport, Measurement
from gateway.demo.baseline import exact_normalisation
from gateway.hospital.cohort import Patients
from gateway.hospital.plan import SUM_GRID, Plan, model_spec, own_noise, size_of
from gateway.hospital.summed import GroupSum, Statistics, Summed, Updates
from gateway.task_file import TaskFile
from privacy.evaluation import exact_auc
from privacy.models import Vector, initial_parameters, predict
from privacy.noise import NoiseSource
from privacy.normalisation import InputNormalisation
from privacy.robust import within_bound
from privacy.training import train_plain

Say = Callable[[str], None]
EPSILONS = (1.0, 3.0, 8.0)
MODES = ("local", "distributed")
BOUNDS_ONLY = "none: bounds only"
_SMALLEST_NORM = 1e-12
_Z95 = 1.96


@dataclass(frozen=True)
class Way:
    """One way to come to a model. `epsilon` is None without privacy; `how`: alone, pooled or federated."""

    how: str
    normalisation: str
    epsilon: float | None = None
    mode: str = "-"


@dataclass(frozen=True)
class Scores:
    """Of one division of the patients: accuracy, mean over hospitals, and AUC over all test patients together."""

    accuracy: float
    auc: float


@dataclass(frozen=True)
class QuickUpdates(Updates):
    """A round of logistic regression with all patients in the batch, in closed form: what `train_round` gives, in a hundredth of its time.

    A patient's gradient is (p - y) (x, 1), so its norm needs no backward pass.
    """

    noisy: bool = True

    def vector(self, patients: Patients, parameters: Vector, *, noise: NoiseSource) -> Vector:
        inputs = np.column_stack([patients.features, np.ones(len(patients))])
        errors = quick_probabilities(parameters, patients.features) - patients.labels
        norms = np.abs(errors) * np.linalg.norm(inputs, axis=1)
        clip = self.plan.task.privacy.clip
        clipped = errors * np.minimum(1.0, clip / np.maximum(norms, _SMALLEST_NORM))
        scale = own_noise(self.plan.task, patients=len(patients)) if self.noisy else 0.0
        return np.asarray(clipped @ inputs / clip + noise.gaussian(len(parameters), scale=scale), dtype=np.float64)


def quick_probabilities(parameters: Vector, features: NDArray[np.floating]) -> NDArray[np.float64]:
    """What `predict` gives for logistic regression, in closed form: it builds a network anew for every call."""
    logits = features.astype(np.float64) @ parameters[:-1] + parameters[-1]
    return np.asarray((1 + np.tanh(logits / 2)) / 2, dtype=np.float64)  # which does not overflow


def ways() -> Iterator[Way]:
    """What every data set is measured with, in the order of the table."""
    yield Way("hospital alone", "its own, exact")
    yield Way("pooled", "exact")
    yield Way("federated", "exact")
    for epsilon, mode in product(EPSILONS, MODES):
        yield Way("federated", "private", epsilon, mode)
    for epsilon in EPSILONS:
        yield Way("federated", BOUNDS_ONLY, epsilon, "local")


def run(data: Sequence[TrialData], *, seeds: int, processes: int, say: Say) -> BenchReport:
    """Measure every data set with every way, `seeds` times each. CPU-heavy."""
    machine = describe(["numpy", "torch", "opacus"])
    jobs = [(each, seed) for each in data for seed in range(seeds)]
    found: dict[tuple[str, Way], list[Scores]] = {}
    # Not forked: torch's threads do not survive that.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"), initializer=one_thread) as pool:
        waiting = {pool.submit(measure, each, seed): each.name for each, seed in jobs}
        for done, job in enumerate(as_completed(waiting), start=1):
            for way, scores in job.result().items():
                found.setdefault((waiting[job], way), []).append(scores)
            say(f"{done} of {len(jobs)} divisions measured")
    return table(machine, data, found)


def table(machine: Machine, data: Sequence[TrialData], found: Mapping[tuple[str, Way], Sequence[Scores]]) -> BenchReport:
    """One row for each data set, by its name, and each way."""
    return BenchReport(machine, [_row(each, way, found[each.name, way]) for each in data for way in ways()])


def measure(data: TrialData, seed: int) -> dict[Way, Scores]:
    """One division of the patients, measured in every way."""
    parts = data.divide(seed)
    return {way: _score(data, parts, way, seed) for way in ways()}


def _score(data: TrialData, parts: Parts, way: Way, seed: int) -> Scores:
    task = data.task_for(way.epsilon, way.mode)
    if way.how == "hospital alone":
        return _quality(task, {mspid: _alone(task, parts.train[mspid]) for mspid in parts.train}, parts.test)
    exact = exact_normalisation(task, list(parts.train.values()))
    if way.how == "pooled":
        return _quality(task, dict.fromkeys(parts.train, (_pooled(task, parts.train, exact), exact)), parts.test)
    if way.epsilon is None:
        return _quality(task, dict.fromkeys(parts.train, (federated(task, parts.train, exact, seed=seed), exact)), parts.test)
    if way.normalisation == BOUNDS_ONLY:
        task = task.model_copy(update={"normalisation": None})
    parameters, normalisation = federated_privately(task, parts.train, seed=seed)
    return _quality(task, dict.fromkeys(parts.train, (parameters, normalisation)), parts.test)


def federated(task: TaskFile, train: Hospitals, normalisation: InputNormalisation, *, seed: int) -> Vector:
    """Parameters after the task's rounds without noise."""
    federation = _Federation(task, train, *_randomness(seed))
    return federation.train(QuickUpdates(federation.plan, noisy=False), normalisation)


def federated_privately(task: TaskFile, train: Hospitals, *, seed: int) -> tuple[Vector, InputNormalisation | None]:
    """Parameters after the task's rounds, and the normalisation of its round 0 if it has one, with their noise."""
    federation = _Federation(task, train, *_randomness(seed))
    normalisation = federation.normalise()
    return federation.train(QuickUpdates(federation.plan), normalisation), normalisation


def _randomness(seed: int) -> tuple[NoiseSource, np.random.Generator]:
    """Of the noise and of the groups: the same for the same seed, which a real federation must never be."""
    return NoiseSource(hashlib.sha256(f"bench models {seed}".encode()).digest()), np.random.default_rng(seed)


@dataclass(frozen=True)
class _Federation:
    """The hospitals of one task and what they do round by round."""

    task: TaskFile
    train_patients: Hospitals
    noise: NoiseSource
    draws: np.random.Generator

    @property
    def plan(self) -> Plan:
        return Plan(self.task, {mspid: size_of(self.task, patients=len(each)) for mspid, each in self.train_patients.items()})

    def normalise(self) -> InputNormalisation | None:
        """Round 0, where the task has one."""
        if self.task.normalisation is None:
            return None
        return InputNormalisation.from_vector(self._round(Statistics(self.plan), self.train_patients, np.zeros(0)))

    def train(self, summed: Updates, normalisation: InputNormalisation | None) -> Vector:
        patients = {mspid: each.normalised(normalisation) for mspid, each in self.train_patients.items()}
        parameters = initial_parameters(self.plan.spec, seed=0)
        for _ in range(self.task.task.rounds):
            parameters = self._round(summed, patients, parameters)
        return parameters

    def _round(self, summed: Summed, patients: Hospitals, parameters: Vector) -> Vector:
        vectors = {
            mspid: np.clip(summed.vector(each, parameters, noise=self.noise), -summed.bound(), summed.bound())
            for mspid, each in patients.items()
        }
        groups = partition(list(patients), self.task.task.group_size, self.draws.bytes(16).hex())
        sums = [GroupSum(group, np.round(np.sum([vectors[mspid] for mspid in group], axis=0) / SUM_GRID) * SUM_GRID) for group in groups]
        return summed.candidate([each for each in sums if within_bound(each.vector, summed.group_bound(each.members))], parameters)


def _alone(task: TaskFile, train: Patients) -> tuple[Vector, InputNormalisation]:
    own = exact_normalisation(task, [train])
    return train_plain(model_spec(task), own.apply(train.features, train.observed), train.labels), own


def _pooled(task: TaskFile, train: Hospitals, exact: InputNormalisation) -> Vector:
    taken_in = [each.normalised(exact) for each in train.values()]
    features, labels = np.concatenate([each.features for each in taken_in]), np.concatenate([each.labels for each in taken_in])
    return train_plain(model_spec(task), features, labels)


def _quality(task: TaskFile, models: Mapping[str, tuple[Vector, InputNormalisation | None]], test: Hospitals) -> Scores:
    scores: list[NDArray[np.float64]] = []
    for mspid, patients in test.items():
        parameters, normalisation = models[mspid]
        scores.append(predict(model_spec(task), parameters, patients.normalised(normalisation).features))
    accuracies = [float(np.mean((each > 0.5) == (patients.labels == 1))) for each, patients in zip(scores, test.values(), strict=True)]
    area = exact_auc(np.concatenate(scores), np.concatenate([patients.labels for patients in test.values()]))
    if area is None:
        raise ValueError("the test patients of all hospitals have one label only")
    return Scores(fmean(accuracies), area)


def _row(data: TrialData, way: Way, scores: Sequence[Scores]) -> Measurement:
    task = data.task_for(way.epsilon, way.mode)
    federated = way.how == "federated"
    return Measurement(
        what=f"{data.name} ({data.patients} patients of {len(data.hospitals)} hospitals, δ = {task.privacy.delta:g})",
        conditions={
            "model": way.how,
            "epsilon": way.epsilon,
            "mode": way.mode,
            "normalisation": way.normalisation,
            "rounds": task.task.rounds if federated else None,
            "learning_rate": f"{task.training.learning_rate:g}" if federated else None,
        },
        values={"accuracy": _interval([each.accuracy for each in scores]), "auc": _interval([each.auc for each in scores])},
    )


def _interval(values: Sequence[float]) -> str:
    """Mean and half the 95 % interval of the mean over divisions, by the normal approximation."""
    spread = _Z95 * stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{fmean(values):.3f} ± {spread:.3f}"


def one_thread() -> None:
    """Small matrices: several threads only get in each other's way."""
    import torch

    torch.set_num_threads(1)
