"""Whole tasks between real gateways on an embedded ledger: honest, interrupted, cheated on, refused."""

import asyncio
import json
import re
import urllib.request
from pathlib import Path

import pytest

from gateway.auditor.verify import verify_ledger
from gateway.errors import PortInUse
from gateway.hospital.approval import UNFIT_DATA
from gateway.hospital.serve import run_gateway
from gateway.researcher.evaluations import parse_evaluation
from privacy.evaluation import auc
from privacy.noisy_evaluation import BINS, merge_noisy, plausible
from tests.support.hospitals import IMPATIENT, PATIENT, consortium, task_document


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
        task_id = await together.submit(task_document(rounds=3, heartbeat_limit=IMPATIENT))
        await together.until(task_id, phase="reveal", round_number=1)
        await together.kill("hospital-04")
        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 3)
        last = (await together.settlements(end))[-1]
        contributed = {entry.mspid for entry in last.hospitals if entry.contributed}
        assert contributed == {"hospital-01", "hospital-02", "hospital-03"}


@pytest.mark.parametrize("phase", ["keys_share", "sum", "decrypt", "score_commit"])
async def test_when_the_hub_dies_another_gateway_takes_its_place(tmp_path: Path, phase: str) -> None:
    async with consortium(tmp_path, hospitals=4) as together:
        task_id = await together.submit(task_document(rounds=2, heartbeat_limit=IMPATIENT))
        view = await together.until(task_id, phase=phase)
        hub = view.aggregators[0] if phase == "keys_share" else (await together.researcher.ledger.round(task_id, 1)).aggregator
        await together.kill(hub)
        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 2), end.reason
        last = (await together.settlements(end))[-1]
        assert last.accepted
        assert {entry.mspid for entry in last.hospitals if entry.contributed} == set(together.mspids) - {hub}
        assert (await verify_ledger(together.researcher.client)).verified


async def test_a_gateway_that_comes_back_takes_part_again(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4) as together:
        task_id = await together.submit(task_document(rounds=8, heartbeat_limit=IMPATIENT))
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
        task_id = await together.submit(task_document(rounds=5, heartbeat_limit=IMPATIENT))
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
            assert cheat.utility_ppm is not None and cheat.utility_ppm < 0
            assert (cheat.contributed, cheat.pay_micro) == (False, 0)


async def test_a_replayed_ciphertext_is_refused_by_the_contract_every_time(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4, misbehave={4: "replay"}) as together:
        end = await together.until_over(await together.submit(task_document(rounds=9, heartbeat_limit=IMPATIENT)))
        assert end.phase == "finished"
        cheats = [next(entry for entry in each.hospitals if entry.mspid == "hospital-04") for each in await together.settlements(end)]
        assert cheats[1].contributed
        assert [cheat.contributed or cheat.pay_micro for cheat in cheats[2:]] == [False] * 7
        assert not cheats[2].integrity and cheats[2].deposit_micro > 0
        assert sum(cheat.deposit_micro > 0 for cheat in cheats) >= 3


async def test_where_no_group_is_ever_usable_the_model_stays_as_it_began(tmp_path: Path) -> None:
    # One of three hospitals breaks the bound of the only group there is.
    async with consortium(tmp_path, features=30, misbehave={3: "scale"}) as together:
        end = await together.until_over(await together.submit(task_document(rounds=2, features=30)))
        assert (end.phase, end.round) == ("finished", 2), end.reason
        assert all(group.rejected for each in await together.settlements(end) for group in each.groups)
        told = parse_evaluation(json.dumps(await together.evaluation("hospital-01", end.terms.task_id)).encode()).federated
        # The model that everybody began with gives every patient one half; the others' counts are noise.
        counts = [sum(pair) for pair in zip(told.positives, told.negatives, strict=True)]
        assert counts[BINS // 2] > 5 > max(map(abs, counts[: BINS // 2] + counts[BINS // 2 + 1 :]))


async def test_a_task_beyond_a_hospital_s_cap_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with consortium(tmp_path) as together:
        end = await together.until_over(await together.submit(task_document(epsilon=50)))
        assert end.phase == "abandoned"
        assert all(not decision.approved for decision in end.decisions)
        assert "asks for epsilon 50, this hospital allows at most 10" in end.decisions[0].reason


async def test_a_rejection_for_unfit_data_tells_nothing_of_them(tmp_path: Path) -> None:
    async with consortium(tmp_path) as together:
        (tmp_path / "data" / "hospital-02" / "Observation.ndjson").write_text("this is not JSON\n")
        end = await together.until_over(await together.submit(task_document()))
        assert end.phase == "abandoned"
        (rejection,) = [decision for decision in end.decisions if not decision.approved]
        assert rejection.mspid == "hospital-02"
        assert rejection.reason == UNFIT_DATA


async def test_a_hospital_with_too_few_patients_stays_out(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=3, patients=12) as together:
        end = await together.until_over(await together.submit(task_document()))
        assert end.phase == "abandoned"
        assert "too few patients here" in end.decisions[0].reason


async def test_a_hospital_that_goes_offline_loses_its_pay_and_holds_nobody_up(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4, misbehave={4: "offline"}) as together:
        end = await together.until_over(await together.submit(task_document(rounds=5, heartbeat_limit=IMPATIENT)))
        assert (end.phase, end.round) == ("finished", 5)
        pay = [{entry.mspid: entry.pay_micro for entry in each.hospitals} for each in await together.settlements(end)]
        assert pay[0]["hospital-04"] > 0
        assert [each["hospital-04"] for each in pay[2:]] == [0, 0, 0]


async def test_no_patient_stands_on_the_ledger_or_in_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with consortium(tmp_path) as together:
        with caplog.at_level("DEBUG"):
            end = await together.until_over(await together.submit(task_document(rounds=1)))
        assert end.phase == "finished"
        height = await together.researcher.client.height()
        blocks = b"".join([block.SerializeToString() async for block in together.researcher.client.blocks(start=0, stop=height - 1)])
        assert b"task-1" in blocks and "hospital-01" in caplog.text
        for canary in ("h1-p0", "h2-p7", "Patient/h"):
            assert canary.encode() not in blocks
            assert canary not in caplog.text


async def test_a_gateway_without_inbound_connections_takes_part(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4, unreachable=(2,)) as together:
        end = await together.until_over(await together.submit(task_document(rounds=2)))
        assert end.phase == "finished"
        assert all(
            "hospital-02" in {entry.mspid for entry in each.hospitals if entry.contributed} for each in await together.settlements(end)
        )
        view = await together.researcher.ledger.round("task-1", 2)
        assert "hospital-02" not in view.aggregators


@pytest.mark.slow
async def test_a_label_flipper_loses_trust_and_reward_while_the_model_holds(tmp_path: Path) -> None:
    document = (Path(__file__).parents[2] / "deploy" / "samples" / "tasks" / "breast-cancer.toml").read_bytes()
    document = re.sub(rb"heartbeat_limit = \d+", b"heartbeat_limit = %d" % PATIENT, document)
    async with consortium(tmp_path, hospitals=6, sample_data=True, misbehave={1: "label-flip"}) as together:
        end = await together.until_over(await together.submit(document))
        assert end.phase == "finished"
        trust = {entry.mspid: entry.trust_ppm for entry in await together.researcher.ledger.trust()}
        honest = [value for mspid, value in trust.items() if mspid != "hospital-01"]
        assert trust["hospital-01"] < 0.7 * sum(honest) / len(honest)
        earned = dict.fromkeys(trust, 0)
        for settlement in await together.settlements(end):
            for entry in settlement.hospitals:
                earned[entry.mspid] += entry.pay_micro
        assert earned["hospital-01"] < 0.5 * sum(earned.values()) / len(earned)
        evaluations = [await together.evaluation(mspid, end.terms.task_id) for mspid in together.mspids]
        noisy = merge_noisy([parse_evaluation(json.dumps(each).encode()).federated for each in evaluations])
        assert (auc(plausible(noisy)) or 0.0) > 0.85  # a good model's 0.95 and more, drawn towards one half by the noise


async def test_monitoring_finds_the_gateway_s_counters(tmp_path: Path) -> None:
    async with consortium(tmp_path, metrics=True) as together:
        await together.until_over(await together.submit(task_document(rounds=2)))
        listen = together.gateways["hospital-01"].config.gateway.metrics
        with await asyncio.to_thread(urllib.request.urlopen, f"http://{listen}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    assert "consortium_contributions_total 2.0" in text
    assert "consortium_failed_steps_total" in text


async def test_a_gateway_on_a_port_in_use_says_so_and_leaves_its_state_alone(tmp_path: Path) -> None:
    async with consortium(tmp_path) as together:
        taken = together.gateways["hospital-01"].config
        second = taken.model_copy(update={"gateway": taken.gateway.model_copy(update={"state": tmp_path / "second"})})
        with pytest.raises(PortInUse, match="is taken by another program"):
            await run_gateway(second, asyncio.Event())
        assert not (tmp_path / "second").exists()
