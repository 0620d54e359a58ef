"""Ghost clipping: the sum of every patient's clipped gradient, from one backward pass and without holding any patient's gradient.

A layer's gradient for one patient is a product of what went into the layer and of the loss's derivative by what came out. Both are known
after one backward pass over the activations, so that norms need no gradients (Li et al. 2022, arXiv:2110.05679), and the weighted sum is
one more product (book-keeping: Bu et al. 2023, arXiv:2210.00038). Of a layer with many places a patient's gradient is made where that is
less work than the products of all pairs of places (mixed ghost clipping: Bu et al. 2022, arXiv:2205.10683). All of it is exact.
Importing this module loads torch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Tensors = dict[str, Tensor]

ROUNDING = 2.0**-40
"""More than the relative error of a sum of products, in units of the sum of their absolute values: 2^-53 for each of the summands."""


class GhostClipping:
    """Clipped gradients of a module's trained parameters: those that ask for gradients, none of which is shared by layers.

    Takes the parameters out of torch's own differentiation, which would give the sum before it is clipped.
    """

    def __init__(self, module: nn.Module) -> None:
        """Raise TypeError for a layer with trained parameters and no rule here."""
        self._module = module
        self._names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        trained = set(self._names)
        self._layers: dict[str, _Layer] = {}
        for name, layer in module.named_modules():
            own = {kind for kind, _ in layer.named_parameters(recurse=False) if f"{name}.{kind}" in trained}
            if own:
                self._layers[name] = _layer(layer, own)
        for parameter in module.parameters():
            parameter.requires_grad_(False)

    def clipped_sum(self, inputs: Tensor, targets: Tensor, *, clip: float) -> Tensor:
        """Sum over patients of their gradients of the logistic loss, each cut to Euclidean norm `clip`: (trained parameters,), float64.

        The bound holds in double precision, whatever the module computes in. All of it is NaN where a patient's norm is not finite.
        """
        with self._recorded() as recorded:
            logits = self._module(inputs).squeeze(1)
            loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
            slopes = torch.autograd.grad(loss, [output for _, output in recorded.values()])
        passed = {
            name: (self._layers[name].places(entered.double()), self._layers[name].slopes(slope.double()))
            for (name, (entered, _)), slope in zip(recorded.items(), slopes, strict=True)
        }
        squares = torch.stack([self._layers[name].squared_norms(*each) for name, each in passed.items()]).sum(0)
        norms = squares.sqrt()
        # Of an infinite norm the factor would be 0, and nobody would learn that the model has diverged.
        factors = torch.where(norms.isfinite(), (clip / norms).clamp(max=1.0), torch.nan)
        found: Tensors = {}
        for name, (entered, slope) in passed.items():
            for kind, total in self._layers[name].total(entered, slope * factors[:, None, None]).items():
                found[f"{name}.{kind}"] = total
        return torch.cat([found[name].flatten() for name in self._names])

    def descend(self, step: Tensor) -> None:
        """Move the trained parameters by minus `step` (trained parameters,)."""
        known = dict(self._module.named_parameters())
        parameters = [known[name] for name in self._names]
        with torch.no_grad():
            for parameter, part in zip(parameters, torch.split(step, [each.numel() for each in parameters]), strict=True):
                parameter.sub_(part.view_as(parameter).to(parameter))

    def _recorded(self) -> "_Recorder":
        return _Recorder({name: layer.module for name, layer in self._layers.items()})


class _Recorder:
    """While it is entered: layer → what went into it and what came out, in the order in which they ran."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        self._layers = layers
        self._handles: list[Any] = []

    def __enter__(self) -> dict[str, tuple[Tensor, Tensor]]:
        recorded: dict[str, tuple[Tensor, Tensor]] = {}
        for name, layer in self._layers.items():

            def record(_: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> None:
                # Below the first trained layer nothing asks for gradients, and torch keeps nothing.
                if not output.requires_grad:
                    output.requires_grad_()
                recorded[name] = (inputs[0].detach(), output)

            self._handles.append(layer.register_forward_hook(record))
        return recorded

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


class _Layer:
    """How a dense layer's gradients follow from what entered, (patients, places, inputs), and the slopes, (patients, places, outputs)."""

    def __init__(self, module: Any, trained: set[str]) -> None:
        self.module = module
        self.trained = trained

    def places(self, entered: Tensor) -> Tensor:
        """What entered, place by place; a layer over single vectors has one place."""
        return entered.reshape(len(entered), -1, entered.shape[-1])

    def slopes(self, slope: Tensor) -> Tensor:
        return slope.reshape(len(slope), -1, slope.shape[-1])

    def squared_norms(self, entered: Tensor, slope: Tensor) -> Tensor:
        """Of each patient's gradient: (patients,)."""
        # Places may cancel out, and rounding would make the norm too small: no patient is clipped less than the bound asks for.
        lengths = (1.0 + torch.linalg.vector_norm(entered, dim=2)) * torch.linalg.vector_norm(slope, dim=2)
        found: Tensor = ROUNDING * lengths.sum(1).square() if entered.shape[1] > 1 else torch.zeros_like(lengths[:, 0])
        if "weight" in self.trained:
            found = found + self._weight_norms(entered, slope)
        return found + slope.sum(1).square().sum(1) if "bias" in self.trained else found

    def total(self, entered: Tensor, slope: Tensor) -> Tensors:
        """The sum over patients, with each patient's slopes scaled already."""
        found = {"weight": self._weight_total(entered, slope), "bias": slope.sum((0, 1))}
        return {kind: found[kind] for kind in self.trained}

    def _weight_norms(self, entered: Tensor, slope: Tensor) -> Tensor:
        places, inputs, outputs = entered.shape[1], entered.shape[2], slope.shape[2]
        if places == 1:
            return entered.square().sum((1, 2)) * slope.square().sum((1, 2))
        if 2 * places * places <= inputs * outputs:
            return ((entered @ entered.mT) * (slope @ slope.mT)).sum((1, 2))
        return (slope.mT @ entered).square().sum((1, 2))

    def _weight_total(self, entered: Tensor, slope: Tensor) -> Tensor:
        return slope.flatten(0, 1).T @ entered.flatten(0, 1)


class _Convolution(_Layer):
    """A convolution is a dense layer over patches."""

    def places(self, entered: Tensor) -> Tensor:
        kernel, stride, padding = self.module.kernel_size, self.module.stride, self.module.padding
        if entered.ndim == 3:  # a signal is an image of height 1
            entered, kernel, stride, padding = entered.unsqueeze(2), (1, *kernel), (1, *stride), (0, *padding)
        return functional.unfold(entered, kernel, padding=padding, stride=stride).mT

    def slopes(self, slope: Tensor) -> Tensor:
        return slope.flatten(2).mT


class _Normalisation(_Layer):
    """Layer normalisation: a patient's gradient is as long as one place, so it is simply made."""

    def places(self, entered: Tensor) -> Tensor:
        return super().places(functional.layer_norm(entered, self.module.normalized_shape, eps=self.module.eps))

    def _weight_norms(self, entered: Tensor, slope: Tensor) -> Tensor:
        return (entered * slope).sum(1).square().sum(1)

    def _weight_total(self, entered: Tensor, slope: Tensor) -> Tensor:
        return (entered * slope).sum((0, 1))


def _layer(module: nn.Module, trained: set[str]) -> _Layer:
    for kind, rule in ((nn.Linear, _Layer), (nn.Conv1d, _Convolution), (nn.Conv2d, _Convolution), (nn.LayerNorm, _Normalisation)):
        if isinstance(module, kind):
            return rule(module, trained)
    raise TypeError(f"no rule gives the gradients of single patients for a layer of type {type(module).__name__}")
