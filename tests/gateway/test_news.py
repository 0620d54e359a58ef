"""What events tell a gateway: whom a round's phase still waits for, and what need not be asked of the ledger again."""

import dataclasses
from typing import Any

import pytest

from fabric import canonical
from fabric.ledger_views import Commit, RoundView
from gateway.hospital.news import Awaited, News

PLACE = {"task_id": "task-1", "round": 2, "attempt": 1}
NAMES = ("A", "B", "C")


def view(phase: str, **more: Any) -> RoundView:
    """A round of which nothing stands yet but what is given."""
    nothing = {"str": "", "int": 0, "dict": {}, "tupl": ()}
    empty = {field.name: nothing.get(str(field.type).removeprefix("<class '")[:4]) for field in dataclasses.fields(RoundView)}
    return RoundView(**{**empty, **PLACE, "phase": phase, "participants": NAMES, "aggregators": NAMES, **more})


def told(phase: str, action: str, mspid: str, **more: Any) -> News:
    news = News.read("progress", canonical.dumps({**PLACE, "phase": phase, "action": action, "mspid": mspid, **more}))
    assert news is not None
    return news


@pytest.mark.parametrize(
    ("phase", "members", "action", "closable"),
    [
        ("commit", "participants", "commit", True),
        ("reveal", "committed", "reveal", True),
        ("decrypt", "quorum", "share", False),  # the aggregator owes a candidate then
        ("score_commit", "committee", "score_commit", True),
        ("score_reveal", "scorers", "score_reveal", True),
    ],
)
def test_a_phase_is_complete_when_everyone_concerned_has_acted(phase: str, members: str, action: str, closable: bool) -> None:
    awaited = Awaited(view(phase, **{members: NAMES}))
    for mspid in NAMES:
        assert not awaited.complete
        awaited.hear(told(phase, "debit", mspid))
        awaited.hear(told(phase, action, mspid, round=1))
        awaited.hear(told(phase, action, mspid, attempt=2))
        awaited.hear(told(phase, action, "A"))
        assert mspid == "A" or mspid in awaited.missing
        awaited.hear(told(phase, action, mspid))
    assert (awaited.complete, awaited.closable) == (True, closable)


def test_whoever_had_acted_when_the_ledger_was_asked_is_not_awaited() -> None:
    awaited = Awaited(view("commit", commits=(Commit("A", "00"), Commit("C", "11"))))
    assert awaited.missing == {"B"}


def test_a_phase_of_one_call_is_never_complete_by_progress() -> None:
    assert not Awaited(view("sum")).complete


@pytest.mark.parametrize(
    ("name", "payload", "moved", "within"),
    [
        ("progress", {**PLACE, "phase": "commit"}, False, True),
        ("phase", {**PLACE, "phase": "reveal"}, True, True),
        ("phase", {**PLACE, "phase": "commit"}, True, False),  # the first round: the key ceremony has settled who takes part
        ("phase", {**PLACE, "phase": "keys_share"}, True, False),
        ("progress", {**PLACE, "phase": "keys_share"}, False, False),
        ("settled", PLACE, True, False),
        ("task_aborted", PLACE, True, False),
        ("task_approved", PLACE, False, False),
    ],
)
def test_what_an_event_changes(name: str, payload: dict[str, Any], moved: bool, within: bool) -> None:
    news = News.read(name, canonical.dumps(payload))
    assert news is not None
    assert (news.moved, news.within_round) == (moved, within)


@pytest.mark.parametrize("payload", [b"", b"no json", b"[]", b'{"task_id":1}', b'{"mspid":"A"}'])
def test_an_event_of_no_task_is_no_news(payload: bytes) -> None:
    assert News.read("heartbeat", payload) is None


@pytest.mark.parametrize(("action", "counted"), [("commit", True), ("debit", True), ("share", True), ("share objection", False)])
def test_an_objection_is_more_than_one_more_who_has_acted(action: str, counted: bool) -> None:
    assert told("decrypt", action, "A").counted is counted


@pytest.mark.parametrize(("phase", "by_count"), [("commit", True), ("score_reveal", True), ("sum", False), ("decrypt", False)])
def test_phases_that_one_call_can_end_may_be_due_before_all_have_acted(phase: str, by_count: bool) -> None:
    assert Awaited(view(phase)).closed_by_count is by_count
