"""`consortium bench training`: a step of private training beside a plain step of the same model, for each architecture."""

import hashlib
import math
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from gateway.bench.machine import describe
from gateway.bench.memory import peak_rss_bytes
from gateway.bench.results import BenchReport, Measurement, Value
from privacy.architectures import Convolutions, Transformer
from privacy.device import device
from privacy.frozen_base import FrozenBase, base_file
from privacy.models import ModelSpec, all_shapes, initial_parameters, number_type, parameter_count, to_module
from privacy.noise import NoiseSource
from privacy.training import train_round

_BYTES_PER_MIB = 1 << 20
_REPEATS = 3
_CLIP = 1.0
_VISITS = Transformer(steps=32, channels=20, dimension=64, heads=4, blocks=2)
_LARGE = Transformer(steps=32, channels=20, dimension=1024, heads=16, blocks=8)
_RANK = 8


@dataclass(frozen=True)
class Case:
    """One model and the patients in a batch. The large one has a base without a file, which is made where it is measured."""

    model: str
    spec: ModelSpec
    batch: int


def cases(*, large: bool) -> list[Case]:
    """What is measured, in the order of the table."""
    mlp = ModelSpec("mlp", 784, (256, 128, 10))
    signal = ModelSpec("cnn", 1000, architecture=Convolutions((1000,), 1, (16, 32, 32), 7))
    image = ModelSpec("cnn", 784, architecture=Convolutions((28, 28), 1, (16, 32), 3))
    visits = ModelSpec("transformer", _VISITS.block, architecture=_VISITS)
    found = [Case("mlp 784-256-128-10", mlp, batch) for batch in (64, 256, 1024)]
    found += [Case("cnn, signal of 1000", signal, 64), Case("cnn, image of 28 x 28", image, 64), Case("transformer, 32 visits", visits, 64)]
    if large:
        base = FrozenBase("0" * 64, ("output",), _RANK)
        adapted = ModelSpec("transformer", _LARGE.block, architecture=_LARGE, base=base)
        found.append(Case(f"transformer with adapters of rank {_RANK}", adapted, 8))
    return found


def run(*, large: bool, steps: int, threads: int, say: Callable[[str], None]) -> BenchReport:
    """Measure each case in a process of its own, so that each has its own peak of memory. CPU-heavy."""
    machine = describe(("numpy", "torch", "opacus"))
    results = []
    for case in cases(large=large):
        say(f"{case.model}, {case.batch} patients")
        # Not forked: torch's threads do not survive that.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            results.append(pool.submit(measure, case, steps=steps, threads=threads).result())
    return BenchReport(machine, results)


def measure(case: Case, *, steps: int, threads: int) -> Measurement:
    """One row, with at most so many of torch's threads. Run in a process that has done nothing else."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="consortium-bench-") as folder:
        spec = _with_file(case.spec, Path(folder))
        rng = np.random.default_rng(0)
        features, labels = rng.uniform(-1, 1, (case.batch, spec.inputs)), rng.integers(0, 2, case.batch).astype(np.float64)
        private = _best(lambda: _private(spec, features, labels, steps)) / steps
        peak = peak_rss_bytes()
        plain = _best(lambda: _plain(spec, features, labels, steps)) / steps
        hooks = None if spec.base is not None else _best(lambda: _by_hooks(spec, features, labels, steps)) / steps
        noise = _best(lambda: NoiseSource.from_system().gaussian(parameter_count(spec), scale=1.0))
    values: dict[str, Value] = {
        "plain_step_ms": plain * 1000,
        "private_step_ms": private * 1000,
        "ratio": private / plain,
        "of_it_noise_ms": noise * 1000,
        "clipping_by_hooks_ms": None if hooks is None else hooks * 1000,
        "peak_mib": peak / _BYTES_PER_MIB,
    }
    conditions: dict[str, Value] = {
        "model": case.model,
        "parameters": sum(math.prod(shape) for shape in all_shapes(spec).values()),
        "trained": parameter_count(spec),
        "patients": case.batch,
        "device": device().type,
        "threads": threads,
    }
    return Measurement("training step", conditions, values)


def _best(work: Callable[[], object]) -> float:
    """Seconds of the quickest of several runs after one that warms up: others on the machine only ever make it slower."""
    work()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _private(spec: ModelSpec, features: NDArray[np.float64], labels: NDArray[np.float64], steps: int) -> None:
    source = NoiseSource.from_system()
    train_round(
        spec,
        initial_parameters(spec, seed=0),
        features,
        labels,
        clip=_CLIP,
        noise_multiplier=1.0,
        sampling_rate=1.0,
        local_steps=steps,
        learning_rate=0.1,
        noise=source,
        sampler=source,
    )


def _plain(spec: ModelSpec, features: NDArray[np.float64], labels: NDArray[np.float64], steps: int) -> None:
    import torch

    module = to_module(spec, initial_parameters(spec, seed=0))
    optimizer = torch.optim.SGD([each for each in module.parameters() if each.requires_grad], lr=0.1 / len(labels))
    for _ in range(steps):
        optimizer.zero_grad()
        _backward(module, spec, features, labels)
        optimizer.step()


def _by_hooks(spec: ModelSpec, features: NDArray[np.float64], labels: NDArray[np.float64], steps: int) -> None:
    """Clipping with every patient's gradient in memory, by Opacus, without noise."""
    import torch
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    module = GradSampleModule(to_module(spec, initial_parameters(spec, seed=0)), loss_reduction="sum")
    descent = torch.optim.SGD(module.parameters(), lr=0.1 / len(labels))
    optimizer = DPOptimizer(descent, noise_multiplier=0.0, max_grad_norm=_CLIP, expected_batch_size=None, loss_reduction="sum")
    with warnings.catch_warnings(action="ignore"):  # Opacus' hooks warn that the inputs ask for no gradients
        for _ in range(steps):
            optimizer.zero_grad()
            _backward(module, spec, features, labels)
            optimizer.step()


def _backward(module: "Callable[..., object]", spec: ModelSpec, features: NDArray[np.float64], labels: NDArray[np.float64]) -> None:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    inputs, wanted = (torch.from_numpy(each).to(device(), number_type(spec)) for each in (features, labels))
    logits = module(inputs)
    assert isinstance(logits, torch.Tensor)
    torch.autograd.backward(binary_cross_entropy_with_logits(logits.squeeze(1), wanted, reduction="sum"))


def _with_file(spec: ModelSpec, folder: Path) -> ModelSpec:
    """The model on a base of random parameters, where it has one."""
    if spec.base is None:
        return spec
    rng, made = np.random.default_rng(0), folder / "base.safetensors"
    save_file({name: rng.standard_normal(shape, dtype=np.float32) / 32 for name, shape in all_shapes(spec).items()}, made)
    with made.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return replace(spec, base=replace(spec.base, digest=digest, file=made.rename(base_file(folder, digest))))
