"""The audit of whole histories: honest ones compute again; a false number that a majority endorsed is found."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2

from fabric import canonical
from fabric.blocks import header_hash
from fabric.checkpoint import Checkpoint
from fabric.contract.keys import key
from fabric.verify import VerificationError, VerifiedBlock, Verifier
from gateway.auditor.trail import trail, trail_of_ledger
from gateway.auditor.verify import AuditReport, verify_file, verify_ledger
from tests.support.consortium import TASK, Behaviour
from tests.support.ledger_file import Blocks, write_ledger
from tests.support.recorded_task import Recording, played


@pytest.fixture(scope="module")
def finished() -> Recording:
    """Six hospitals, two rounds; one spoils its group, one does not reveal its scores, one is gone."""
    behaviour = Behaviour(utility={"H02MSP": 400_000}, silent={"score_reveal": {"H03MSP"}}, offline={"H06MSP"})
    return played(6, 2, behaviour)


async def audit(recording: Recording) -> AuditReport:
    return await verify_ledger(Blocks(recording.blocks))


async def test_an_honest_history_computes_again(finished: Recording, tmp_path: Path) -> None:
    report = await audit(finished)
    assert report.problems == ()
    assert report.verified
    assert (report.recomputed.trust, report.recomputed.balances, report.recomputed.budgets) == (True, True, True)
    assert report == verify_file(write_ledger(tmp_path / "blocks", finished.blocks))


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(other_candidate={"H01MSP", "H02MSP", "H03MSP"}),
        Behaviour(candidate_micro=-900_000),
        Behaviour(silent={"score_commit": {"H01MSP", "H02MSP", "H03MSP"}}),
        Behaviour(silent={"reveal": {"H01MSP"}}),
        Behaviour(silent={"commit": {"H01MSP", "H02MSP", "H03MSP"}}),
        Behaviour(rejected_groups=(0,)),
    ],
    ids=["disputed", "worse", "unjudged", "unopened", "abandoned", "rejected"],
)
async def test_histories_that_go_wrong_compute_again(behaviour: Behaviour) -> None:
    report = await audit(played(3, 1, behaviour))
    assert report.problems == ()
    assert report.verified


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour(other_candidate={"H01MSP", "H02MSP", "H03MSP"}),
        Behaviour(silent={"score_reveal": {"H01MSP"}}),
        Behaviour(rejected_groups=(0,)),
    ],
    ids=["honest", "disputed", "silent", "rejected"],
)
async def test_histories_that_begin_with_round_0_compute_again(behaviour: Behaviour) -> None:
    report = await audit(played(6, 1, behaviour, normalisation=True))
    assert report.problems == ()
    assert report.verified


async def test_pay_for_round_0_is_found() -> None:
    recording = played(3, 1, normalisation=True)
    settlement = recording.consortium.settlement(0)
    settlement["hospitals"][0]["pay_micro"] = 5
    settlement.pop("schema")
    recording.forge("H01MSP", "advance", {}, ("settled", canonical.dumps(settlement)))
    assert not (await audit(recording)).recomputed.balances


async def test_an_aborted_task_gives_its_escrow_back() -> None:
    recording = Recording(3)
    recording.consortium.start()
    recording.consortium.submit(recording.consortium.researcher, "abort_task", task_id=TASK, reason="permit withdrawn")
    assert (await audit(recording)).verified


def record_of(recording: Recording, *name: Any) -> dict[str, Any]:
    value, _ = recording.consortium.ledger.state[key(*name)]
    return dict(canonical.loads(value))


@pytest.mark.parametrize(
    ("name", "change", "area"),
    [
        (("account", "H01MSP"), {"balance_micro": 10**12}, "balances"),
        (("account", "H01MSP"), {"bond_micro": 0}, "balances"),
        (("treasury", TASK, 1), {"amount_micro": 7}, "balances"),
        (("trust", "H01MSP"), {"positive": 10**9}, "trust"),
        (("trust", "H01MSP"), {"streak": 10}, "trust"),
        (("filter", "H01MSP", "patients", "train"), {"spent_micro": [0] * 15}, "budgets"),
        (("filter", "H01MSP", "patients", "train"), {"caps_micro": [10**12] * 15}, "budgets"),
        (("task_filter", TASK, "H01MSP", "validation"), {"epsilon_micro": 10**9}, "budgets"),
    ],
)
async def test_a_record_that_the_rules_do_not_give_is_found(name: tuple[Any, ...], change: dict[str, Any], area: str) -> None:
    recording = played(4, 1, Behaviour(silent={"reveal": {"H03MSP"}}, candidate_micro=10_000))
    before = record_of(recording, *name) if key(*name) in recording.consortium.ledger.state else {"task_id": TASK, "round": 1, "schema": 1}
    recording.forge("H01MSP", "heartbeat", {key(*name): canonical.dumps({**before, **change})})
    report = await audit(recording)
    assert report.first_bad_block is None
    assert not report.verified
    wrong = {name for name in ("trust", "balances", "budgets") if not getattr(report.recomputed, name)}
    assert wrong == {area}
    assert any(part in report.problems[0] for part in change)


async def test_a_record_that_was_deleted_is_found() -> None:
    recording = played(3, 1)
    recording.forge("H01MSP", "heartbeat", {key("filter", "H01MSP", "patients", "train"): None})
    report = await audit(recording)
    assert report.problems == ("budget H01MSP/patients/train: it is missing from the state",)


async def test_a_settlement_that_pays_too_much_is_found() -> None:
    recording = played(3, 1)
    settlement = record_of(recording, "settlement", TASK, 1)
    del settlement["schema"]
    settlement["round"] = 2
    settlement["hospitals"][0]["pay_micro"] += 1
    recording.forge("H01MSP", "advance", {}, ("settled", canonical.dumps(settlement)))
    report = await audit(recording)
    assert not report.recomputed.balances
    assert any("was paid" in problem for problem in report.problems)


async def test_a_call_without_its_argument_is_a_finding() -> None:
    recording = played(3, 1)
    recording.forge("H01MSP", "debit", {})
    report = await audit(recording)
    assert not report.verified
    assert "is not a call this contract makes" in report.problems[0]


async def test_the_audit_stops_at_the_first_bad_block(finished: Recording) -> None:
    blocks = list(finished.blocks)
    del blocks[3]
    report = await verify_ledger(Blocks(blocks))
    assert (report.first_bad_block, report.height, report.step) == (3, 3, "NUMBER")
    assert not report.verified
    assert report.reason == "its header has number 4"


class TestTrail:
    def test_a_task_is_told_in_order(self, finished: Recording) -> None:
        told = trail(finished.blocks, TASK)
        functions = [entry.function for entry in told]
        order = [
            "submit_task",
            "approve_task",
            "commit_key_share",
            "confirm_key",
            "debit",
            "commit",
            "reveal",
            "post_sums",
            "post_share",
            "post_candidate",
            "commit_scores",
            "reveal_scores",
        ]
        assert [function for function in dict.fromkeys(functions) if function in order] == order
        assert [entry.block for entry in told] == sorted(entry.block for entry in told)
        assert functions.count("approve_task") == 6
        assert [entry.event for entry in told].count("settled") == 2

    def test_each_line_says_who_signed_and_who_endorsed(self, finished: Recording) -> None:
        told = trail(finished.blocks, TASK)
        first, last = told[0].line, told[-1].line
        assert "LabMSP submitted task breast-cancer" in first
        assert "reward 100 tokens" in first
        assert "signed by client.LabMSP of LabMSP" in first
        assert "endorsed by H01MSP" in first
        assert "settled" in last
        assert "the task is finished" in last
        assert all(entry.text for entry in told)

    def test_programs_get_the_same_as_json(self, finished: Recording) -> None:
        for entry in trail(finished.blocks, TASK):
            told = json.loads(json.dumps(entry.as_json()))
            assert told["took_effect"] is True
            assert told["mspid"] == entry.mspid

    def test_a_task_nobody_submitted_has_no_story(self, finished: Recording) -> None:
        assert trail(finished.blocks, "another-task") == []

    def test_a_story_that_ends_before_a_checkpoint_is_not_told(self, finished: Recording) -> None:
        last = finished.blocks[-1].header
        kept = Checkpoint(last.number, header_hash(last))
        assert trail(finished.blocks, TASK, checkpoints=[kept]) == trail(finished.blocks, TASK)
        with pytest.raises(VerificationError, match="rolled back"):
            trail(finished.blocks[:-1], TASK, checkpoints=[kept])

    async def test_a_ledger_tells_it_block_by_block(self, finished: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
        """No block is fetched before the one before is verified: memory holds the story, and not the chain."""
        fetched = verified = ahead = 0
        accept = Verifier.accept

        class Counted(Blocks):
            async def blocks(self, *, start: int, stop: int | None) -> AsyncIterator[common_pb2.Block]:
                nonlocal fetched, ahead
                async for block in super().blocks(start=start, stop=stop):
                    fetched += 1
                    ahead = max(ahead, fetched - verified)
                    yield block

        def counted(self: Verifier, block: common_pb2.Block) -> VerifiedBlock:
            nonlocal verified
            verified += 1
            return accept(self, block)

        monkeypatch.setattr(Verifier, "accept", counted)
        assert await trail_of_ledger(Counted(finished.blocks), TASK) == trail(finished.blocks, TASK)
        assert ahead == 1
