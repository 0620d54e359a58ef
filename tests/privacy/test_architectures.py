"""Named architectures: tables of tensors against torch's modules, what they compute, what is refused, and their files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from privacy import training
from privacy.architectures import Convolutions, ModelError, Transformer
from privacy.evaluation import exact_auc
from privacy.models import (
    ModelSpec,
    build,
    digest,
    from_safetensors,
    initial_parameters,
    parameter_count,
    predict,
    tensor_shapes,
    to_safetensors,
)
from privacy.training import train_plain
from tests.support.architectures import ALL, IMAGE, SIGNAL, VISITS, parameters, patients

BLOCKS = [SIGNAL, IMAGE, VISITS]


@pytest.mark.parametrize("name", ALL)
def test_the_tables_are_those_of_the_modules(name: str) -> None:
    module = build(ALL[name])
    assert {key: tuple(each.shape) for key, each in module.named_parameters()} == tensor_shapes(ALL[name])
    assert list(tensor_shapes(ALL[name])) == [key for key, _ in module.named_parameters()] == list(module.state_dict())
    assert all(each.dtype == torch.float64 for each in module.parameters())


def test_convolutions_by_hand() -> None:
    """One filter of width 3 with stride 2 over four places, padded with a zero: places 0 and 2 are its middles."""
    spec = ModelSpec("cnn", 5, architecture=Convolutions((4,), 1, (1,), 3))
    kernel, bias, output = np.array([1.0, 2.0, 4.0]), 0.5, np.array([3.0, -1.0, 0.25])
    signal, other = np.array([1.0, -2.0, 0.5, 3.0]), 2.0
    padded = np.r_[0.0, signal, 0.0]
    places = [max(0.0, padded[start : start + 3] @ kernel + bias) for start in (0, 2)]
    logit = output[0] * np.mean(places) + output[1] * other + output[2]
    vector = np.r_[kernel, bias, output]
    assert predict(spec, vector, [[*signal, other]]) == pytest.approx(1 / (1 + np.exp(-logit)))


def test_an_image_is_read_row_by_row() -> None:
    vector, image = parameters(IMAGE), patients(IMAGE, 1)[0]
    picture = torch.from_numpy(image[:, :30].reshape(1, 1, 5, 6))
    names = list(tensor_shapes(IMAGE))
    ends = np.cumsum([np.prod(shape) for shape in tensor_shapes(IMAGE).values()])[:-1].astype(int)
    found = dict(zip(names, (torch.from_numpy(part) for part in np.split(vector, ends)), strict=True))
    for number, shape in enumerate([(3, 1, 5, 5), (2, 3, 5, 5)]):
        weight, bias = found[f"convolutions.{number}.weight"].reshape(shape), found[f"convolutions.{number}.bias"]
        picture = torch.relu(torch.nn.functional.conv2d(picture, weight, bias, stride=2, padding=2))
    joined = torch.cat([picture.mean((2, 3)), torch.from_numpy(image[:, 30:])], dim=1)
    logit = (joined @ found["output.weight"] + found["output.bias"]).item()
    assert predict(IMAGE, vector, image) == pytest.approx(1 / (1 + np.exp(-logit)))


def test_what_stands_in_steps_that_are_not_there_changes_nothing() -> None:
    inputs, _ = patients(VISITS, 20)
    steps = inputs[:, :20].reshape(20, 5, 4)
    changed = inputs.copy()
    absent = np.where(steps[:, :, :1] == 0, 9.0, steps)
    absent[:, :, 0] = steps[:, :, 0]
    changed[:, :20] = absent.reshape(20, 20)
    assert not np.array_equal(changed, inputs)
    assert predict(VISITS, parameters(VISITS), changed) == pytest.approx(predict(VISITS, parameters(VISITS), inputs))


def test_a_patient_without_any_step_is_judged_by_the_other_inputs() -> None:
    vector, inputs = parameters(VISITS), np.zeros((1, 22))
    inputs[0, 20:] = [0.5, -0.25]
    weight = vector[-11:-1]
    assert predict(VISITS, vector, inputs) == pytest.approx(1 / (1 + np.exp(-(weight[8:] @ [0.5, -0.25] + vector[-1]))))


def test_the_order_of_steps_matters() -> None:
    inputs = np.random.default_rng(0).uniform(-1, 1, (1, 22))
    inputs[0, :20:4] = 1.0
    swapped = inputs.copy()
    swapped[0, :20] = inputs[0, :20].reshape(5, 4)[::-1].ravel()
    assert predict(VISITS, parameters(VISITS), swapped) != pytest.approx(predict(VISITS, parameters(VISITS), inputs))


@pytest.mark.parametrize("spec", BLOCKS)
def test_a_patient_is_judged_alone(spec: ModelSpec) -> None:
    """Nothing in a model mixes patients, on which the clipping of single gradients rests."""
    inputs, _ = patients(spec, 70)
    together = predict(spec, parameters(spec), inputs)
    alone = np.concatenate([predict(spec, parameters(spec), row[None]) for row in inputs])
    assert together == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize("spec", BLOCKS)
def test_a_model_starts_from_the_hash_of_its_seed(spec: ModelSpec) -> None:
    one, two = initial_parameters(spec, seed=1), initial_parameters(spec, seed=2)
    assert digest(one) == digest(initial_parameters(spec, seed=1)) != digest(two)
    assert np.abs(one).max() <= 1.0 and len(one) == parameter_count(spec)


def test_a_cnn_and_a_transformer_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bump in a signal, and the last step's value: neither is linear in the inputs."""
    monkeypatch.setattr(training, "PLAIN_STEPS", 60)
    monkeypatch.setattr(training, "PLAIN_RATE", 1e-2)
    rng = np.random.default_rng(0)
    signals = rng.normal(0, 0.3, (300, 20))
    bumped = rng.integers(0, 2, 300)
    for row in np.flatnonzero(bumped):
        place = rng.integers(0, 16)
        signals[row, place : place + 4] += 2.0
    cnn = ModelSpec("cnn", 20, architecture=Convolutions((20,), 1, (8,), 3))
    assert exact_auc(predict(cnn, train_plain(cnn, signals, bumped), signals), bumped) > 0.95

    inputs, _ = patients(VISITS, 300)
    last = inputs[:, 16:20]
    rising = (last[:, 0] * (last[:, 1] > 0)).astype(int)
    assert exact_auc(predict(VISITS, train_plain(VISITS, inputs, rising), inputs), rising) > 0.9


@pytest.mark.parametrize("spec", BLOCKS)
def test_files_round_trip(spec: ModelSpec) -> None:
    data = to_safetensors(spec, parameters(spec), {"task": "t"})
    read, vector, normalisation = from_safetensors(data)
    assert read == spec and np.array_equal(vector, parameters(spec)) and normalisation is None
    assert load(data).keys() == tensor_shapes(spec).keys()


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        ("{", "architecture cannot be used"),
        ("[]", "architecture cannot be used"),
        ({"kind": "cnn"}, "architecture cannot be used"),
        ({"kind": "recurrent"}, "architecture cannot be used"),
        ({"kind": "cnn", "inputs": "23", "hidden": [], "architecture": None, "base": None}, "architecture cannot be used"),
        ({"kind": "cnn", "inputs": 23, "hidden": [], "architecture": None, "base": None}, "not that of another kind"),
        ({"kind": "cnn", "inputs": 23, "hidden": [], "architecture": [], "base": None}, "architecture cannot be used"),
        ({"kind": "mlp", "inputs": 10**9, "hidden": [10**9], "architecture": None, "base": None}, "at most"),
    ],
)
def test_descriptions_that_cannot_be_used_are_refused(described: object, sentence: str) -> None:
    text = described if isinstance(described, str) else json.dumps(described)
    data = save(load(to_safetensors(SIGNAL, parameters(SIGNAL), {})), metadata={"architecture": text})
    with pytest.raises(ModelError, match=sentence):
        from_safetensors(data)


def test_a_description_of_other_tensors_is_refused() -> None:
    data = save(load(to_safetensors(SIGNAL, parameters(SIGNAL), {})), metadata=metadata_of(IMAGE))
    with pytest.raises(ModelError, match="not the layers"):
        from_safetensors(data)


def metadata_of(spec: ModelSpec) -> dict[str, str]:
    data = to_safetensors(spec, parameters(spec), {})
    found: dict[str, str] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return found


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shape": ()}, "one or two dimensions"),
        ({"shape": (2, 2, 2)}, "one or two dimensions"),
        ({"shape": (0,)}, "one or two dimensions"),
        ({"shape": (200, 200)}, "at most 16384 numbers"),
        ({"channels": 0}, "one or two dimensions"),
        ({"filters": ()}, "1 to 6 convolutions"),
        ({"filters": (1,) * 7}, "1 to 6 convolutions"),
        ({"filters": (257,)}, "1 to 256 filters"),
        ({"kernel": 4}, "odd"),
        ({"kernel": 1}, "at least 3"),
        ({"kernel": 17}, "at most 15"),
    ],
)
def test_convolutions_have_bounds(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        replace(Convolutions((10,), 2, (3, 4), 3), **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps of a transformer"),
        ({"steps": 257}, "steps of a transformer"),
        ({"channels": 513}, "channels of a transformer"),
        ({"dimension": 2048}, "dimension of a transformer"),
        ({"dimension": 10}, "multiple of twice"),
        ({"heads": 17}, "heads of a transformer"),
        ({"blocks": 25}, "blocks of a transformer"),
    ],
)
def test_transformers_have_bounds(changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        replace(Transformer(steps=5, channels=4, dimension=8, heads=2, blocks=2), **changes)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (lambda: ModelSpec("cnn", 20, architecture=VISITS.architecture), "not that of another kind"),
        (lambda: ModelSpec("mlp", 30, (2,), SIGNAL.architecture), "not that of another kind"),
        (lambda: ModelSpec("cnn", 20, (3,), SIGNAL.architecture), "no other model has any"),
        (lambda: ModelSpec("cnn", 19, architecture=SIGNAL.architecture), "reads a block of 20 inputs and has 19"),
        (lambda: ModelSpec("transformer", 8, architecture=Transformer(2, 4, 1024, 4, 2)), "at most 4000000"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(spec, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        spec()
