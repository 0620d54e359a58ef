"""Who is out of a task: before its approval, after it, after a restart, and where consents cannot be read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fabric.client.errors import ContractRefused
from fabric.ledger_views import Decision, TaskView
from gateway.config import GatewayConfig
from gateway.errors import ConfigError
from gateway.fhir.consent import Rules
from gateway.fhir.consents import ConsentSource
from gateway.fhir.errors import ConsentError, DataError
from gateway.hospital.approval import consider
from gateway.hospital.cohort import Cohort
from gateway.hospital.state import StateStore
from gateway.hospital.task_work import TaskWork
from gateway.task_file import parse
from gateway.toml_file import validate
from tests.gateway.test_approved import APPROVAL
from tests.gateway.test_task_data import config
from tests.support.fhir_folders import TASK, condition, patient, small_hospital, write

KEYS = {*"abcd", *(f"p{number}" for number in range(12))}


@dataclass
class Hospital:
    """A gateway's work on the test task, with an opt-out list."""

    opt_out: Path
    context: Any

    def leave_out(self, *keys: str) -> None:
        part = self.opt_out.with_suffix(".part")
        part.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
        part.replace(self.opt_out)

    def work(self) -> TaskWork:
        found = TaskWork(self.context, "sepsis")
        found._file = parse(TASK.encode())
        return found


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    people = [*small_hospital(), *(patient(f"p{number}") for number in range(12)), condition("z", "p3")]
    folder = write(tmp_path / "data", people)
    state = StateStore(tmp_path / "state")

    async def kept(task_id: str, *, decided: bool) -> Path:
        return folder

    context = SimpleNamespace(
        config=SimpleNamespace(
            gateway=SimpleNamespace(data=folder, state=tmp_path / "state", concept_maps=None),
            store=None,
            consents=ConsentSource(folder, tmp_path / "out.txt", Rules("permit", frozenset({"HRESCH"}))),
        ),
        state=state,
        ledger=Recorded(),
        data=SimpleNamespace(folder=kept),
        records=SimpleNamespace(read=lambda terms, views_digest: None),
        mspid="HospitalA",
        quarantine=lambda task_id: tmp_path / "bad" / task_id,
        now=lambda: datetime(2026, 6, 15, tzinfo=UTC),
    )
    made = Hospital(tmp_path / "out.txt", context)
    made.leave_out()
    yield made
    state.close()


def _view(approval: Decision | None) -> TaskView:
    return cast(
        TaskView, SimpleNamespace(decision=lambda mspid: approval, over=False, terms=None, withdrawals=(), participants=("HospitalA",))
    )


class Recorded:
    """A ledger that keeps the digests of withdrawals, and refuses what it has."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    async def record_withdrawals(self, *, task_id: str, digest: str) -> None:
        if digest in self.digests:
            raise ContractRefused("ALREADY_RECORDED", "it is recorded")
        self.digests.append(digest)


def _keys(cohort: Cohort) -> set[str]:
    return {key for part in cohort.parts for key in part.keys}


async def _approved(work: TaskWork) -> Decision:
    cohort = await work.cohort(_view(None))
    return replace(APPROVAL, views_digest=cohort.views_digest, cohort_digest=work.cohort_digest(cohort), patients=cohort.train.approved)


async def test_until_the_approval_the_cohort_follows_the_list(hospital: Hospital) -> None:
    work = hospital.work()
    everybody = _keys(await work.cohort(_view(None)))
    hospital.leave_out("p1", "p2")
    fewer = await work.cohort(_view(None))
    assert _keys(fewer) == everybody - {"p1", "p2"}
    assert sum(part.withdrawn for part in fewer.parts) == 0
    hospital.leave_out("p2")
    assert _keys(await work.cohort(_view(None))) == everybody - {"p2"}
    assert await work.cohort(_view(None)) is await work.cohort(_view(None)), "read once for each state of the list"


async def test_after_the_approval_patients_only_leave_and_the_number_stays(hospital: Hospital) -> None:
    hospital.leave_out("p1")
    work = hospital.work()
    approval = await _approved(work)
    everybody = _keys(await work.cohort(_view(approval)))
    hospital.leave_out("p2")
    for again in (work, work, hospital.work()):  # the last one after a restart
        cohort = await again.cohort(_view(approval))
        assert _keys(cohort) == everybody - {"p2"}, "p1 may not come in, p2 is out"
        assert sum(part.withdrawn for part in cohort.parts) == 1
        assert cohort.train.approved == approval.patients
        assert all(len(part.features) == len(part.labels) == len(part.keys) for part in cohort.parts)
    hospital.leave_out()
    for again in (work, hospital.work()):
        assert _keys(await again.cohort(_view(approval))) == everybody - {"p2"}, "nobody comes back into a task"
    (batch,) = hospital.context.state.withdrawals("sepsis")
    assert hospital.context.ledger.digests == [batch.digest], "recorded once, whatever was asked again"


async def test_a_hospital_with_too_few_left_stops(hospital: Hospital) -> None:
    work = hospital.work()
    approval = await _approved(work)
    hospital.leave_out(*sorted(KEYS - {"a"}))
    with pytest.raises(DataError, match="needs 2 patients, and fewer consent by now"):
        await work.cohort(_view(approval))


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("not an id\n")])
async def test_without_a_list_that_can_be_read_nothing_is_used_and_no_task_rejected(
    hospital: Hospital, spoil: Callable[[Path], Any]
) -> None:
    work = hospital.work()
    approval = await _approved(work)
    spoil(hospital.opt_out)
    for view in (_view(approval), _view(None)):
        with pytest.raises(ConsentError, match="opt-out list"):
            await work.cohort(view)
    terms = SimpleNamespace(permit="", permit_expires="")
    fresh = hospital.work()
    fresh._file = None

    async def file(view: TaskView) -> Any:
        return parse(TASK.encode())

    fresh.file = file  # type: ignore[method-assign]  # the document is not what this is about
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConsentError):
        patch.setattr("gateway.hospital.approval._differs", lambda file, view: None)
        await consider(fresh, cast(TaskView, SimpleNamespace(decision=lambda _: None, over=False, terms=terms)))
    hospital.leave_out()
    assert len(await work.cohort(_view(approval))) == len(KEYS)


def test_the_state_names_nobody(hospital: Hospital) -> None:
    hospital.context.state.keep_left_out("sepsis", "since", {"ab" * 32})
    assert hospital.context.state.left_out("sepsis", "since") == {"ab" * 32}
    assert hospital.context.state.left_out("sepsis", "at-approval") is None
    assert hospital.context.state.left_out("other", "since") is None


def test_what_a_configuration_says_of_consent(tmp_path: Path) -> None:
    found = config(tmp_path, None)
    assert found.consents is None
    sections = found.model_dump(mode="json", exclude_none=True)

    def made(**more: Any) -> Any:
        return validate(GatewayConfig, sections | more, tmp_path / "hospital.toml")

    consents = made(consent={"default": "deny", "opt_out": "out.txt"}).consents
    assert (consents.rules, consents.opt_out) == (Rules("deny", frozenset({"HRESCH"})), tmp_path / "out.txt")
    for wrong in ({}, {"default": "ask"}, {"default": "deny", "purposes": []}, {"default": "deny", "list": "x"}):
        with pytest.raises(ConfigError):
            made(consent=wrong)
    server = {"server": "https://fhir.example/r4", "types": ["Patient"]}
    with pytest.raises(ConfigError, match=r"add Consent to data\.types"):
        made(consent={"default": "deny"}, data=server)
    assert made(consent={"default": "deny"}, data=server | {"types": ["Patient", "Consent"]}).consents is not None
