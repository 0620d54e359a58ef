"""A permit's last day: in the task file, on the ledger, and by the clock of who asks."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.errors import PolicyRefused
from gateway.hospital.approval import _differs
from gateway.permit import check_permit
from gateway.researcher.submit import submit_task
from gateway.task_file import TaskFileError, parse
from tests.support.consortium import TASK as TASK_ID
from tests.support.consortium import Consortium, refused
from tests.support.fhir_folders import TASK
from tests.support.hospitals import task_document

PERMIT = 'permit = "EHDS-7"\npermit_expires = 2026-06-30'


@pytest.mark.parametrize(("now", "ended"), [((2026, 6, 30, 23, 59, 59), False), ((2026, 7, 1), True), ((2025, 12, 31), False)])
def test_the_last_day_is_the_permit_s_too(now: tuple[int, ...], ended: bool) -> None:
    moment = datetime(*now, tzinfo=UTC)  # type: ignore[misc, arg-type]  # the tuples are of three numbers or more
    check_permit("EHDS-7", "", now=moment)
    if not ended:
        check_permit("EHDS-7", "2026-06-30", now=moment)
        return
    with pytest.raises(PolicyRefused, match="the permit EHDS-7 ended on 2026-06-30: nothing runs under it any more"):
        check_permit("EHDS-7", "2026-06-30", now=moment)


async def test_a_permit_that_has_ended_is_not_submitted() -> None:
    access: Any = None  # nothing is asked of the ledger
    with pytest.raises(PolicyRefused, match="ended on 2026-06-30"):
        await submit_task(access, task_document(permit=PERMIT), task_id="task-1", source="test", now=datetime(2026, 7, 1, tzinfo=UTC))


def test_an_expiry_is_of_a_permit() -> None:
    with pytest.raises(TaskFileError, match="permit_expires is the last day of a permit; name the permit, or remove it"):
        parse(TASK.replace('purpose = "testing"', 'purpose = "testing"\npermit_expires = 2026-06-30').encode())
    with pytest.raises(TaskFileError, match=r"task\.permit_expires"):
        parse(TASK.replace('purpose = "testing"', 'purpose = "testing"\npermit = "x"\npermit_expires = "soon"').encode())


def test_the_ledger_holds_it_for_ever() -> None:
    consortium = Consortium(3)
    with refused("BAD_ARGUMENT"):
        consortium.propose(permit_expires="30.6.2026")
    consortium.propose(permit_expires="2026-06-30")
    assert consortium.view("task", task_id=TASK_ID)["terms"]["permit_expires"] == "2026-06-30"


def test_terms_with_another_expiry_than_the_document_s_are_refused() -> None:
    file = parse(task_document(permit=PERMIT))
    terms = {
        "rounds": 2,
        "min_hospitals": 3,
        "group_size": 3,
        "purpose": "testing",
        "permit": "EHDS-7",
        "permit_expires": "2027-06-30",
    }
    sentence = _differs(file, cast(Any, SimpleNamespace(terms=_Terms(terms))))
    assert sentence is not None
    assert sentence.startswith("the document says permit_expires = 2026-06-30, the ledger 2027-06-30")


class _Terms:
    """Terms of which only those that come before the difference matter."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._known = known

    def __getattr__(self, name: str) -> Any:
        return self._known.get(name)
