"""Noise sources whose numbers a test knows."""

from collections.abc import Sequence

import numpy as np

from privacy.noise import NoiseSource


class Silent(NoiseSource):
    """No noise at all: what is left is the clipped sum."""

    def __init__(self) -> None:
        super().__init__(bytes(32))

    def gaussian(self, count: int, *, scale: float) -> np.ndarray:
        return np.zeros(count)


class Counting(NoiseSource):
    """Noise 1, 2, 3, ... times the scale, and a record of what was asked for."""

    def __init__(self) -> None:
        super().__init__(bytes(32))
        self.drawn: list[tuple[int, float]] = []

    def gaussian(self, count: int, *, scale: float) -> np.ndarray:
        start = sum(size for size, _ in self.drawn)
        self.drawn.append((count, scale))
        return scale * np.arange(start + 1, start + count + 1, dtype=np.float64)


class Picking(NoiseSource):
    """A sampler that picks exactly the given rows in each step, whatever the rate (0 is below every rate, 1 is not)."""

    def __init__(self, *steps: Sequence[int]) -> None:
        super().__init__(bytes(32))
        self.steps = list(steps)

    def uniform(self, count: int) -> np.ndarray:
        numbers = np.ones(count)
        numbers[list(self.steps.pop(0))] = 0.0
        return numbers
