"""The architectures as torch modules, whose parameters have the names and shapes of `privacy.models.tensor_shapes`. Importing loads torch.

Every layer treats each patient alone: batch normalisation, which mixes them, would void the clipping of single patients' gradients.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from privacy.architectures import FEEDFORWARD, Convolutions, Transformer


def dense(widths: Sequence[int], dtype: torch.dtype) -> nn.Sequential:
    """Dense layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.ReLU()] if layers else []
        layers.append(nn.Linear(inputs, outputs, dtype=dtype))
    return nn.Sequential(*layers)


class ConvolutionalNetwork(nn.Module):
    """`Convolutions` with `others` inputs beside the signal: (patients, inputs) to (patients, 1)."""

    def __init__(self, architecture: Convolutions, others: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._architecture = architecture
        kind: type[nn.Conv1d] | type[nn.Conv2d] = nn.Conv1d if len(architecture.shape) == 1 else nn.Conv2d
        kernel = architecture.kernel
        self.convolutions = nn.ModuleList(
            kind(inputs, outputs, kernel, stride=2, padding=kernel // 2, dtype=dtype)
            for inputs, outputs in pairwise((architecture.channels, *architecture.filters))
        )
        self.output = nn.Linear(architecture.filters[-1] + others, 1, dtype=dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        shape = self._architecture
        signal, others = inputs[:, : shape.block], inputs[:, shape.block :]
        found = signal.reshape(len(inputs), *shape.shape, shape.channels).movedim(-1, 1)
        for convolution in self.convolutions:
            found = functional.relu(convolution(found))
        logit: Tensor = self.output(torch.cat([found.flatten(2).mean(2), others], dim=1))
        return logit


class AdaptedLinear(nn.Linear):
    """A dense layer and its low-rank update: W x + b + up(down(x)). `up` starts at zero, and with it the update."""

    def __init__(self, inputs: int, outputs: int, rank: int, dtype: torch.dtype) -> None:
        super().__init__(inputs, outputs, dtype=dtype)
        self.down = nn.Linear(inputs, rank, bias=False, dtype=dtype)
        self.up = nn.Linear(rank, outputs, bias=False, dtype=dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        update: Tensor = self.up(self.down(inputs))
        return super().forward(inputs) + update


class Block(nn.Module):
    """One layer of the encoder: self-attention, then a feed-forward layer, each added to what came in."""

    def __init__(self, width: int, heads: int, rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._heads = heads
        self.attention_norm = nn.LayerNorm(width, dtype=dtype)
        self.query = _projection(width, rank, dtype)
        self.key = nn.Linear(width, width, dtype=dtype)
        self.value = _projection(width, rank, dtype)
        self.attended = nn.Linear(width, width, dtype=dtype)
        self.feedforward_norm = nn.LayerNorm(width, dtype=dtype)
        self.expand = nn.Linear(width, FEEDFORWARD * width, dtype=dtype)
        self.contract = nn.Linear(FEEDFORWARD * width, width, dtype=dtype)

    def forward(self, steps: Tensor, seen: Tensor) -> Tensor:
        """`steps` (patients, steps, width); `seen` (patients, 1, steps, steps) is True where a step looks at another one."""
        normal = self.attention_norm(steps)
        query, key, value = (self._split(layer(normal)) for layer in (self.query, self.key, self.value))
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        steps = steps + self.attended(found.transpose(1, 2).flatten(2))
        added: Tensor = self.contract(functional.gelu(self.expand(self.feedforward_norm(steps))))
        return steps + added

    def _split(self, steps: Tensor) -> Tensor:
        """(patients, heads, steps, width of a head)."""
        return steps.reshape(*steps.shape[:2], self._heads, -1).transpose(1, 2)


class Encoder(nn.Module):
    """`Transformer` with `others` inputs beside the sequence: (patients, inputs) to (patients, 1)."""

    positions: Tensor

    def __init__(self, architecture: Transformer, others: int, rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        self._architecture = architecture
        width = architecture.dimension
        self.embedding = nn.Linear(architecture.channels, width, dtype=dtype)
        self.blocks = nn.ModuleList(Block(width, architecture.heads, rank, dtype) for _ in range(architecture.blocks))
        self.norm = nn.LayerNorm(width, dtype=dtype)
        self.output = nn.Linear(width + others, 1, dtype=dtype)
        self.register_buffer("positions", _positions(architecture.steps, width, dtype), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        shape = self._architecture
        sequence, others = inputs[:, : shape.block].reshape(-1, shape.steps, shape.channels), inputs[:, shape.block :]
        there = sequence[:, :, 0] > 0.5
        # A step that is not there looks at itself alone, so that no softmax is over nothing; nobody looks at it.
        seen = there[:, None, None, :] | torch.eye(shape.steps, dtype=torch.bool, device=inputs.device)
        steps = self.embedding(sequence) + self.positions
        for block in self.blocks:
            steps = block(steps, seen)
        weights = there.to(inputs.dtype) / there.sum(1, keepdim=True).clamp(min=1)
        logit: Tensor = self.output(torch.cat([(self.norm(steps) * weights[:, :, None]).sum(1), others], dim=1))
        return logit


def _projection(width: int, rank: int, dtype: torch.dtype) -> nn.Linear:
    return AdaptedLinear(width, width, rank, dtype) if rank else nn.Linear(width, width, dtype=dtype)


def _positions(steps: int, width: int, dtype: torch.dtype) -> Tensor:
    """Sines and cosines of the place, as in Vaswani et al. 2017, section 3.5; with memory also where parameters have none yet."""
    place = torch.arange(steps, dtype=torch.float64, device="cpu")[:, None]
    rate = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width)
    return torch.stack([torch.sin(place * rate), torch.cos(place * rate)], dim=2).flatten(1).to(dtype)
