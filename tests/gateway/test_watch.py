"""Following a task: what a watcher is told, on a ledger whose hospitals play a whole task."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fabric import canonical
from fabric.client.errors import ContractRefused
from fabric.client.events import ChaincodeEvent
from fabric.contract.errors import ContractError
from gateway.researcher.gather import read_history
from gateway.researcher.progress import Progress
from gateway.researcher.watch import watch
from privacy.accounting import SpendEvent, epsilon_at_orders
from tests.support.consortium import LAB, TASK, Behaviour, Consortium

HOSPITALS = 6


class PlayedClient:
    """The ledger's client on an in-memory ledger; when a follower has heard every event, the next scene is played."""

    def __init__(self, consortium: Consortium, scenes: list[Callable[[], Any]]) -> None:
        self.consortium = consortium
        self.scenes = scenes

    async def evaluate(self, function: str, *args: bytes) -> bytes:
        try:
            return canonical.dumps(self.consortium.ledger.evaluate(self.consortium.researcher, function, args[0] if args else None))
        except ContractError as error:
            raise ContractRefused(error.code, error.sentence) from error

    async def height(self) -> int:
        return len(self.consortium.ledger.events)

    async def chaincode_events(self, *, start_block: int) -> AsyncIterator[ChaincodeEvent]:
        position = start_block
        while True:
            events = self.consortium.ledger.events
            while position == len(events):
                self.scenes.pop(0)()
            name, payload = events[position]
            yield ChaincodeEvent(name, canonical.dumps(payload), f"{position:064x}", position)
            position += 1


async def told(client: PlayedClient) -> list[Progress]:
    return [progress async for progress in watch(client, TASK)]  # type: ignore[arg-type]  # plays the client's part


def consortium_with_task() -> Consortium:
    consortium = Consortium(HOSPITALS)
    consortium.propose()
    return consortium


def approvals(consortium: Consortium) -> None:
    for mspid in consortium.hospitals:
        consortium.approve(mspid)
    consortium.advance()


async def test_a_task_is_told_from_proposal_to_end() -> None:
    consortium = consortium_with_task()
    scenes = [lambda: approvals(consortium), consortium.make_key, consortium.play_round, consortium.play_round]
    steps = await told(PlayedClient(consortium, scenes))
    notable = [step.said for step in steps if step.notable]
    assert notable[0].endswith("Breast cancer")
    assert {f"{mspid} approved the task" for mspid in consortium.hospitals} <= set(notable)
    assert [said[:7] for said in notable if said.startswith("round ")] == ["round 1", "round 2"]
    assert notable[-1] == "task finished"
    end = steps[-1]
    assert end.over
    assert (end.phase, end.round) == ("finished", 2)
    for mspid, hospital in end.hospitals.items():
        organisation = consortium.view("organisation", mspid=mspid)
        assert hospital.stands == "taking part"
        assert hospital.trust_ppm == organisation["trust_ppm"] > 0
        assert hospital.spends == (SpendEvent("gaussian", 20.0, 1.0, 1),) * 2, "validation patients' spends are not the training patients'"
        assert hospital.epsilon == epsilon_at_orders(hospital.spends, delta=1e-5)


async def test_who_comes_late_is_told_the_settled_rounds_first() -> None:
    consortium = consortium_with_task()
    approvals(consortium)
    consortium.make_key()
    consortium.play_round()
    late = await told(PlayedClient(consortium, [consortium.play_round]))
    early = Consortium(HOSPITALS)
    early.propose()
    scenes = [lambda: approvals(early), early.make_key, early.play_round, early.play_round]
    from_the_start = await told(PlayedClient(early, scenes))
    assert late[-1] == from_the_start[-1]


async def test_a_task_that_is_over_is_told_at_once() -> None:
    consortium = consortium_with_task()
    approvals(consortium)
    consortium.make_key()
    consortium.play_round()
    consortium.play_round()
    end = (await told(PlayedClient(consortium, [])))[-1]
    assert end.over
    assert all(hospital.trust_ppm for hospital in end.hospitals.values())


async def test_an_offline_hospital_is_shown_as_absent_and_earns_nothing_more() -> None:
    consortium = consortium_with_task()
    silent = consortium.hospitals[2]
    behaviour = Behaviour(offline={silent})
    scenes = [lambda: approvals(consortium), consortium.make_key, consortium.play_round, lambda: consortium.play_round(behaviour)]
    steps = await told(PlayedClient(consortium, scenes))
    settled = [step for step in steps if step.round_phase == "settled"]
    assert steps[-1].hospitals[silent].stands == "absent"
    assert f"{silent}: absent, silent since round 2" in [step.said for step in steps if step.notable]
    assert settled[-1].hospitals[silent].earned_micro == settled[0].hospitals[silent].earned_micro


async def test_an_abandoned_task_says_why() -> None:
    consortium = consortium_with_task()

    def rejections() -> None:
        digest = consortium.task()["terms"]["digest"]
        for mspid in consortium.hospitals:
            consortium.by(mspid, "reject_task", task_id=TASK, digest=digest, reason="not for this purpose")
        consortium.advance()

    steps = await told(PlayedClient(consortium, [rejections]))
    assert f"{consortium.hospitals[3]}: rejected, not for this purpose" in [step.said for step in steps]
    end = steps[-1]
    assert end.over
    assert end.phase == "abandoned"
    assert end.reason in end.said
    assert end.hospitals[consortium.hospitals[0]].note == "not for this purpose"


async def test_an_aborted_task_ends_the_watch() -> None:
    consortium = consortium_with_task()
    scenes = [lambda: consortium.submit(consortium.researcher, "abort_task", task_id=TASK, reason="a mistake in the label")]
    end = (await told(PlayedClient(consortium, scenes)))[-1]
    assert (end.phase, end.reason) == ("aborted", "a mistake in the label")


async def test_a_task_that_the_ledger_does_not_have() -> None:
    with pytest.raises(ContractRefused):
        await told(PlayedClient(Consortium(3), []))


async def test_the_history_names_the_newest_accepted_model() -> None:
    from fabric.ledger import Ledger

    consortium = consortium_with_task()
    approvals(consortium)
    consortium.make_key()
    first = consortium.play_round()
    consortium.play_round(Behaviour(candidate_micro=-900_000))
    ledger = Ledger(PlayedClient(consortium, []))  # type: ignore[arg-type]  # plays the client's part
    history = await read_history(ledger, await ledger.task(TASK))
    assert [settlement.accepted for settlement in history.settlements] == [True, False]
    assert history.model_digest == first["candidate"]["digest"]
    assert LAB not in {debit.mspid for each in history.rounds for debit in each.debits}
