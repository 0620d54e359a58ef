"""Golden vectors: the bytes of every object stay what they are, and every bad case fails in the step it names."""

import hashlib
from typing import Any

import numpy as np
import pytest

from privacy import threshold
from tests.support.threshold_vectors import Objects, StepFailedError, load, replay, run, spoil

VECTORS = load()


@pytest.fixture(scope="module")
def objects() -> Objects:
    return replay(VECTORS)


def test_every_object_has_its_recorded_bytes(objects: Objects) -> None:
    assert {name: hashlib.sha256(data).hexdigest() for name, data in objects.items()} == VECTORS["sha256"]


def test_the_good_case_passes_every_step_and_gives_the_plain_sum(objects: Objects) -> None:
    run(VECTORS, objects)
    fused = threshold.fuse(
        objects["sum"],
        {j: objects[f"partial {j}"] for j in VECTORS["quorum"]},
        quorum=VECTORS["quorum"],
        count=VECTORS["count"],
        bound=VECTORS["bound"],
        members=VECTORS["members"],
    )
    assert np.abs(fused - np.sum(VECTORS["values"], axis=0)).max() < 1e-4 * VECTORS["bound"]


@pytest.mark.parametrize("case", VECTORS["bad"], ids=lambda case: case["name"])
def test_bad_cases_fail_where_they_must(objects: Objects, case: dict[str, Any]) -> None:
    with pytest.raises(StepFailedError) as failure:
        run(VECTORS, spoil(objects, case))
    assert failure.value.step == case["step"]
