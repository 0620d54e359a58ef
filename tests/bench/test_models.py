"""What `bench models` plays: the federation against plain gradient descent, the divisions, and the table."""

from collections.abc import Mapping

import numpy as np
import pytest

from gateway.bench.machine import describe
from gateway.bench.model_data import Setting, TrialData, flamby_split, product_split
from gateway.bench.models import QuickUpdates, Scores, Way, federated, measure, table, ways
from gateway.demo.baseline import exact_normalisation
from gateway.fhir.split import split
from gateway.hospital.cohort import Patients
from gateway.hospital.plan import Plan, Size, own_noise
from gateway.task_file import parse
from privacy.noise import NoiseSource
from privacy.training import train_round
from tests.support.hospitals import task_document

NAMES = ("a", "b", "c", "d")


def patients(seed: int, count: int = 60) -> Patients:
    rng = np.random.default_rng(seed)
    features = np.clip(rng.normal(0.2, 0.3, size=(count, 2)), -1, 1)
    labels = (features.sum(axis=1) + rng.normal(scale=0.2, size=count) > 0.4).astype(np.float32)
    return Patients(features.astype(np.float32), np.ones((count, 2), dtype=bool), labels)


def trial(rounds: int = 2, settings: Mapping[float | None, Setting] | None = None) -> TrialData:
    task = parse(task_document(rounds=rounds, normalisation=True))
    hospitals = {name: patients(number) for number, name in enumerate(NAMES)}
    keys = {name: tuple(f"{name}-{row}" for row in range(60)) for name in NAMES}
    chosen = settings or dict.fromkeys((None, 1.0, 3.0, 8.0), Setting(rounds, 0.5))
    return TrialData("made up", task, hospitals, keys, flamby_split, chosen)


def test_without_noise_a_federation_is_clipped_gradient_descent_on_all_patients() -> None:
    data = trial(rounds=5)
    task = data.task_for(None, "-")
    exact = exact_normalisation(task, list(data.hospitals.values()))
    found = federated(task, data.hospitals, exact, seed=1)
    inputs = np.concatenate([each.normalised(exact).features for each in data.hospitals.values()])
    inputs = np.column_stack([inputs, np.ones(len(inputs))])
    labels = np.concatenate([each.labels for each in data.hospitals.values()])
    weights = np.zeros(3)
    for _ in range(5):
        gradients = (1 / (1 + np.exp(-inputs @ weights)) - labels)[:, np.newaxis] * inputs
        norms = np.linalg.norm(gradients, axis=1, keepdims=True)
        weights -= 0.5 * (gradients / np.maximum(norms, 1)).sum(axis=0) / len(labels)
    np.testing.assert_allclose(found, weights, atol=1e-4)  # the sums' grid


@pytest.mark.parametrize("clip", [0.1, 1.0, 50.0])
def test_a_round_in_closed_form_is_the_product_s_own(clip: float) -> None:
    task = trial().task_for(8.0, "local")
    plan = Plan(task.model_copy(update={"privacy": task.privacy.model_copy(update={"clip": clip})}), {"a": Size(60, 60)})
    parameters, noise = np.array([0.5, -1.0, 0.2]), NoiseSource(b"n" * 32)
    own = train_round(
        plan.spec,
        parameters,
        patients(3).features,
        patients(3).labels,
        clip=clip,
        noise_multiplier=1e-9,
        sampling_rate=1.0,
        local_steps=1,
        learning_rate=1.0,
        noise=noise,
        sampler=noise,
    )
    quick = QuickUpdates(plan, noisy=False).vector(patients(3), parameters, noise=noise)
    np.testing.assert_allclose(quick, own.vector, rtol=0, atol=1e-4)  # Opacus adds 1e-6 to a norm before it divides


def test_a_round_in_closed_form_has_the_noise_of_the_task() -> None:
    plan = Plan(trial().task_for(1.0, "local"), {"a": Size(60, 60)})
    noise, parameters = NoiseSource(b"n" * 32), np.zeros(3)
    exact = QuickUpdates(plan, noisy=False).vector(patients(3), parameters, noise=noise)
    drawn = [QuickUpdates(plan).vector(patients(3), parameters, noise=noise) - exact for _ in range(300)]
    assert np.std(drawn) == pytest.approx(own_noise(plan.task, patients=60), rel=0.1)


def test_a_division_measured_twice_is_the_same_and_another_is_not() -> None:
    data = trial(settings={None: Setting(2, 0.5), 1.0: Setting(1, 0.5), 3.0: Setting(1, 0.5), 8.0: Setting(1, 0.5)})
    first = measure(data, 0)
    assert list(first) == list(ways())
    assert first == measure(data, 0) != measure(data, 1)
    assert all(0 <= value <= 1 for scores in first.values() for value in (scores.accuracy, scores.auc))


def test_flamby_s_division_is_66_to_34_with_the_labels_in_proportion() -> None:
    data = patients(9, count=200)
    train, test = flamby_split(data, (), 43)
    assert (len(train), len(test)) == (132, 68)
    assert sorted([*train, *test]) == list(range(200))
    assert abs(data.labels[train].mean() - data.labels[test].mean()) < 0.02


def test_too_few_of_one_label_are_divided_all_the_same() -> None:
    data = patients(9, count=50)
    rare = Patients(data.features, data.observed, np.array([1.0, 1.0] + [0.0] * 48, dtype=np.float32))
    train, test = flamby_split(rare, (), 0)
    assert len(train) + len(test) == 50


def test_the_product_s_division_is_a_gateway_s_without_validation() -> None:
    keys = tuple(f"patient-{row}" for row in range(100))
    train, test = product_split(patients(1, count=100), keys, 7)
    parts = split(keys, salt=(7).to_bytes(32, "big"))
    assert (train.tolist(), test.tolist()) == (parts.train.tolist(), parts.test.tolist())


def test_the_table_has_a_row_for_each_way_with_mean_and_interval() -> None:
    data = trial()
    found = {("made up", way): [Scores(0.7, 0.8), Scores(0.9, 0.8)] for way in ways()}
    report = table(describe([]), [data], found)
    assert [row.conditions["model"] for row in report.results] == [way.how for way in ways()]
    assert {row.values["accuracy"] for row in report.results} == {"0.800 ± 0.196"}
    assert {row.values["auc"] for row in report.results} == {"0.800 ± 0.000"}


def test_every_epsilon_is_measured_in_both_modes() -> None:
    assert {(way.epsilon, way.mode) for way in ways() if way.normalisation == "private"} == {
        (epsilon, mode) for epsilon in (1.0, 3.0, 8.0) for mode in ("local", "distributed")
    }
    assert Way("pooled", "exact") in ways()


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_a_task_is_trained_at_the_epsilon_it_is_measured_at(epsilon: float) -> None:
    settings = {None: Setting(9, 9.0), 1.0: Setting(3, 0.5), 3.0: Setting(9, 9.0), 8.0: Setting(3, 0.5)}
    task = trial(settings=settings).task_for(epsilon, "distributed")
    assert (task.privacy.epsilon, task.privacy.mode, task.task.rounds, task.training.learning_rate) == (epsilon, "distributed", 3, 0.5)
