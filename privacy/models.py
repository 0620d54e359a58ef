"""The models a task may ask for, as one flat vector of float64 parameters that is hashed, encrypted, summed and stored.

Layout of the vector: for each dense layer in order its weight (outputs x inputs, row by row), then its bias.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from privacy.normalisation import InputNormalisation

if TYPE_CHECKING:  # torch takes seconds to import, and commands that only name a model or its digest never need it
    from torch import nn

MAXIMUM_PARAMETERS = 4_000_000
Vector = NDArray[np.float64]


# Tensors of a model file beside the layers, each (inputs,): the file's user computes (input - mean) / deviation.
MEAN_TENSOR, DEVIATION_TENSOR = "normalisation.mean", "normalisation.deviation"


class ModelError(ValueError):
    """A model's description, parameters or file cannot be used; the message says which and why."""


@dataclass(frozen=True)
class ModelSpec:
    """A binary classifier with one logit. `hidden` holds the widths of an MLP's ReLU layers and is empty for logistic regression."""

    kind: Literal["logistic_regression", "mlp"]
    inputs: int
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("logistic_regression", "mlp"):
            raise ModelError(f"model kind {self.kind!r} is unknown; use logistic_regression or mlp")
        if (self.kind == "mlp") != bool(self.hidden):
            raise ModelError("an mlp needs at least one hidden layer, and logistic_regression has none")
        if min(self.inputs, *self.hidden, self.inputs) < 1:
            raise ModelError("every layer of a model needs at least one unit")
        if parameter_count(self) > MAXIMUM_PARAMETERS:
            raise ModelError(f"the model has {parameter_count(self)} parameters; at most {MAXIMUM_PARAMETERS} are allowed")


class SavedModel(NamedTuple):
    """What a model file holds. `normalisation` is None for a model that takes its inputs as their bounds scale them."""

    spec: ModelSpec
    parameters: Vector
    normalisation: InputNormalisation | None


def parameter_count(spec: ModelSpec) -> int:
    return sum(math.prod(shape) for shape in _shapes(spec).values())


def build(spec: ModelSpec) -> "nn.Sequential":
    """The torch module: float64, because every gateway must come to the same sums and small models cost nothing."""
    from torch import float64, nn

    layers: list[nn.Module] = []
    for inputs, outputs in _layers(spec):
        layers += [nn.ReLU()] if layers else []
        layers.append(nn.Linear(inputs, outputs, dtype=float64))
    return nn.Sequential(*layers)


def to_module(spec: ModelSpec, vector: Vector) -> "nn.Sequential":
    """The torch module with the parameters of `vector`; raise ModelError if their number is wrong."""
    from torch import from_numpy, no_grad
    from torch.nn.utils import vector_to_parameters

    module = build(spec)
    with no_grad():
        vector_to_parameters(from_numpy(_checked(spec, vector).copy()), module.parameters())
    return module


def initial_parameters(spec: ModelSpec, *, seed: int) -> Vector:
    """Parameters to start from, the same on every machine: SHAKE-256 of the seed and the layer's name, no library's generator.

    Logistic regression starts at zero, where its loss is ln 2 whatever the features; the layers of an MLP are uniform in
    plus or minus 1/sqrt(inputs), biases zero (as torch.nn.Linear for its weights).
    """
    if spec.kind == "logistic_regression":
        return np.zeros(parameter_count(spec))
    parts: list[Vector] = []
    for name, shape in _shapes(spec).items():
        if len(shape) == 1:
            parts.append(np.zeros(shape))
            continue
        stream = hashlib.shake_256(f"consortium initial parameters {seed} {name}".encode()).digest(8 * math.prod(shape))
        unit = (np.frombuffer(stream, dtype="<u8") >> np.uint64(11)) * 2.0**-53
        parts.append(np.asarray((2.0 * unit - 1.0) / math.sqrt(shape[1]), dtype=np.float64))
    return np.concatenate(parts)


def predict(spec: ModelSpec, vector: Vector, features: ArrayLike) -> Vector:
    """Probabilities of the positive class, shape (patients,), for features of shape (patients, inputs)."""
    from torch import from_numpy, no_grad, sigmoid

    matrix = np.ascontiguousarray(features, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != spec.inputs:
        raise ModelError(f"features have shape {matrix.shape}; the model takes (patients, {spec.inputs})")
    with no_grad():
        probabilities = sigmoid(to_module(spec, vector)(from_numpy(matrix)).squeeze(1))
    return np.asarray(probabilities.numpy(), dtype=np.float64)


def digest(vector: Vector, normalisation: InputNormalisation | None = None) -> str:
    """Lower-case hex SHA-256 of the parameters, and of the normalisation of their inputs, as little-endian float64: how the ledger names
    a model."""
    whole = vector if normalisation is None else np.concatenate([vector, normalisation.vector])
    return hashlib.sha256(np.ascontiguousarray(whole, dtype="<f8").tobytes()).hexdigest()


def to_safetensors(spec: ModelSpec, vector: Vector, metadata: Mapping[str, str], normalisation: InputNormalisation | None = None) -> bytes:
    """The model as a safetensors file with one float64 tensor for each weight and bias, and two for its inputs' normalisation.

    `metadata` goes into the file's header.
    """
    tensors, start = {}, 0
    checked = _checked(spec, vector)
    for name, shape in _shapes(spec).items():
        size = math.prod(shape)
        tensors[name] = checked[start : start + size].reshape(shape)
        start += size
    if normalisation is not None:
        tensors |= {MEAN_TENSOR: normalisation.mean, DEVIATION_TENSOR: normalisation.deviation}
    return save(tensors, metadata=dict(metadata))


def from_safetensors(data: bytes) -> SavedModel:
    """Read what to_safetensors wrote; the shapes tell the model. Raise ModelError for anything else. Never unpickles."""
    if len(data) > 8 * MAXIMUM_PARAMETERS + 2**20:
        raise ModelError(f"the model file has {len(data)} bytes, more than any model of this product")
    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a number type that NumPy lacks
        raise ModelError(f"not a safetensors file: {error}") from error
    normalisation = _normalisation_of(tensors)
    spec = _spec_of(tensors)
    shapes = _shapes(spec)
    if tensors.keys() != shapes.keys() or any(tensors[name].shape != shape for name, shape in shapes.items()):
        raise ModelError("the file's tensors are not the layers of a model of this product")
    if any(tensor.dtype != np.float64 for tensor in tensors.values()):
        raise ModelError("the file's tensors are not all float64")
    if normalisation is not None and normalisation.mean.shape != (spec.inputs,):
        raise ModelError("the file's normalisation is not that of the model's inputs")
    return SavedModel(spec, _checked(spec, np.concatenate([tensors[name].ravel() for name in shapes])), normalisation)


def _normalisation_of(tensors: dict[str, NDArray[np.float64]]) -> InputNormalisation | None:
    """Take the normalisation out of a file's tensors."""
    mean, deviation = tensors.pop(MEAN_TENSOR, None), tensors.pop(DEVIATION_TENSOR, None)
    if mean is None and deviation is None:
        return None
    if mean is None or deviation is None or mean.shape != deviation.shape or {mean.dtype, deviation.dtype} != {np.dtype(np.float64)}:
        raise ModelError("the file's normalisation is not a mean and a standard deviation for each input, in float64")
    try:
        return InputNormalisation.from_vector(np.concatenate([mean.ravel(), deviation.ravel()]))
    except ValueError as error:
        raise ModelError(f"the file's normalisation cannot be used: {error}") from error


def _spec_of(tensors: Mapping[str, NDArray[np.float64]]) -> ModelSpec:
    weights = [tensors[name] for name in sorted(tensors, key=_layer_number) if name.endswith(".weight")]
    if not weights or any(weight.ndim != 2 for weight in weights):
        raise ModelError("the file holds no dense layers")
    hidden = tuple(weight.shape[0] for weight in weights[:-1])
    return ModelSpec("mlp" if hidden else "logistic_regression", weights[0].shape[1], hidden)


def _layer_number(name: str) -> int:
    number = name.partition(".")[0]
    return int(number) if number.isdecimal() else -1


def _layers(spec: ModelSpec) -> list[tuple[int, int]]:
    widths = [spec.inputs, *spec.hidden, 1]
    return list(pairwise(widths))


def _shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Names as in torch's state_dict of `build`: every second module of the sequence is a ReLU."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (inputs, outputs) in enumerate(_layers(spec)):
        shapes[f"{2 * number}.weight"] = (outputs, inputs)
        shapes[f"{2 * number}.bias"] = (outputs,)
    return shapes


def _checked(spec: ModelSpec, vector: Vector) -> Vector:
    parameters = np.ascontiguousarray(vector, dtype=np.float64)
    if parameters.shape != (parameter_count(spec),):
        raise ModelError(f"parameters have shape {parameters.shape}; the model takes ({parameter_count(spec)},)")
    if not np.isfinite(parameters).all():
        raise ModelError("a parameter is not a finite number")
    return parameters
