"""A large model of which a task trains little: parameters that stay as a safetensors file has them, the same in every hospital.

The task names the file by its digest. Each hospital puts its copy where its gateway looks for it; the file is never unpickled, and never
leaves the hospital.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from privacy.architectures import ModelError, Shapes, Transformer, adapter_shapes

if TYPE_CHECKING:
    from torch import Tensor

MAXIMUM_FROZEN = 250_000_000
MAXIMUM_RANK = 64


@dataclass(frozen=True)
class FrozenBase:
    """Which file the parameters are from, and what is trained beside them.

    `trained` names layers whose parameters are trained, from the file's values where it has them in the same shape. An `adapter_rank`
    above 0 adds low-rank adapters to the layers that the architecture names.
    """

    digest: str
    trained: tuple[str, ...]
    adapter_rank: int = 0
    file: Path | None = field(default=None, compare=False)
    """Where this hospital has it; None where only sizes are asked for."""

    def __post_init__(self) -> None:
        if len(self.digest) != 64 or not set(self.digest) <= set("0123456789abcdef"):
            raise ModelError("the digest of a base is the SHA-256 of its file, 64 lower-case hexadecimal digits")
        if not 0 <= self.adapter_rank <= MAXIMUM_RANK:
            raise ModelError(f"the rank of adapters is {self.adapter_rank}; it must be at most {MAXIMUM_RANK}")

    def divide(self, shapes: Shapes, architecture: object) -> tuple[Shapes, Shapes]:
        """Trained and frozen tensors of a model that has `shapes`, each in the model's order."""
        layers = {name.rpartition(".")[0] for name in shapes}
        for wanted in self.trained:
            if not any(_within(layer, wanted) for layer in layers):
                raise ModelError(f"the model has no layer {wanted!r} to train; its layers are {', '.join(sorted(layers))}")
        chosen = {name for name in shapes if any(_within(name.rpartition(".")[0], wanted) for wanted in self.trained)}
        adapted = self._adapted(architecture)
        trained: Shapes = {}
        for name, shape in shapes.items():
            if name in chosen:
                trained[name] = shape
            layer, _, kind = name.rpartition(".")
            if kind == "bias" and layer in adapted:
                outputs, inputs = shapes[f"{layer}.weight"]
                trained |= adapter_shapes(layer, inputs, outputs, self.adapter_rank)
        return trained, {name: shape for name, shape in shapes.items() if name not in chosen}

    def tensors(self) -> "Mapping[str, Tensor]":
        """Everything in the file in single precision; raise ModelError where it is missing, another one, or no safetensors file."""
        if self.file is None:
            raise ModelError(f"the model rests on the base {self.digest}, whose file is not at hand; name the folder that holds it")
        return _tensors(self.file, self.digest)

    def _adapted(self, architecture: object) -> tuple[str, ...]:
        if not self.adapter_rank:
            return ()
        if not isinstance(architecture, Transformer):
            raise ModelError("adapters belong to a transformer; name the layers to train of another model")
        return architecture.adapted()


def base_file(folder: Path, digest: str) -> Path:
    """Where a hospital keeps the base with this digest."""
    return folder / f"{digest}.safetensors"


def _within(layer: str, wanted: str) -> bool:
    return layer == wanted or layer.startswith(f"{wanted}.")


@lru_cache(maxsize=1)  # a round opens the same base several times, and to check its digest is to read all of it
def _tensors(file: Path, digest: str) -> "Mapping[str, Tensor]":
    from safetensors.torch import load_file

    try:
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != digest:
            raise ModelError(f"{file} has the digest {found}; put the base with the digest {digest} there")
        tensors = load_file(file)
    except OSError as error:
        raise ModelError(f"cannot read the base {file}: {error.strerror}; put the file with the digest {digest} there") from error
    except SafetensorError as error:
        raise ModelError(f"{file} is not a safetensors file: {error}") from error
    if not all(tensor.is_floating_point() for tensor in tensors.values()):
        raise ModelError(f"{file} holds tensors that are not of floating-point numbers")
    return {name: tensor.float() for name, tensor in tensors.items()}
