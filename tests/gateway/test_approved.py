"""A gateway runs what its hospital approved, or says why it does not."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fabric.ledger_views import Decision, TaskView
from gateway.errors import VerificationFailed
from gateway.fhir.extract import check
from gateway.fhir.store import StorePlace
from gateway.hospital import task_work
from gateway.hospital.approved import salted
from gateway.hospital.state import StateStore
from gateway.hospital.task_work import TaskWork
from gateway.task_file import parse
from tests.support.fhir_folders import TASK, condition, patient, small_hospital, write

APPROVAL = Decision("HospitalA", True, "", "0" * 64, "patients", 1, 1, 2, 1, 1, 0, 1)


@pytest.fixture
def work(tmp_path: Path) -> Any:
    """A gateway's work on the test task, in a folder of its own."""
    folder = write(tmp_path / "data", [*small_hospital(), *(patient(f"p{number}") for number in range(12)), condition("z", "p3")])
    state = StateStore(tmp_path / "state")

    async def kept(task_id: str, *, decided: bool) -> Path:
        return folder

    store = StorePlace(tmp_path / "state" / "validated.sqlite", values=True)
    config = SimpleNamespace(gateway=SimpleNamespace(data=folder, state=tmp_path / "state", concept_maps=None), consents=None, store=store)
    context = SimpleNamespace(
        config=config,
        state=state,
        data=SimpleNamespace(folder=kept),
        records=SimpleNamespace(read=lambda terms, views_digest: None),
        mspid="HospitalA",
        quarantine=lambda task_id: tmp_path / "bad" / task_id,
    )
    yield lambda: _work(context)
    state.close()


def _work(context: Any) -> TaskWork:
    found = TaskWork(context, "sepsis")
    found._file = parse(TASK.encode())
    return found


def _view(approval: Decision | None) -> TaskView:
    return cast(TaskView, SimpleNamespace(decision=lambda mspid: approval, over=False, terms=None, withdrawals=()))


async def _approved(work: TaskWork) -> Decision:
    cohort = await work.cohort(_view(None))
    return replace(APPROVAL, views_digest=cohort.views_digest, cohort_digest=work.cohort_digest(cohort))


async def test_what_was_approved_is_read_again_after_a_restart(work: Any) -> None:
    approval = await _approved(work())
    assert approval.views_digest == check(parse(TASK.encode())).digest
    again = work()
    assert again.cohort_digest(await again.cohort(_view(approval))) == approval.cohort_digest


async def test_other_sql_than_was_approved_reads_nothing(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = replace(await _approved(work()), views_digest="1" * 64)
    monkeypatch.setattr(task_work, "read_cohort", lambda *_, **__: pytest.fail("patients' data were read"))
    with pytest.raises(VerificationFailed, match=f"{'1' * 64} was approved: the gateway's software changed in between"):
        await work().cohort(_view(approval))


async def test_other_resources_than_were_approved_are_not_used(work: Any, tmp_path: Path) -> None:
    approval = await _approved(work())
    write(tmp_path / "data", [patient("new")], "more.ndjson")
    with pytest.raises(VerificationFailed, match="the cohort of task sepsis changed since it was approved"):
        await work().cohort(_view(approval))


async def test_an_approval_of_an_older_gateway_binds_to_neither(work: Any, tmp_path: Path) -> None:
    write(tmp_path / "data", [patient("new")], "more.ndjson")
    assert len(await work().cohort(_view(APPROVAL))) == 17


def test_the_salt_is_a_secret_of_one_task_and_one_hospital(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    salts = [store.cohort_salt("one"), store.cohort_salt("two")]
    assert (len(set(salts)), {len(salt) for salt in salts}) == (2, {32})
    store.close()
    again = StateStore(tmp_path)
    assert [again.cohort_salt("one"), again.cohort_salt("two")] == salts
    again.close()
    assert len({salted("content", salt=salts[0]), salted("content", salt=salts[1]), salted("other", salt=salts[0])}) == 3
