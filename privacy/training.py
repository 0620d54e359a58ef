"""A hospital's part in a round: DP-SGD with one row a patient, and plain training for the baselines it is compared with.

Run by each gateway on its own patients. Privacy: the unit is the patient, neighbours differ by adding or removing one patient, the
number of patients is public, the accountant is privacy.accounting.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from privacy.device import device
from privacy.models import ModelSpec, Vector, at_once, initial_parameters, number_type, to_module
from privacy.noise import NoiseSource

PLAIN_ITERATIONS = 200
PLAIN_STEPS, PLAIN_BATCH, PLAIN_RATE = 300, 64, 1e-3
"""Of a model that is not dense, for which L-BFGS over all patients would take hours: steps of Adam with these settings."""
Mode = Literal["local", "distributed"]

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor, nn


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
    """Import torch (seconds) and train once, so that the first round does not wait. Run it at a gateway's start."""
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
    Euclidean norm `clip` (privacy.ghost_clipping), adds Gaussian noise of standard deviation
    noise_multiplier * clip from `noise` to the sum, and moves by learning_rate / expected batch. A step that draws nobody is noise
    alone. The expected batch is that of `expected_of` patients, a public number, where some of them are not there any more. Raises
    TrainingError for unusable patients or settings and for gradients that overflow, ModelError if `parameters` do not
    fit `spec`.
    """
    # torch takes seconds to import, which commands that never train must not pay.
    import torch

    from privacy.ghost_clipping import GhostClipping

    matrix, targets = _checked_patients(spec, features, labels)
    _check_settings(clip, noise_multiplier, sampling_rate, local_steps, learning_rate)
    batch = expected_batch(patients=expected_of or len(targets), sampling_rate=sampling_rate)
    clipping = GhostClipping(to_module(spec, parameters))

    total = np.zeros(len(parameters))
    with ThreadPoolExecutor(max_workers=1) as beside:  # for a small model to draw the noise takes longer than to train
        for _ in range(local_steps):
            drawn = np.flatnonzero(sampler.uniform(len(targets)) < sampling_rate)  # before, as both may come from one source
            drawing = beside.submit(noise.gaussian, len(parameters), scale=noise_multiplier * clip)
            clipped = np.zeros(len(parameters))
            for rows in at_once(spec, len(drawn)):
                clipped += clipping.clipped_sum(*_tensors(spec, matrix[drawn[rows]], targets[drawn[rows]]), clip=clip).cpu().numpy()
            noisy = clipped + drawing.result()
            if not np.isfinite(noisy).all():
                raise TrainingError("the gradients are not finite: the model has diverged or a feature is absurdly large")
            clipping.descend(torch.from_numpy(noisy).to(device()) * (learning_rate / batch))
            total += noisy
    return Update(vector=total / clip, expected_batch=batch)


def train_plain(spec: ModelSpec, features: ArrayLike, labels: ArrayLike, *, seed: int = 0, ridge: float = 1.0) -> Vector:
    """Parameters after training without privacy, from initial_parameters(seed): for the baselines "hospital alone" and "all data without
    privacy" only, and what it returns is never released.

    A dense model by L-BFGS on the summed loss + ridge/2 * |weights|^2: the ridge keeps separable data from running to infinity, and its
    default is scikit-learn's. Any other model by a fixed number of steps of Adam, which is what keeps it from fitting every patient.
    """
    import torch

    matrix, targets = _checked_patients(spec, features, labels)
    module = to_module(spec, initial_parameters(spec, seed=seed))
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if spec.architecture is None:
        _descend_by_lbfgs(module, trained, *_tensors(spec, matrix, targets), ridge=ridge)
    else:
        draws, optimizer = np.random.default_rng(seed), torch.optim.Adam(trained, lr=PLAIN_RATE)
        for _ in range(PLAIN_STEPS):
            rows = draws.permutation(len(targets))[:PLAIN_BATCH]
            optimizer.zero_grad()
            torch.autograd.backward(_loss(module, *_tensors(spec, matrix[rows], targets[rows])))
            optimizer.step()
    return np.concatenate([parameter.detach().double().cpu().numpy().ravel() for parameter in trained])


def _descend_by_lbfgs(module: "nn.Module", trained: "Sequence[nn.Parameter]", inputs: "Tensor", wanted: "Tensor", *, ridge: float) -> None:
    import torch

    weights = [parameter for parameter in trained if parameter.ndim > 1]
    optimizer = torch.optim.LBFGS(trained, max_iter=PLAIN_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        penalised = _loss(module, inputs, wanted) + 0.5 * ridge * torch.stack([weight.square().sum() for weight in weights]).sum()
        torch.autograd.backward(penalised)
        return penalised

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves LBFGS.step untyped


def _loss(module: "nn.Module", inputs: "Tensor", wanted: "Tensor") -> "Tensor":
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(module(inputs).squeeze(1), wanted, reduction="sum")


def _tensors(spec: ModelSpec, features: NDArray[np.float64], labels: NDArray[np.float64]) -> "tuple[Tensor, Tensor]":
    """Where and in which precision the model computes."""
    from torch import from_numpy

    inputs, wanted = (from_numpy(each).to(device(), number_type(spec)) for each in (features, labels))
    return inputs, wanted


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
