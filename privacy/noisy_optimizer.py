"""Opacus' optimizer for ghost clipping, with its noise drawn from our source. Importing this module imports Opacus, which takes seconds."""

import torch
from opacus.optimizers import DPOptimizerFastGradientClipping

from privacy.noise import NoiseSource


class NoisyOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]  # Opacus publishes no types
    """Adds noise_multiplier * max_grad_norm of Gaussian noise from `noise` to each coordinate of the clipped sum."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, clip: float, noise_multiplier: float, noise: NoiseSource) -> None:
        super().__init__(optimizer, noise_multiplier=noise_multiplier, max_grad_norm=clip, expected_batch_size=None, loss_reduction="sum")
        self.noise = noise

    def add_noise(self) -> None:
        """Replaces Opacus' draw from torch's generator, which is not cryptographic."""
        for parameter in self.params:
            scale = self.noise_multiplier * self.max_grad_norm
            drawn = torch.from_numpy(self.noise.gaussian(parameter.numel(), scale=scale))
            parameter.grad = parameter.summed_grad + drawn.view_as(parameter)
