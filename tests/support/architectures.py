"""One small model of every architecture, and patients for it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from privacy.architectures import Convolutions, Transformer
from privacy.frozen_base import FrozenBase, base_file
from privacy.models import ModelSpec, initial_parameters

SIGNAL = ModelSpec("cnn", 23, architecture=Convolutions((10,), 2, (3, 4), 3))
IMAGE = ModelSpec("cnn", 32, architecture=Convolutions((5, 6), 1, (3, 2), 5))
LONG_SIGNAL = ModelSpec("cnn", 64, architecture=Convolutions((64,), 1, (2,), 3))
"""With more places than inputs times outputs of a layer."""
VISITS = ModelSpec("transformer", 22, architecture=Transformer(steps=5, channels=4, dimension=8, heads=2, blocks=2))
ALL = {
    "logistic regression": ModelSpec("logistic_regression", 4),
    "mlp": ModelSpec("mlp", 4, (5, 3)),
    "signal": SIGNAL,
    "image": IMAGE,
    "long signal": LONG_SIGNAL,
    "visits": VISITS,
}


def patients(spec: ModelSpec, count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels; a transformer's patients have from no step to all of them, at the end."""
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-1, 1, (count, spec.inputs))
    if isinstance(spec.architecture, Transformer):
        shape = spec.architecture
        steps = inputs[:, : shape.block].reshape(count, shape.steps, shape.channels)
        there = np.arange(shape.steps) >= shape.steps - rng.integers(0, shape.steps + 1, count)[:, None]
        steps *= there[:, :, None]
        steps[:, :, 0] = there
    return inputs, rng.integers(0, 2, count).astype(float)


def parameters(spec: ModelSpec) -> np.ndarray:
    """Away from the start, where some gradients are zero."""
    start = initial_parameters(spec, seed=3)
    return start + np.random.default_rng(7).normal(0, 0.2, len(start))


def write_base(folder: Path, tensors: Mapping[str, np.ndarray]) -> tuple[str, Path]:
    """A base's file where a gateway looks for it, and its digest."""
    data = save(dict(tensors))
    digest = hashlib.sha256(data).hexdigest()
    path = base_file(folder, digest)
    path.write_bytes(data)
    return digest, path


def based(spec: ModelSpec, folder: Path, trained: tuple[str, ...], rank: int = 0, **changes: np.ndarray | None) -> ModelSpec:
    """The model on a base with random tensors, but for `changes` by name (with __ for a dot); None leaves one out."""
    assert spec.architecture is not None
    rng = np.random.default_rng(5)
    shapes = spec.architecture.shapes(spec.inputs - spec.architecture.block)
    tensors = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in changes.items():
        tensors.pop(name.replace("__", "."))
        if tensor is not None:
            tensors[name.replace("__", ".")] = tensor
    digest, file = write_base(folder, tensors)
    return ModelSpec(spec.kind, spec.inputs, architecture=spec.architecture, base=FrozenBase(digest, trained, rank, file))
