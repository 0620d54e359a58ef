"""The models a task may ask for, as one flat vector of float64 parameters that is hashed, encrypted, summed and stored.

Layout of the vector: the trained tensors in the order of `tensor_shapes`, each row by row; of a dense model for each layer its weight
(outputs x inputs), then its bias.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from privacy.architectures import Convolutions, Shapes, Transformer
from privacy.architectures import ModelError as ModelError  # where those who use models look for it
from privacy.device import device
from privacy.frozen_base import MAXIMUM_FROZEN, FrozenBase
from privacy.normalisation import InputNormalisation

if TYPE_CHECKING:  # torch takes seconds to import, and commands that only name a model or its digest never need it
    from torch import Tensor, dtype, nn

MAXIMUM_PARAMETERS = 4_000_000
PATIENTS_AT_ONCE = 64
"""How many patients' signals or sequences are in memory together, layer by layer."""
Vector = NDArray[np.float64]
Kind = Literal["logistic_regression", "mlp", "cnn", "transformer"]


# Tensors of a model file beside the layers, each (inputs,): the file's user computes (input - mean) / deviation.
MEAN_TENSOR, DEVIATION_TENSOR = "normalisation.mean", "normalisation.deviation"
ARCHITECTURE = "architecture"
"""Key of the file's header that describes a model whose tensors do not."""


@dataclass(frozen=True)
class ModelSpec:
    """A binary classifier with one logit. `hidden` holds the widths of an MLP's ReLU layers and is empty for every other model.

    With a `base` only a part of the parameters is trained, and is the vector; the others are the base's.
    """

    kind: Kind
    inputs: int
    hidden: tuple[int, ...] = ()
    architecture: Convolutions | Transformer | None = None
    base: FrozenBase | None = None

    def __post_init__(self) -> None:
        wanted = {"cnn": Convolutions, "transformer": Transformer}.get(self.kind)
        if self.kind not in ("logistic_regression", "mlp", "cnn", "transformer"):
            raise ModelError(f"model kind {self.kind!r} is unknown; use logistic_regression, mlp, cnn or transformer")
        if type(self.architecture) is not (wanted or type(None)):
            raise ModelError(f"the architecture of a model of kind {self.kind} is not that of another kind")
        if (self.kind == "mlp") != bool(self.hidden):
            raise ModelError("an mlp needs at least one hidden layer, and no other model has any")
        if min(self.inputs, *self.hidden, self.inputs) < 1:
            raise ModelError("every layer of a model needs at least one unit")
        if self.architecture is not None and self.architecture.block > self.inputs:
            raise ModelError(f"the model reads a block of {self.architecture.block} inputs and has {self.inputs}")
        trained, frozen = _divided(self)
        if not 1 <= _count(trained) <= MAXIMUM_PARAMETERS:
            raise ModelError(f"the model has {_count(trained)} parameters; at least 1 and at most {MAXIMUM_PARAMETERS} are allowed")
        if _count(frozen) > MAXIMUM_FROZEN:
            raise ModelError(f"the model rests on {_count(frozen)} frozen parameters; at most {MAXIMUM_FROZEN} are allowed")


class SavedModel(NamedTuple):
    """What a model file holds. `normalisation` is None for a model that takes its inputs as their bounds scale them."""

    spec: ModelSpec
    parameters: Vector
    normalisation: InputNormalisation | None


def tensor_shapes(spec: ModelSpec) -> Shapes:
    """The trained tensors by name, in the order of the vector: names as in torch's state_dict of `build`."""
    return _divided(spec)[0]


def all_shapes(spec: ModelSpec) -> Shapes:
    """The tensors of the whole model by name, adapters aside: those that a base's file has."""
    if spec.architecture is None:
        return _dense_shapes([spec.inputs, *spec.hidden, 1])
    return spec.architecture.shapes(spec.inputs - spec.architecture.block)


def parameter_count(spec: ModelSpec) -> int:
    return _count(tensor_shapes(spec))


def at_once(spec: ModelSpec, patients: int) -> Iterator[slice]:
    """Rows that are computed with together: all of a dense model's."""
    size = patients if spec.architecture is None else PATIENTS_AT_ONCE
    for start in range(0, patients, max(size, 1)):
        yield slice(start, start + size)


def number_type(spec: ModelSpec) -> "dtype":
    """Small models cost nothing in double precision; a large base is computed with in half of the time and memory in single."""
    from torch import float32, float64

    return float64 if spec.base is None else float32


def check_base(spec: ModelSpec) -> None:
    """Raise ModelError unless the base's file is there, is the one that is named, and fits the model."""
    _frozen(spec)


def build(spec: ModelSpec) -> "nn.Module":
    """The torch module, with parameters that torch chose."""
    from privacy import modules

    others = spec.inputs - (0 if spec.architecture is None else spec.architecture.block)
    match spec.architecture:
        case Convolutions():
            return modules.ConvolutionalNetwork(spec.architecture, others, number_type(spec))
        case Transformer():
            rank = 0 if spec.base is None else spec.base.adapter_rank
            return modules.Encoder(spec.architecture, others, rank, number_type(spec))
        case None:
            return modules.dense([spec.inputs, *spec.hidden, 1], number_type(spec))


def to_module(spec: ModelSpec, vector: Vector) -> "nn.Module":
    """The torch module with the parameters of `vector` and of the base; only the former ask for gradients.

    Raises ModelError if the number of parameters is wrong, or the base is not at hand or does not fit.
    """
    import torch

    trained = {name: torch.from_numpy(part.copy()).to(number_type(spec)) for name, part in _parts(spec, vector).items()}
    state: dict[str, torch.Tensor] = trained | _frozen(spec)
    with torch.device("meta"):  # no memory, and no numbers that torch would draw
        module = build(spec)
    module.load_state_dict(state, assign=True)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
    return module.to(device())


def initial_parameters(spec: ModelSpec, *, seed: int) -> Vector:
    """Parameters to start from, the same on every machine: SHAKE-256 of the seed and the layer's name, no library's generator.

    Logistic regression starts at zero, where its loss is ln 2 whatever the features; weights of other models are uniform in
    plus or minus 1/sqrt(inputs of the unit), biases zero (as torch's layers for their weights), normalisations one. Trained layers of a
    base start from its values where it has them in the same shape, and adapters change nothing at first.
    """
    if spec.kind == "logistic_regression" and spec.base is None:
        return np.zeros(parameter_count(spec))
    known = {} if spec.base is None else spec.base.tensors()
    parts: list[Vector] = []
    for name, shape in tensor_shapes(spec).items():
        if name in known and tuple(known[name].shape) == shape:
            parts.append(np.asarray(known[name].numpy(), dtype=np.float64).ravel())
        else:
            parts.append(_initial(name, shape, seed).ravel())
    return np.concatenate(parts)


def predict(spec: ModelSpec, vector: Vector, features: ArrayLike) -> Vector:
    """Probabilities of the positive class, shape (patients,), for features of shape (patients, inputs)."""
    from torch import from_numpy, no_grad, sigmoid

    matrix = np.ascontiguousarray(features, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != spec.inputs:
        raise ModelError(f"features have shape {matrix.shape}; the model takes (patients, {spec.inputs})")
    module, found = to_module(spec, vector), np.empty(len(matrix))
    with no_grad():
        for rows in at_once(spec, len(matrix)):
            logits = module(from_numpy(matrix[rows]).to(device(), number_type(spec))).squeeze(1)
            found[rows] = sigmoid(logits.double()).cpu().numpy()
    return found


def digest(vector: Vector, normalisation: InputNormalisation | None = None) -> str:
    """Lower-case hex SHA-256 of the parameters, and of the normalisation of their inputs, as little-endian float64: how the ledger names
    a model."""
    whole = vector if normalisation is None else np.concatenate([vector, normalisation.vector])
    return hashlib.sha256(np.ascontiguousarray(whole, dtype="<f8").tobytes()).hexdigest()


def to_safetensors(spec: ModelSpec, vector: Vector, metadata: Mapping[str, str], normalisation: InputNormalisation | None = None) -> bytes:
    """The model as a safetensors file with one float64 tensor for each trained weight and bias, and two for its inputs' normalisation.

    `metadata` goes into the file's header, and the architecture beside it where the tensors do not tell it. Of a base only its digest
    is in the file.
    """
    tensors = _parts(spec, vector)
    if normalisation is not None:
        tensors |= {MEAN_TENSOR: normalisation.mean, DEVIATION_TENSOR: normalisation.deviation}
    described = {} if _is_told_by_tensors(spec) else {ARCHITECTURE: _SPEC.dump_json(spec, exclude={"base": {"file"}}).decode()}
    return save(tensors, metadata=dict(metadata) | described)


def from_safetensors(data: bytes) -> SavedModel:
    """Read what to_safetensors wrote. Raise ModelError for anything else. Never unpickles."""
    if len(data) > 8 * MAXIMUM_PARAMETERS + 2**20:
        raise ModelError(f"the model file has {len(data)} bytes, more than any model of this product")
    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a number type that NumPy lacks
        raise ModelError(f"not a safetensors file: {error}") from error
    normalisation = _normalisation_of(tensors)
    described = _header(data).get(ARCHITECTURE)
    spec = _dense_spec(tensors) if described is None else _described_spec(described)
    shapes = tensor_shapes(spec)
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


def _header(data: bytes) -> dict[str, str]:
    """The texts in the header of a file that `load` has read."""
    length = int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    return found


def _described_spec(text: str) -> ModelSpec:
    try:
        spec = _SPEC.validate_json(text, strict=True)
    except ValidationError as error:
        raise ModelError(f"the file's architecture cannot be used: {error.errors(include_url=False)[0]['msg']}") from error
    # A stranger's file names no file of this machine.
    return spec if spec.base is None else replace(spec, base=replace(spec.base, file=None))


def _is_told_by_tensors(spec: ModelSpec) -> bool:
    return spec.architecture is None and spec.base is None


def _dense_spec(tensors: Mapping[str, NDArray[np.float64]]) -> ModelSpec:
    weights = [tensors[name] for name in sorted(tensors, key=_layer_number) if name.endswith(".weight")]
    if not weights or any(weight.ndim != 2 for weight in weights):
        raise ModelError("the file holds no dense layers")
    hidden = tuple(weight.shape[0] for weight in weights[:-1])
    return ModelSpec("mlp" if hidden else "logistic_regression", weights[0].shape[1], hidden)


def _layer_number(name: str) -> int:
    number = name.partition(".")[0]
    return int(number) if number.isdecimal() else -1


def _divided(spec: ModelSpec) -> tuple[Shapes, Shapes]:
    """Trained and frozen tensors."""
    shapes = all_shapes(spec)
    return (shapes, {}) if spec.base is None else spec.base.divide(shapes, spec.architecture)


def _dense_shapes(widths: list[int]) -> Shapes:
    """Every second module of the sequence is a ReLU."""
    shapes: Shapes = {}
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes |= {f"{2 * number}.weight": (outputs, inputs), f"{2 * number}.bias": (outputs,)}
    return shapes


def _count(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _frozen(spec: ModelSpec) -> "dict[str, Tensor]":
    """The base's tensors that are not trained."""
    if spec.base is None:
        return {}
    known, wanted = spec.base.tensors(), _divided(spec)[1]
    for name, shape in wanted.items():
        if name not in known or tuple(known[name].shape) != shape:
            there = f"has it as {tuple(known[name].shape)}" if name in known else "has none"
            raise ModelError(f"the base {spec.base.digest} does not fit the model, which needs {name} as {shape}: the file {there}")
    return {name: known[name] for name in wanted}


def _initial(name: str, shape: tuple[int, ...], seed: int) -> Vector:
    if len(shape) == 1:
        return np.ones(shape) if name.endswith("norm.weight") else np.zeros(shape)
    if name.endswith(".up.weight"):
        return np.zeros(shape)
    stream = hashlib.shake_256(f"consortium initial parameters {seed} {name}".encode()).digest(8 * math.prod(shape))
    unit = (np.frombuffer(stream, dtype="<u8") >> np.uint64(11)) * 2.0**-53
    return np.asarray((2.0 * unit - 1.0) / math.sqrt(math.prod(shape[1:])), dtype=np.float64)


def _parts(spec: ModelSpec, vector: Vector) -> dict[str, Vector]:
    """The trained tensors; raise ModelError if the vector has not their length."""
    shapes = tensor_shapes(spec)
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = np.split(_checked(spec, vector), ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _checked(spec: ModelSpec, vector: Vector) -> Vector:
    parameters = np.ascontiguousarray(vector, dtype=np.float64)
    if parameters.shape != (parameter_count(spec),):
        raise ModelError(f"parameters have shape {parameters.shape}; the model takes ({parameter_count(spec)},)")
    if not np.isfinite(parameters).all():
        raise ModelError("a parameter is not a finite number")
    return parameters


_SPEC = TypeAdapter(ModelSpec)
