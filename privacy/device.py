"""Where tensors are computed with."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import
    import torch


@cache
def device() -> "torch.device":
    """The GPU where there is one, else the processor: chosen once in a process. Noise is drawn on the processor in any case."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
