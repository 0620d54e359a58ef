"""Disputes between real gateways on an embedded ledger: what one update was is seen by its judges, and by nobody else."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from fabric.contract.verdicts import HARMFUL, MALFORMED, SOUND
from fabric.ledger_views import DisputeView
from gateway.auditor.verify import verify_ledger
from gateway.cli.main import run
from gateway.hospital.detectors import OpenedUpdate, bounds, direction
from privacy.robust import GroupBound
from tests.support.hospitals import TogetherConsortium, consortium, task_document

DISPUTE_SECONDS = 120


async def closed(together: TogetherConsortium, task_id: str) -> DisputeView:
    """The task's first dispute, once it is closed."""
    async with asyncio.timeout(DISPUTE_SECONDS):
        async for event in together.researcher.client.chaincode_events(start_block=0):
            if event.name == "dispute" and json.loads(event.payload)["phase"] == "closed":
                return (await together.researcher.ledger.disputes(task_id))[0]
    raise AssertionError("the ledger's events ended")


async def accuser_of(together: TogetherConsortium, accused: str) -> str:
    """A hospital that was in another group of round 1."""
    view = await together.researcher.ledger.round("task-1", 1)
    near = next(entry.members for entry in view.sums if accused in entry.members)
    return next(mspid for mspid in together.mspids if mspid not in near)


async def dispute(together: TogetherConsortium, accused: str) -> DisputeView:
    accuser = await accuser_of(together, accused)
    words = ["dispute", "open", "--config", str(together.network.gateway(accuser)), "--task", "task-1", "--round", "1"]
    code = await asyncio.to_thread(run, [*words, "--hospital", accused, "--reason", "its group never helps"])
    assert code == 0
    return await closed(together, "task-1")


async def test_an_update_that_breaks_its_bound_is_opened_and_its_hospital_slashed(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=6, features=30, misbehave={6: "scale"}) as together:
        await together.until(await together.submit(task_document(rounds=1, features=30)), phase="over")
        found = await dispute(together, "hospital-06")
        assert (found.outcome, found.fined) == ("guilty", ())
        assert {each.finding for each in found.findings} == {MALFORMED}
        accused = await together.researcher.ledger.organisation("hospital-06")
        assert (accused.ejected, accused.bond_micro) == (True, 0)
        assert (await verify_ledger(together.researcher.client)).verified
        records = (together.gateways["hospital-06"].config.gateway.records).rglob("*")
        told = "".join(path.read_text() for path in records if path.is_file())
        assert all(f'"{judge}"' in told or judge in told for judge in found.committee)
        assert told.count("update opened to a judge of a dispute") == len(found.committee)


async def test_an_honest_update_is_found_sound_while_rounds_go_on(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=6) as together:
        task_id = await together.submit(task_document(rounds=3))
        await together.until(task_id, phase="settled", round_number=1)
        found = await dispute(together, "hospital-03")
        assert (found.outcome, found.fined) == ("unfounded", ())
        assert {each.finding for each in found.findings} == {SOUND}
        assert len({each.opened_digest for each in found.findings}) == 1
        assert not (await together.researcher.ledger.organisation("hospital-03")).ejected
        end = await together.until_over(task_id)
        assert end.phase == "finished"
        assert (await verify_ledger(together.researcher.client)).verified


def update(vector: np.ndarray, *, coordinate: float = 10.0, norm: float = 30.0, progress: np.ndarray | None = None) -> OpenedUpdate:
    return OpenedUpdate(vector, GroupBound(coordinate, norm), np.zeros(len(vector)) if progress is None else progress)


@pytest.mark.parametrize(
    ("vector", "finding"),
    [
        (np.full(9, 9.9), SOUND),
        (np.array([10.1, 0.0]), MALFORMED),
        (np.full(100, 3.1), MALFORMED),
        (np.array([np.nan]), MALFORMED),
    ],
)
def test_bounds(vector: np.ndarray, finding: str) -> None:
    assert bounds(update(vector)) == finding
    assert direction(update(vector)) == finding


def test_direction_convicts_what_points_against_the_model_further_than_noise_can() -> None:
    rng = np.random.default_rng(5)
    progress = rng.normal(size=400)
    noise = rng.normal(size=400)
    assert direction(update(noise, progress=progress)) == SOUND
    assert direction(update(0.5 * progress + noise, progress=progress)) == SOUND
    assert direction(update(-0.5 * progress + noise, progress=progress)) == HARMFUL
    assert direction(update(-0.5 * progress + noise)) == SOUND  # the model has learnt nothing yet


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_never_harmful(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert direction(update(rng.normal(size=50), progress=rng.normal(size=50))) == SOUND
