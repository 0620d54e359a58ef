"""One round of a hospital: what its update is, against gradients computed patient by patient with plain autograd."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from privacy.evaluation import exact_auc
from privacy.models import ModelError, ModelSpec, initial_parameters, parameter_count, predict, to_module
from privacy.noise import NoiseSource
from privacy.robust import next_parameters
from privacy.training import TrainingError, expected_batch, noise_share, train_plain, train_round, warm_up
from tests.support.noise_sources import Counting, Picking, Silent

LOGISTIC = ModelSpec("logistic_regression", 4)
MLP = ModelSpec("mlp", 4, (5, 3))
SETTINGS = {"clip": 0.3, "noise_multiplier": 1.0, "sampling_rate": 1.0, "local_steps": 1, "learning_rate": 0.5}


def patients(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.uniform(-1, 1, (count, 4))
    return features, (features.sum(axis=1) + rng.normal(0, 0.5, count) > 0).astype(int)


def start(spec: ModelSpec) -> np.ndarray:
    return initial_parameters(spec, seed=3) + 0.1


def update(spec=LOGISTIC, parameters=None, data=None, *, noise=None, sampler=None, **changes):
    features, labels = data or patients(12)
    sources = {"noise": noise or Silent(), "sampler": sampler or NoiseSource(bytes(32))}
    vector = start(spec) if parameters is None else parameters
    return train_round(spec, vector, features, labels, **(SETTINGS | changes), **sources)


def clipped_gradients(spec: ModelSpec, vector: np.ndarray, features: np.ndarray, labels: np.ndarray, clip: float) -> np.ndarray:
    """The oracle: one backward pass for each patient, then clipping, in units of the clip; shape (patients, parameters)."""
    rows = []
    for row, label in zip(features, labels, strict=True):
        module = to_module(spec, vector)
        logit = module(torch.from_numpy(row[None]))[0, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor(float(label), dtype=torch.float64)).backward()
        gradient = np.concatenate([p.grad.numpy().ravel() for p in module.parameters()])
        rows.append(gradient * min(1.0, clip / np.linalg.norm(gradient)) / clip)
    return np.array(rows)


@pytest.mark.parametrize("spec", [LOGISTIC, MLP])
@pytest.mark.parametrize("clip", [0.05, 0.4, 100.0])  # all clipped, some, none
def test_one_step_is_the_sum_of_clipped_gradients(spec, clip):
    features, labels = patients(12)
    expected = clipped_gradients(spec, start(spec), features, labels, clip).sum(axis=0)
    assert update(spec, clip=clip).vector == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("spec", [LOGISTIC, MLP])
def test_noise_comes_from_the_source_at_the_clip_times_the_multiplier(spec):
    noise = Counting()
    noisy = update(spec, noise=noise, noise_multiplier=2.5).vector
    count = parameter_count(spec)
    assert sum(size for size, _ in noise.drawn) == count and {scale for _, scale in noise.drawn} == {2.5 * SETTINGS["clip"]}
    assert noisy - update(spec).vector == pytest.approx(2.5 * np.arange(1, count + 1))


def test_only_drawn_patients_count():
    features, labels = patients(12)
    expected = clipped_gradients(LOGISTIC, start(LOGISTIC), features[[2, 7]], labels[[2, 7]], 0.3).sum(axis=0)
    result = update(sampler=Picking([2, 7]), sampling_rate=0.25)
    assert result.vector == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert result.expected_batch == 3


@pytest.mark.parametrize("spec", [LOGISTIC, MLP])
def test_an_empty_batch_is_noise_alone(spec):
    result = update(spec, noise=Counting(), sampler=Picking([]), sampling_rate=0.25)
    assert result.vector == pytest.approx(np.arange(1.0, parameter_count(spec) + 1))
    assert result.expected_batch == 3


def test_several_steps_follow_the_path_of_plain_sgd():
    features, labels = patients(12)
    theta, batch, clip, rate = start(MLP), 6, 0.3, 0.5
    picks = ([0, 1, 2], [], [3, 4, 5, 6, 7, 8, 9])
    for rows in picks:
        gradient = clipped_gradients(MLP, theta, features[rows], labels[rows], clip).sum(axis=0) if rows else np.zeros_like(theta)
        theta = theta - rate / batch * clip * gradient
    result = update(MLP, sampler=Picking(*picks), sampling_rate=0.5, local_steps=3)
    assert result.vector == pytest.approx(batch * (start(MLP) - theta) / (rate * clip), rel=1e-4, abs=1e-5)
    assert result.expected_batch == batch


def test_one_hospital_alone_arrives_where_its_own_steps_led():
    result = update(MLP, noise=NoiseSource(b"n" * 32), local_steps=1)
    stepped = next_parameters(start(MLP), result.vector / result.expected_batch, clip=0.3, learning_rate=0.5)
    assert stepped == pytest.approx(start(MLP) - 0.5 * 0.3 * result.vector / 12)


def test_same_sources_same_update_and_torch_generator_has_no_part():
    torch.manual_seed(1)
    one = update(noise=NoiseSource(b"n" * 32), sampler=NoiseSource(b"s" * 32), sampling_rate=0.5, local_steps=2)
    torch.manual_seed(2)
    two = update(noise=NoiseSource(b"n" * 32), sampler=NoiseSource(b"s" * 32), sampling_rate=0.5, local_steps=2)
    assert np.array_equal(one.vector, two.vector)
    three = update(noise=NoiseSource(b"m" * 32), sampler=NoiseSource(b"s" * 32), sampling_rate=0.5, local_steps=2)
    assert not np.array_equal(one.vector, three.vector)


def test_poisson_sampling_draws_at_the_rate():
    features, labels = np.zeros((400, 4)), np.zeros(400)
    features[:, 0] = 1.0  # every patient's gradient is the same, so the update's length counts the drawn patients
    sampler = NoiseSource(b"s" * 32)
    sizes = []
    for _ in range(60):
        result = update(parameters=np.zeros(5), data=(features, labels), sampler=sampler, sampling_rate=0.3)
        sizes.append(np.linalg.norm(result.vector))
    assert np.mean(sizes) == pytest.approx(120, abs=5)
    assert 0.5 * math.sqrt(84) < np.std(sizes) < 2 * math.sqrt(84)  # binomial: not the fixed-size batches of a shuffled epoch


def test_private_training_learns():
    features, labels = patients(300)
    source = NoiseSource(b"n" * 32)
    theta = np.zeros(5)
    for _ in range(20):
        result = update(parameters=theta, data=(features, labels), noise=source, clip=1.0, noise_multiplier=3.0)
        theta = next_parameters(theta, result.vector / result.expected_batch, clip=1.0, learning_rate=2.0)
    held_out = patients(300, seed=1)
    assert exact_auc(predict(LOGISTIC, theta, held_out[0]), held_out[1]) > 0.9


def test_the_inputs_are_left_as_they_were():
    features, labels = patients(12)
    theta = start(LOGISTIC)
    copies = features.copy(), labels.copy(), theta.copy()
    update(parameters=theta, data=(features, labels))
    assert all(np.array_equal(a, b) for a, b in zip((features, labels, theta), copies, strict=True))


@pytest.mark.parametrize(("patients_", "rate", "batch"), [(60, 1.0, 60), (60, 0.5, 30), (10, 0.01, 1), (7, 0.5, 4)])
def test_expected_batch(patients_, rate, batch):
    assert expected_batch(patients=patients_, sampling_rate=rate) == batch


def test_noise_shares_of_the_smallest_group_make_up_the_whole():
    share = noise_share(noise_multiplier=3.0, mode="distributed", local_steps=1, minimum_members=4)
    assert 4 * share**2 == pytest.approx(3.0**2)
    assert noise_share(noise_multiplier=3.0, mode="local", local_steps=5, minimum_members=4) == 3.0


@pytest.mark.parametrize(("steps", "members"), [(2, 3), (1, 0)])
def test_shares_that_would_not_add_up_are_refused(steps, members):
    with pytest.raises(TrainingError, match="mode distributed"):
        noise_share(noise_multiplier=3.0, mode="distributed", local_steps=steps, minimum_members=members)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ((np.zeros((0, 4)), np.zeros(0)), "no patient"),
        ((np.zeros((3, 5)), np.zeros(3)), "do not fit"),
        ((np.zeros((3, 4)), np.zeros(2)), "do not fit"),
        ((np.zeros(4), np.zeros(4)), "do not fit"),
        ((np.full((3, 4), np.nan), np.zeros(3)), "not a finite number"),
        ((np.full((3, 4), np.inf), np.zeros(3)), "not a finite number"),
        ((np.zeros((3, 4)), np.array([0, 1, 2])), "neither 0 nor 1"),
        ((np.zeros((3, 4)), np.array([0, 1, np.nan])), "neither 0 nor 1"),
    ],
)
def test_unusable_patients_are_refused(data, sentence):
    with pytest.raises(TrainingError, match=sentence):
        update(data=data)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": 0.0},
        {"clip": math.nan},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"learning_rate": math.inf},
        {"sampling_rate": 0.0},
        {"sampling_rate": 1.01},
        {"local_steps": 0},
    ],
)
def test_unusable_settings_are_refused(wrong):
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        update(**wrong)


@pytest.mark.parametrize(("spec", "parameters", "feature"), [(LOGISTIC, 100.0, 1e200), (MLP, 1e200, 1.0)])
def test_numbers_that_overflow_never_become_an_update(spec, parameters, feature):
    theta = np.full(parameter_count(spec), parameters)
    with pytest.raises(TrainingError, match="not finite"):
        update(spec, theta, (np.full((2, 4), feature), np.array([1, 0])))


def test_parameters_of_another_model_are_refused():
    with pytest.raises(ModelError, match="takes"):
        update(parameters=np.zeros(3))


def test_warm_up_runs():
    warm_up()


def test_plain_logistic_regression_is_scikit_learns():
    features, labels = patients(200)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(features, labels)
    ours = train_plain(LOGISTIC, features, labels)
    assert ours == pytest.approx(np.r_[theirs.coef_[0], theirs.intercept_], abs=1e-4)


def test_plain_mlp_fits_and_is_deterministic():
    features, labels = patients(200)
    one, two = train_plain(MLP, features, labels, seed=1), train_plain(MLP, features, labels, seed=1)
    assert np.array_equal(one, two)
    assert exact_auc(predict(MLP, one, features), labels) > 0.9
