"""Whole tasks between real gateways on an embedded ledger: honest, interrupted, cheated on, refused."""

from pathlib import Path

import pytest

from gateway.auditor.verify import verify_ledger
from tests.support.hospitals import consortium, task_document


async def test_three_hospitals_train_a_model_that_the_auditor_can_follow(tmp_path: Path) -> None:
    async with consortium(tmp_path) as together:
        end = await together.until_over(await together.submit(task_document(rounds=2)))
        assert (end.phase, end.round) == ("finished", 2)
        settlements = await together.settlements(end)
        assert [settlement.accepted for settlement in settlements] == [True, True]
        assert all(entry.contributed for settlement in settlements for entry in settlement.hospitals)
        report = await verify_ledger(together.researcher.client)
        assert report.verified, report


async def test_six_hospitals_form_two_groups(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=6) as together:
        end = await together.until_over(await together.submit(task_document(rounds=1)))
        view = await together.researcher.ledger.round("task-1", 1)
        assert end.phase == "finished"
        assert sorted(map(len, view.groups)) == [3, 3]
        assert len(view.sums) == 2 and view.decryptions == 2
        assert end.threshold == 4 == len(view.quorum)


async def test_a_gateway_killed_in_mid_round_is_done_without(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4) as together:
        task_id = await together.submit(task_document(rounds=3))
        await together.until(task_id, phase="reveal", round_number=1)
        await together.kill("hospital-04")
        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 3)
        last = (await together.settlements(end))[-1]
        contributed = {entry.mspid for entry in last.hospitals if entry.contributed}
        assert contributed == {"hospital-01", "hospital-02", "hospital-03"}


async def test_a_gateway_that_comes_back_takes_part_again(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4) as together:
        task_id = await together.submit(task_document(rounds=8))
        await together.until(task_id, phase="settled", round_number=1)
        await together.kill("hospital-02")
        await together.until(task_id, phase="settled", round_number=3)
        await together.start("hospital-02")
        end = await together.until_over(task_id)
        assert end.phase == "finished"
        contributed = [{entry.mspid for entry in each.hospitals if entry.contributed} for each in await together.settlements(end)]
        assert "hospital-02" in contributed[0]
        assert any("hospital-02" not in each for each in contributed)
        assert "hospital-02" in contributed[-1]


@pytest.mark.parametrize("phase", ["keys_commit", "keys_share", "reveal", "sum", "decrypt", "score_commit", "score_reveal"])
async def test_a_gateway_restarted_at_any_phase_contributes_once(tmp_path: Path, phase: str) -> None:
    async with consortium(tmp_path) as together:
        task_id = await together.submit(task_document(rounds=2))
        await together.until(task_id, phase=phase)
        await together.kill("hospital-01")
        await together.start("hospital-01")
        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 2)
        budget = await together.researcher.ledger.budget("hospital-01", "records")
        others = await together.researcher.ledger.budget("hospital-02", "records")
        assert budget.filters[0].spent_micro == others.filters[0].spent_micro
        assert (await verify_ledger(together.researcher.client)).verified


async def test_too_few_hospitals_left_ends_the_task_and_says_so(tmp_path: Path) -> None:
    async with consortium(tmp_path) as together:
        task_id = await together.submit(task_document(rounds=5))
        await together.until(task_id, phase="settled", round_number=1)
        await together.kill("hospital-03")
        end = await together.until_over(task_id)
        assert end.phase == "abandoned"
        assert "too few hospitals" in end.reason


@pytest.mark.parametrize("kind", ["noise", "scale"])
async def test_a_group_whose_sum_breaks_its_bound_is_thrown_out(tmp_path: Path, kind: str) -> None:
    # A hospital is only as loud as the encoding lets it be, and stands out of the honest by the number of parameters.
    async with consortium(tmp_path, hospitals=6, features=30, misbehave={5: kind}) as together:
        end = await together.until_over(await together.submit(task_document(rounds=3, features=30)))
        assert end.phase == "finished"
        for settlement in await together.settlements(end):
            for group in settlement.groups:
                assert group.rejected == ("hospital-05" in group.members)
            cheat = next(entry for entry in settlement.hospitals if entry.mspid == "hospital-05")
            assert (cheat.utility_ppm, cheat.contributed, cheat.pay_micro) == (0, False, 0)


async def test_a_replayed_ciphertext_is_refused_by_the_contract(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4, misbehave={4: "replay"}) as together:
        end = await together.until_over(await together.submit(task_document(rounds=4)))
        third = (await together.settlements(end))[2]
        cheat = next(entry for entry in third.hospitals if entry.mspid == "hospital-04")
        assert not cheat.integrity and not cheat.contributed and cheat.pay_micro == 0
        assert cheat.deposit_micro > 0


async def test_a_task_beyond_a_hospital_s_cap_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with consortium(tmp_path) as together:
        end = await together.until_over(await together.submit(task_document(epsilon=50)))
        assert end.phase == "abandoned"
        assert all(not decision.approved for decision in end.decisions)
        assert "asks for epsilon 50, this hospital allows at most 10" in end.decisions[0].reason


async def test_a_hospital_with_too_few_patients_stays_out(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=3, patients=12) as together:
        end = await together.until_over(await together.submit(task_document()))
        assert end.phase == "abandoned"
        assert "too few patients here" in end.decisions[0].reason
