"""A hospital's part in a round: DP-SGD with one row a patient, and plain training for the baselines it is compared with.

Run by each gateway on its own patients. Privacy: the unit is the patient, neighbours differ by adding or removing one patient, the
number of patients is public, the accountant is privacy.accounting.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from privacy.models import ModelSpec, Vector, initial_parameters, to_module
from privacy.noise import NoiseSource

PLAIN_ITERATIONS = 200
Mode = Literal["local", "distributed"]


class TrainingError(ValueError):
    """The patients or the settings of a training cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Update:
    """What a hospital encrypts: the sum of clipped gradients plus noise over its local steps, in units of the clip, shape (parameters,).

    With one local step: sum_i clip(g_i)/clip + N(0, noise_multiplier^2 I). With several: the sum of that over the steps, which is
    expected_batch * (start - end) / (learning_rate * clip) of plain SGD.
    """

    vector: Vector
    expected_batch: int


def expected_batch(*, patients: int, sampling_rate: float) -> int:
    """The batch every average divides by: sampling rate times patients, rounded, at least 1. Public; never the size that was drawn."""
    return max(1, round(sampling_rate * patients))


def noise_share(*, noise_multiplier: float, mode: Mode, local_steps: int, minimum_members: int) -> float:
    """The noise multiplier one hospital adds so that what is decrypted carries `noise_multiplier`.

    Mode local: all of it. Mode distributed: 1/sqrt(minimum_members) of it, `minimum_members` being the smallest group whose sum is
    ever decrypted. That is sound only if one secure sum covers one noisy step, so several local steps raise TrainingError.
    """
    if mode == "local":
        return noise_multiplier
    if local_steps != 1:
        raise TrainingError("mode distributed needs local_steps = 1: noise shares add up only if every noisy step is summed securely")
    if minimum_members < 1:
        raise TrainingError("mode distributed needs groups of at least one hospital")
    return noise_multiplier / math.sqrt(minimum_members)


def warm_up() -> None:
    """Import torch and Opacus (about ten seconds) and train once, so that the first round does not wait. Run it at a gateway's start."""
    source = NoiseSource.from_system()
    spec = ModelSpec("logistic_regression", 1)
    train_round(
        spec,
        np.zeros(2),
        [[0.0]],
        [0],
        clip=1.0,
        noise_multiplier=1.0,
        sampling_rate=1.0,
        local_steps=1,
        learning_rate=1.0,
        noise=source,
        sampler=source,
    )


def train_round(
    spec: ModelSpec,
    parameters: Vector,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    clip: float,
    noise_multiplier: float,
    sampling_rate: float,
    local_steps: int,
    learning_rate: float,
    noise: NoiseSource,
    sampler: NoiseSource,
    expected_of: int | None = None,
) -> Update:
    """Train from `parameters` on features (patients, inputs) and labels (patients,) of 0 and 1, both finite; one row is one patient.

    Each step draws every patient with probability `sampling_rate` (Poisson sampling, from `sampler`), clips each one's gradient to
    Euclidean norm `clip` by ghost clipping (Li et al. 2022, arXiv:2110.05679), adds Gaussian noise of standard deviation
    noise_multiplier * clip from `noise` to the sum, and moves by learning_rate / expected batch. A step that draws nobody is noise
    alone. The expected batch is that of `expected_of` patients, a public number, where some of them are not there any more. Raises
    TrainingError for unusable patients or settings and for gradients that overflow, ModelError if `parameters` do not
    fit `spec`.
    """
    # Opacus takes seconds to import, which commands that never train must not pay.
    import torch
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    from privacy.noisy_optimizer import NoisyOptimizer

    matrix, targets = _checked_patients(spec, features, labels)
    _check_settings(clip, noise_multiplier, sampling_rate, local_steps, learning_rate)
    batch = expected_batch(patients=expected_of or len(targets), sampling_rate=sampling_rate)
    module = GradSampleModuleFastGradientClipping(to_module(spec, parameters), loss_reduction="sum", max_grad_norm=clip)
    descent = torch.optim.SGD(module.parameters(), lr=learning_rate / batch)
    optimizer = NoisyOptimizer(descent, clip=clip, noise_multiplier=noise_multiplier, noise=noise)
    loss = DPLossFastGradientClipping(module, optimizer, torch.nn.BCEWithLogitsLoss(reduction="sum"), loss_reduction="sum")

    total = np.zeros(len(parameters))
    for _ in range(local_steps):
        drawn = sampler.uniform(len(targets)) < sampling_rate
        optimizer.zero_grad()
        # torch warns about Opacus' backward hooks unless the first layer's input asks for a gradient.
        inputs = torch.from_numpy(matrix[drawn]).requires_grad_()
        loss(module(inputs).squeeze(1), torch.from_numpy(targets[drawn])).backward()
        optimizer.step()
        total += np.concatenate([parameter.grad.numpy().ravel() for parameter in module.parameters()])
    if not np.isfinite(total).all():
        raise TrainingError("the gradients are not finite: the model has diverged or a feature is absurdly large")
    return Update(vector=total / clip, expected_batch=batch)


def train_plain(spec: ModelSpec, features: ArrayLike, labels: ArrayLike, *, seed: int = 0, ridge: float = 1.0) -> Vector:
    """Parameters after training without privacy: L-BFGS from initial_parameters(seed) on the summed loss + ridge/2 * |weights|^2.

    The ridge keeps separable data from running to infinity; its default is scikit-learn's. For the baselines "hospital alone" and
    "all data without privacy" only: what it returns is never released.
    """
    import torch

    matrix, targets = _checked_patients(spec, features, labels)
    module = to_module(spec, initial_parameters(spec, seed=seed))
    weights = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    inputs, wanted = torch.from_numpy(matrix), torch.from_numpy(targets)
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=PLAIN_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(module(inputs).squeeze(1), wanted, reduction="sum")
        penalised = loss + 0.5 * ridge * torch.stack([weight.square().sum() for weight in weights]).sum()
        torch.autograd.backward(penalised)
        return penalised

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves LBFGS.step untyped
    return np.concatenate([parameter.detach().numpy().ravel() for parameter in module.parameters()])


def _checked_patients(spec: ModelSpec, features: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    matrix, targets = np.ascontiguousarray(features, dtype=np.float64), np.ascontiguousarray(labels, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != spec.inputs or targets.shape != matrix.shape[:1]:
        raise TrainingError(f"features {matrix.shape} and labels {targets.shape} do not fit a model of {spec.inputs} inputs")
    if not len(targets):
        raise TrainingError("there is no patient to train on")
    if not np.isfinite(matrix).all():
        raise TrainingError("a feature is not a finite number; missing values must be filled before training")
    if not np.isin(targets, (0.0, 1.0)).all():
        raise TrainingError("a label is neither 0 nor 1")
    return matrix, targets


def _check_settings(clip: float, noise_multiplier: float, sampling_rate: float, local_steps: int, learning_rate: float) -> None:
    for name, value in (("clip", clip), ("noise_multiplier", noise_multiplier), ("learning_rate", learning_rate)):
        if not (math.isfinite(value) and value > 0):
            raise TrainingError(f"{name} is {value}; it must be a positive number")
    if not 0 < sampling_rate <= 1:
        raise TrainingError(f"sampling_rate is {sampling_rate}; it must be above 0 and at most 1")
    if local_steps < 1:
        raise TrainingError(f"local_steps is {local_steps}; it must be at least 1")
