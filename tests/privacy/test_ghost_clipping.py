"""The clipped sum of every architecture against gradients made patient by patient, by plain autograd and by Opacus' hooks."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from privacy.device import device
from privacy.ghost_clipping import GhostClipping
from privacy.models import ModelSpec, number_type, parameter_count, to_module
from privacy.training import TrainingError, train_round
from tests.support.architectures import ALL, SIGNAL, VISITS, based, parameters, patients
from tests.support.noise_sources import Picking, Silent

CLIPS = (0.05, 0.5, 100.0)  # all clipped, some, none


def clipped_sum(spec: ModelSpec, vector: np.ndarray, inputs: np.ndarray, labels: np.ndarray, clip: float) -> np.ndarray:
    clipping = GhostClipping(to_module(spec, vector))
    found = clipping.clipped_sum(*(torch.from_numpy(each).to(device(), number_type(spec)) for each in (inputs, labels)), clip=clip)
    assert found.dtype == torch.float64
    return found.cpu().numpy()


def by_autograd(spec: ModelSpec, vector: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One backward pass for each patient: (patients, parameters)."""
    rows = []
    for row, label in zip(inputs, labels, strict=True):
        module = to_module(spec, vector)
        one = torch.from_numpy(row[None]).to(device(), number_type(spec))
        logit = module(one)[0, 0]
        nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor(label).to(logit)).backward()
        trained = [each for each in module.parameters() if each.requires_grad]
        rows.append(torch.cat([(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in trained]).cpu().numpy())
    return np.array(rows, dtype=np.float64)


def expected(gradients: np.ndarray, clip: float) -> np.ndarray:
    norms = np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1e-300)
    return (gradients * np.minimum(1.0, clip / norms)).sum(axis=0)


@pytest.mark.parametrize("name", ALL)
def test_every_architecture_is_clipped_exactly(name: str) -> None:
    spec = ALL[name]
    inputs, labels = patients(spec, 9)
    gradients = by_autograd(spec, parameters(spec), inputs, labels)
    assert gradients.any(axis=0).mean() > 0.7  # or ReLU has left little to compare
    for clip in CLIPS:
        found = clipped_sum(spec, parameters(spec), inputs, labels, clip)
        assert found == pytest.approx(expected(gradients, clip), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("trained", "rank"), [(("output",), 0), (("blocks.1", "output"), 0), (("output",), 3), (("blocks.0.query",), 2)])
def test_named_layers_and_adapters_are_clipped_exactly(trained: tuple[str, ...], rank: int, tmp_path) -> None:
    spec = based(VISITS, tmp_path, trained, rank)
    inputs, labels = patients(spec, 7)
    gradients = by_autograd(spec, parameters(spec), inputs, labels)
    assert gradients.shape[1] == parameter_count(spec)
    for clip in CLIPS:
        found = clipped_sum(spec, parameters(spec), inputs, labels, clip)
        assert found == pytest.approx(expected(gradients, clip), rel=1e-3, abs=1e-5)  # single precision


@pytest.mark.parametrize("name", ["mlp", "signal", "long signal", "visits"])
def test_opacus_hooks_give_the_same(name: str) -> None:
    """But for images: in Opacus 1.6.0 the gradients of single patients of the image's second convolution do not add up to torch's own."""
    from opacus.grad_sample import GradSampleModule

    spec = ALL[name]
    inputs, labels = patients(spec, 9)
    module = GradSampleModule(to_module(spec, parameters(spec)).cpu(), loss_reduction="sum")
    with warnings.catch_warnings(action="ignore"):  # of hooks, where the first layer's input asks for no gradient
        logits = module(torch.from_numpy(inputs)).squeeze(1)
        nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels), reduction="sum").backward()
    hooks = torch.cat([each.grad_sample.flatten(1) for each in module.parameters()], dim=1).numpy()
    assert clipped_sum(spec, parameters(spec), inputs, labels, 0.5) == pytest.approx(expected(hooks, 0.5), rel=1e-8, abs=1e-12)


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_one_patient_moves_the_sum_by_at_most_one_clip(data: st.DataObject) -> None:
    """Whatever the patient's sequence or signal holds: many visits, huge values, none at all."""
    spec = data.draw(st.sampled_from([each for each in ALL.values() if each.architecture is not None]))
    inputs, labels = patients(spec, 4, seed=data.draw(st.integers(0, 1000)))
    inputs[3] *= data.draw(st.sampled_from([1.0, 1e-3, 1e3, 1e6]))
    vector = parameters(spec) * data.draw(st.sampled_from([1.0, 10.0]))
    clip = data.draw(st.floats(1e-3, 1e3))

    def total(rows: range) -> np.ndarray:
        return train_round(
            spec,
            vector,
            inputs,
            labels,
            clip=clip,
            noise_multiplier=1.0,
            sampling_rate=0.5,
            local_steps=1,
            learning_rate=1.0,
            noise=Silent(),
            sampler=Picking(rows),
        ).vector

    assert np.linalg.norm(total(range(4)) - total(range(3))) <= 1 + 1e-9
    assert np.linalg.norm(total(range(3, 4))) <= 1 + 1e-9


def test_the_bound_holds_exactly_on_a_base_in_single_precision(tmp_path) -> None:
    spec = based(VISITS, tmp_path, ("output",), 3)
    inputs, labels = patients(spec, 1, seed=4)
    assert np.linalg.norm(clipped_sum(spec, parameters(spec), inputs * 100, labels, 1e-3)) <= 1e-3 * (1 + 1e-12)


@pytest.mark.parametrize("places", [2, 40])  # products of pairs of places, and the gradient itself
def test_places_that_cancel_out_do_not_slip_through_the_clip(places: int) -> None:
    """A patient whose places' gradients are huge and add up to nearly nothing: rounding makes the norm wrong, and the bound holds."""
    torch.manual_seed(0)

    class Cancelling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 30, bias=False, dtype=torch.float64)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(places // 2)
            found = (self.layer(inputs.reshape(len(inputs), places, 6)) * signs[:, None]).sum((1, 2))
            return found.unsqueeze(1)

    base = torch.randn(1, 1, 6, dtype=torch.float64) * 1e9
    inputs = (base + torch.randn(1, places, 6, dtype=torch.float64) * 1e-7).reshape(1, -1)
    total = GhostClipping(Cancelling()).clipped_sum(inputs, torch.zeros(1, dtype=torch.float64), clip=1e-9)
    assert total.norm() <= 1e-9 * (1 + 1e-9)


def test_patients_are_trained_with_in_parts(tmp_path) -> None:
    """A batch larger than what is in memory at once gives the sum of its parts."""
    inputs, labels = patients(SIGNAL, 150)
    gradients = by_autograd(SIGNAL, parameters(SIGNAL), inputs, labels)
    update = train_round(
        SIGNAL,
        parameters(SIGNAL),
        inputs,
        labels,
        clip=0.5,
        noise_multiplier=1.0,
        sampling_rate=1.0,
        local_steps=1,
        learning_rate=1.0,
        noise=Silent(),
        sampler=Picking(range(150)),
    )
    assert update.vector == pytest.approx(expected(gradients, 0.5) / 0.5, rel=1e-8, abs=1e-11)


def test_a_gradient_that_overflows_is_never_taken_for_none() -> None:
    inputs, labels = patients(SIGNAL, 2)
    with pytest.raises(TrainingError, match="not finite"):
        train_round(
            SIGNAL,
            parameters(SIGNAL),
            inputs * 1e200,
            labels,
            clip=1.0,
            noise_multiplier=1.0,
            sampling_rate=1.0,
            local_steps=1,
            learning_rate=1.0,
            noise=Silent(),
            sampler=Picking(range(2)),
        )


def test_a_layer_without_a_rule_is_refused() -> None:
    with pytest.raises(TypeError, match="Bilinear"):
        GhostClipping(nn.Sequential(nn.Bilinear(2, 2, 1)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here to compare with")
@pytest.mark.parametrize("name", ALL)
def test_a_gpu_gives_the_processors_sums(name: str) -> None:
    spec = ALL[name]
    inputs, labels = (torch.from_numpy(each) for each in patients(spec, 9))
    there = clipped_sum(spec, parameters(spec), inputs.numpy(), labels.numpy(), 0.5)
    assert device().type == "cuda"
    here = GhostClipping(to_module(spec, parameters(spec)).cpu()).clipped_sum(inputs, labels, clip=0.5)
    assert there == pytest.approx(here.numpy(), rel=1e-6, abs=1e-9)
