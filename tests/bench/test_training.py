"""What `bench training` measures: one row for each model, on what it says."""

from dataclasses import replace

import pytest
import torch

from gateway.bench.training import Case, cases, measure
from privacy.frozen_base import FrozenBase
from privacy.models import all_shapes, parameter_count
from tests.support.architectures import SIGNAL, VISITS


@pytest.fixture(autouse=True)
def _threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_models_are_those_that_are_promised() -> None:
    assert [parameter_count(each.spec) for each in cases(large=False)][:3] == [235_157] * 3
    large = cases(large=True)[-1].spec
    assert parameter_count(large) <= 1_000_000
    assert sum(torch.Size(shape).numel() for shape in all_shapes(large).values()) >= 100_000_000


@pytest.mark.parametrize(
    "case",
    [Case("signal", SIGNAL, 5), Case("adapters", replace(VISITS, base=FrozenBase("0" * 64, ("output",), 2)), 3)],
    ids=lambda case: case.model,
)
def test_a_row_says_what_was_measured(case: Case) -> None:
    row = measure(case, steps=1, threads=1)
    assert (row.conditions["model"], row.conditions["patients"]) == (case.model, case.batch)
    assert row.conditions["trained"] == parameter_count(case.spec)
    plain, private, ratio = (row.values[name] for name in ("plain_step_ms", "private_step_ms", "ratio"))
    assert isinstance(plain, float) and isinstance(private, float) and plain > 0 and ratio == pytest.approx(private / plain)
    assert (row.values["clipping_by_hooks_ms"] is None) is (case.spec.base is not None)
