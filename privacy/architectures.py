"""The named architectures beside dense layers: their sizes, checked, and the tensors they have. Nothing here loads torch.

A patient is one row of inputs. The first `block` of them are a signal or a sequence, which the architecture reads; the others, if there
are any, join what it made of that before the last layer, `output`, whose one unit is the logit of the label.
"""

import math
from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]
OUTPUT = "output"

MAXIMUM_SIGNAL = 16_384
MAXIMUM_FILTERS, MAXIMUM_CONVOLUTIONS, MAXIMUM_KERNEL = 256, 6, 15
MAXIMUM_STEPS, MAXIMUM_CHANNELS = 256, 512
MAXIMUM_DIMENSION, MAXIMUM_HEADS, MAXIMUM_BLOCKS = 1024, 16, 24
FEEDFORWARD = 4
"""Width of a block's hidden layer in units of the dimension, as in Vaswani et al. 2017, arXiv:1706.03762."""


class ModelError(ValueError):
    """A model's description, parameters or file cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Convolutions:
    """A convolutional network over a signal (length,) or an image (height, width) with `channels` numbers at each place.

    Each convolution has stride 2 and ReLU; the mean over all places of the last one goes to the output layer. The block holds the
    channels of the first place, then of the next one, row by row.
    """

    shape: tuple[int, ...]
    channels: int
    filters: tuple[int, ...]
    kernel: int

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 2) or min(self.shape) < 1 or self.channels < 1 or self.block > MAXIMUM_SIGNAL:
            raise ModelError(f"a cnn reads a signal of one or two dimensions and at most {MAXIMUM_SIGNAL} numbers")
        if not 1 <= len(self.filters) <= MAXIMUM_CONVOLUTIONS or not all(1 <= count <= MAXIMUM_FILTERS for count in self.filters):
            raise ModelError(f"a cnn has 1 to {MAXIMUM_CONVOLUTIONS} convolutions of 1 to {MAXIMUM_FILTERS} filters")
        if not 3 <= self.kernel <= MAXIMUM_KERNEL or not self.kernel % 2:
            raise ModelError(f"the kernel of a cnn is {self.kernel} wide; it must be odd, at least 3 and at most {MAXIMUM_KERNEL}")

    @property
    def block(self) -> int:
        return math.prod(self.shape) * self.channels

    def shapes(self, others: int) -> Shapes:
        """Tensors by name, with `others` inputs beside the block."""
        kernel = (self.kernel,) * len(self.shape)
        found: Shapes = {}
        for number, (inputs, outputs) in enumerate(zip((self.channels, *self.filters), self.filters, strict=False)):
            found |= {f"convolutions.{number}.weight": (outputs, inputs, *kernel), f"convolutions.{number}.bias": (outputs,)}
        return found | _dense(OUTPUT, self.filters[-1] + others, 1)


@dataclass(frozen=True)
class Transformer:
    """An encoder over at most `steps` steps with `channels` numbers each, of which the first says by 1 or 0 whether the step is there.

    Layer normalisation before attention and before the feed-forward layer (Xiong et al. 2020, arXiv:2002.04745), sinusoidal positions,
    GELU; the mean over the steps that are there goes to the output layer, 0 where none is. The block holds the first step's channels,
    then the next one's.
    """

    steps: int
    channels: int
    dimension: int
    heads: int
    blocks: int

    def __post_init__(self) -> None:
        for name, value, most in (
            ("steps", self.steps, MAXIMUM_STEPS),
            ("channels", self.channels, MAXIMUM_CHANNELS),
            ("dimension", self.dimension, MAXIMUM_DIMENSION),
            ("heads", self.heads, MAXIMUM_HEADS),
            ("blocks", self.blocks, MAXIMUM_BLOCKS),
        ):
            if not 1 <= value <= most:
                raise ModelError(f"the {name} of a transformer are {value}; they must be at least 1 and at most {most}")
        if self.dimension % (2 * self.heads):
            raise ModelError(f"the dimension of a transformer is {self.dimension}; it must be a multiple of twice its {self.heads} heads")

    @property
    def block(self) -> int:
        return self.steps * self.channels

    def shapes(self, others: int) -> Shapes:
        """Tensors by name, with `others` inputs beside the block."""
        width = self.dimension
        found = _dense("embedding", self.channels, width)
        for number in range(self.blocks):
            name = f"blocks.{number}"
            found |= _norm(f"{name}.attention_norm", width)
            for part in ("query", "key", "value", "attended"):
                found |= _dense(f"{name}.{part}", width, width)
            found |= _norm(f"{name}.feedforward_norm", width)
            found |= _dense(f"{name}.expand", width, FEEDFORWARD * width) | _dense(f"{name}.contract", FEEDFORWARD * width, width)
        return found | _norm("norm", width) | _dense(OUTPUT, width + others, 1)

    def adapted(self) -> tuple[str, ...]:
        """The layers that low-rank adapters go to: query and value of every block (Hu et al. 2021, arXiv:2106.09685, section 4.2)."""
        return tuple(f"blocks.{number}.{part}" for number in range(self.blocks) for part in ("query", "value"))


def adapter_shapes(layer: str, inputs: int, outputs: int, rank: int) -> Shapes:
    """The two factors of a layer's low-rank update, up @ down."""
    return {f"{layer}.down.weight": (rank, inputs), f"{layer}.up.weight": (outputs, rank)}


def _dense(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
