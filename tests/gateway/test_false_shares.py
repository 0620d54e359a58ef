"""Holders that cheat with shares, among real gateways on an embedded ledger: named, left out, and no model made of garbage."""

from pathlib import Path

from gateway.auditor.verify import verify_ledger
from tests.support.hospitals import PATIENT, consortium, task_document


async def test_a_dealer_of_false_key_shares_is_named_and_the_others_make_a_key_without_it(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4, misbehave={2: "false-key-share"}) as together:
        end = await together.until_over(await together.submit(task_document(rounds=1, heartbeat_limit=PATIENT)))
        assert (end.phase, end.dropped, end.attempt) == ("finished", ("hospital-02",), 2), end.reason
        assert end.participants == ("hospital-01", "hospital-03", "hospital-04")
        assert (await together.researcher.ledger.organisation("hospital-02")).bond_micro == 0
        report = await verify_ledger(together.researcher.client)
        assert report.verified, report


async def test_sums_that_false_shares_do_not_open_are_opened_by_another_quorum(tmp_path: Path) -> None:
    async with consortium(tmp_path, hospitals=4, misbehave={2: "false-decryption"}) as together:
        task_id = await together.submit(task_document(rounds=2, heartbeat_limit=PATIENT))
        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 2), end.reason
        settlements = await together.settlements(end)
        assert all(settlement.accepted for settlement in settlements)
        rounds = [await together.researcher.ledger.round(task_id, number) for number in (1, 2)]
        assert all("hospital-02" not in view.quorum for view in rounds)
        assert all("hospital-02" in failed.quorum for view in rounds for failed in view.failed_quorums)
        assert end.decryptions == sum(1 + len(view.failed_quorums) for view in rounds)
