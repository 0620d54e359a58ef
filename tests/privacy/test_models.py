"""Models as vectors and files: the layout is torch's, files round-trip, and nothing else is accepted."""

import hashlib
import math
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from safetensors.torch import load as torch_load

from privacy.models import (
    MAXIMUM_PARAMETERS,
    ModelError,
    ModelSpec,
    build,
    digest,
    from_safetensors,
    initial_parameters,
    parameter_count,
    predict,
    to_module,
    to_safetensors,
)

LOGISTIC = ModelSpec("logistic_regression", 3)
MLP = ModelSpec("mlp", 3, (4, 2))
specs = st.one_of(
    st.builds(ModelSpec, st.just("logistic_regression"), st.integers(1, 20)),
    st.builds(ModelSpec, st.just("mlp"), st.integers(1, 20), st.lists(st.integers(1, 9), min_size=1, max_size=12).map(tuple)),
)


@given(specs)
def test_the_count_is_that_of_the_module(spec):
    assert parameter_count(spec) == sum(parameter.numel() for parameter in build(spec).parameters())


def test_the_vector_fills_the_layers_in_order():
    module = to_module(MLP, np.arange(float(parameter_count(MLP))))
    state = module.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    assert state["0.weight"].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]] and state["0.bias"].tolist() == [12, 13, 14, 15]
    assert state["4.bias"].tolist() == [28] and all(tensor.dtype == torch.float64 for tensor in state.values())


def test_the_module_does_not_share_memory_with_the_vector():
    vector = np.zeros(4)
    module = to_module(LOGISTIC, vector)
    with torch.no_grad():
        next(module.parameters()).fill_(1.0)
    assert not vector.any()


def test_prediction_by_hand():
    vector = np.linspace(-1, 1, parameter_count(MLP))
    features = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    hidden = np.maximum(features @ vector[:12].reshape(4, 3).T + vector[12:16], 0)
    hidden = np.maximum(hidden @ vector[16:24].reshape(2, 4).T + vector[24:26], 0)
    logits = hidden @ vector[26:28] + vector[28]
    assert predict(MLP, vector, features) == pytest.approx(1 / (1 + np.exp(-logits)))


def test_logistic_regression_starts_undecided():
    assert predict(LOGISTIC, initial_parameters(LOGISTIC, seed=5), [[1.0, -2.0, 3.0]]).tolist() == [0.5]


def test_an_mlp_starts_from_the_hash_of_its_seed():
    vector = initial_parameters(MLP, seed=5)
    first = hashlib.shake_256(b"consortium initial parameters 5 0.weight").digest(8)
    assert vector[0] == (2 * (int.from_bytes(first, "little") // 2**11 / 2**53) - 1) / math.sqrt(3)
    assert not vector[12:16].any() and np.abs(vector[16:24]).max() <= 1 / math.sqrt(4)
    assert digest(vector) == "da332084556bc1d72c26026ad5660bf6341848af6558ab98bdb7dc9f83b64499"  # the same on every machine
    assert digest(initial_parameters(MLP, seed=6)) != digest(vector)


def test_the_digest_is_of_little_endian_doubles():
    vector = np.array([1.5, -2.0])
    assert digest(vector) == hashlib.sha256(struct.pack("<2d", 1.5, -2.0)).hexdigest() == digest(vector.astype(">f8"))


@given(specs, st.integers(0, 2**32))
def test_files_round_trip(spec, seed):
    vector = np.random.default_rng(seed).normal(size=parameter_count(spec))
    read_spec, read, _ = from_safetensors(to_safetensors(spec, vector, {"task": "t"}))
    assert read_spec == spec and digest(read) == digest(vector)


def test_torch_loads_the_file_into_the_module():
    vector = np.linspace(0, 1, parameter_count(MLP))
    module = build(MLP)
    module.load_state_dict(torch_load(to_safetensors(MLP, vector, {})))
    assert torch.nn.utils.parameters_to_vector(module.parameters()).tolist() == vector.tolist()


def tensors(**changes: np.ndarray) -> bytes:
    layers = {"0.weight": np.zeros((4, 3)), "0.bias": np.zeros(4), "2.weight": np.zeros((1, 4)), "2.bias": np.zeros(1)}
    return save(layers | {name.replace("_", "."): value for name, value in changes.items()})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not a safetensors file"),
        (pickle.dumps({"0.weight": [1.0]}), "not a safetensors file"),
        (tensors()[:-1], "not a safetensors file"),
        (tensors() + b"\0", "not a safetensors file"),
        (struct.pack("<Q", 2**60), "not a safetensors file"),
        (bytes(8 * MAXIMUM_PARAMETERS + 2**20 + 1), "more than any model"),
        (save({}), "no dense layers"),
        (save({"0.weight": np.zeros(3)}), "no dense layers"),
        (tensors(**{"1_weight": np.zeros((1, 4))}), "not the layers"),
        (tensors(**{"2_weight": np.zeros((1, 5))}), "not the layers"),
        (tensors(**{"2_weight": np.zeros((2, 4))}), "not the layers"),
        (tensors(**{"0_bias": np.zeros(5)}), "not the layers"),
        (tensors(**{"..-.-weight": np.zeros((1, 1))}), "not the layers"),
        (tensors(**{"0_weight": np.zeros((4, 3), dtype=np.float32)}), "not all float64"),
        (tensors(**{"0_weight": np.full((4, 3), np.nan)}), "not a finite number"),
        (save({"0.weight": np.zeros((1, 0)), "0.bias": np.zeros(1)}), "at least one unit"),
    ],
)
def test_other_files_are_refused(data, sentence):
    with pytest.raises(ModelError, match=sentence):
        from_safetensors(data)


@pytest.mark.parametrize(
    ("kind", "inputs", "hidden"),
    [
        ("transformer", 3, ()),
        ("logistic_regression", 0, ()),
        ("logistic_regression", 3, (2,)),
        ("mlp", 3, ()),
        ("mlp", 3, (4, 0)),
        ("mlp", 1000, (4000,)),
    ],
)
def test_impossible_models_are_refused(kind, inputs, hidden):
    with pytest.raises(ModelError):
        ModelSpec(kind, inputs, hidden)


@pytest.mark.parametrize("vector", [np.zeros(5), np.zeros((2, 2)), np.full(4, np.nan)])
def test_parameters_that_do_not_fit_are_refused(vector):
    for use in (lambda: to_module(LOGISTIC, vector), lambda: to_safetensors(LOGISTIC, vector, {})):
        with pytest.raises(ModelError):
            use()


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="features have shape"):
        predict(LOGISTIC, np.zeros(4), np.zeros((2, 5)))


def test_commands_that_never_train_do_not_load_torch():
    modules = "privacy.accounting, privacy.evaluation, privacy.models, privacy.noise, privacy.robust, privacy.scoring, privacy.training"
    heavy = "{'torch', 'opacus', 'dp_accounting', 'scipy', 'sklearn'}"
    code = f"import sys, {modules}; print(*({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
