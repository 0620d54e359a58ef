"""Tasks that begin with round 0, between real gateways: one mean and deviation over all hospitals, agreed on, paid for and used."""

from pathlib import Path

import numpy as np
import pytest

from fabric.ledger_views import TaskView
from gateway.auditor.verify import verify_ledger
from gateway.demo.baseline import exact_normalisation
from gateway.hospital.cohort import Cohort, read_cohort, split_salt
from gateway.researcher.evaluations import fetch_model
from gateway.researcher.gather import gather, model_digest
from gateway.task_file import parse
from privacy.models import digest, from_safetensors
from privacy.normalisation import InputNormalisation
from tests.support.hospitals import IMPATIENT, TogetherConsortium, consortium, task_document

DOCUMENT = task_document(rounds=2, normalisation=True, intercepts=("hospital-01", "hospital-03"))


def cohort_of(together: TogetherConsortium, mspid: str) -> Cohort:
    """A hospital's patients as its gateway split them."""
    gateway = together.gateways[mspid].config.gateway
    return read_cohort(parse(DOCUMENT), gateway.data, quarantine=None, salt=split_salt(gateway.state), mspid=mspid)


async def final_normalisation(together: TogetherConsortium, end: TaskView) -> InputNormalisation:
    """That of the model the researcher gets, whose digest the ledger has."""
    expected = await model_digest(together.researcher.ledger, end)
    model = from_safetensors(await fetch_model(together.researcher, end, expected_digest=expected))
    assert model.normalisation is not None
    return model.normalisation


async def test_hospitals_agree_on_one_normalisation_before_they_train(tmp_path: Path) -> None:
    async with consortium(tmp_path, patients=200) as together:
        end = await together.until_over(await together.submit(DOCUMENT))
        assert (end.phase, end.round) == ("finished", 2), end.reason
        ledger = together.researcher.ledger
        settled, view = await ledger.settlement("task-1", 0), await ledger.round("task-1", 0)
        assert settled.accepted and settled.candidate is not None
        assert all(entry.attendance_ppm and entry.integrity and not entry.pay_micro for entry in settled.hospitals)
        assert all(entry.utility_ppm is None and entry.validator_ppm is None for entry in settled.hospitals)
        assert [[spend.partition for spend in debit.spends] for debit in view.debits] == [["train"]] * 3
        assert all(each.accepted for each in await together.settlements(end))

        found = await final_normalisation(together, end)
        assert digest(found.vector) == settled.candidate.digest
        exact = exact_normalisation(parse(DOCUMENT), [cohort_of(together, mspid).train for mspid in together.mspids])
        # Two numbers of standard deviation 1 within bounds of 3, and the intercepts, which stay as they are.
        assert np.abs(found.mean - exact.mean)[:2].max() < 0.2 > np.abs(found.deviation - exact.deviation)[:2].max()
        assert found.mean[2:].tolist() == [0, 0] and found.deviation[2:].tolist() == [1, 1]

        outcome = await gather(together.researcher, "task-1")
        assert [each.number for each in outcome.rounds] == [1, 2]
        assert all(len(hospital.spends) == 3 and 0 < hospital.epsilon <= 8 for hospital in outcome.hospitals)
        assert (await verify_ledger(together.researcher.client)).verified


@pytest.mark.parametrize("phase", ["commit", "reveal", "sum", "decrypt", "score_commit", "score_reveal"])
async def test_a_gateway_restarted_in_round_0_spends_once_and_goes_on(tmp_path: Path, phase: str) -> None:
    async with consortium(tmp_path) as together:
        task_id = await together.submit(DOCUMENT)
        await together.until(task_id, phase=phase)
        await together.kill("hospital-01")
        await together.start("hospital-01")
        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 2), end.reason
        own, other = [await together.researcher.ledger.budget(mspid, "records") for mspid in ("hospital-01", "hospital-02")]
        assert own.filters[0].spent_micro == other.filters[0].spent_micro
        assert (await together.evaluation("hospital-01", task_id))["federated"]["positives"]
        assert (await verify_ledger(together.researcher.client)).verified


async def test_a_gateway_that_was_away_in_round_0_learns_the_normalisation_from_another(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4) as together:
        task_id = await together.submit(task_document(rounds=8, normalisation=True, heartbeat_limit=IMPATIENT))
        await together.until(task_id, phase="commit")
        await together.kill("hospital-04")
        await together.until(task_id, phase="settled", round_number=1)
        await together.start("hospital-04")
        end = await together.until_over(task_id)
        assert end.phase == "finished", end.reason
        assert "hospital-04" not in (await together.researcher.ledger.round(task_id, 0)).revealed
        last = (await together.settlements(end))[-1]
        assert {entry.mspid for entry in last.hospitals if entry.contributed} == set(together.mspids)


async def test_inputs_stay_as_they_are_where_no_sum_is_usable(tmp_path: Path) -> None:
    async with consortium(tmp_path, features=30, misbehave={3: "scale"}) as together:
        end = await together.until_over(await together.submit(task_document(rounds=1, features=30, normalisation=True)))
        settled = await together.researcher.ledger.settlement("task-1", 0)
        assert settled.accepted and [group.rejected for group in settled.groups] == [True]
        assert [entry.contributed for entry in settled.hospitals] == [False] * 3
        assert end.phase == "finished"
