"""An update is made while its debit is on its way, and nothing of it is committed to before the debit stands."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fabric.client.errors import ContractRefused
from gateway.hospital.contribute import Contributor
from gateway.hospital.state import Contribution
from gateway.hospital.timing import Stopwatch

MADE = Contribution("00" * 32, "11" * 32, b"ciphertext")
VIEW: Any = SimpleNamespace(task_id="task-1", round=1, commits=(), debits=(), committee=(), normalises=False)


class Paying(Contributor):
    """Debits and makes its update by what the test says."""

    async def _debit(self, view: Any) -> None:
        await self.context.pay()

    async def _make(self, round_number: int, task_id: str, parameters: Any) -> Contribution:
        await self.context.make()
        return MADE


def contributor(pay: Any, make: Any) -> tuple[Paying, list[str]]:
    done: list[str] = []

    async def commit(**_: Any) -> None:
        done.append("commit")

    state = SimpleNamespace(contribution=lambda *_: None, keep_contribution=lambda *_: done.append("kept"))
    context: Any = SimpleNamespace(mspid="A", state=state, ledger=SimpleNamespace(commit=commit), pay=pay, make=make)
    unused: Any = None
    return Paying(context, unused, unused, unused, Stopwatch(), unused), done


async def test_both_are_under_way_at_once_and_the_commitment_waits_for_the_debit() -> None:
    made, paid = asyncio.Event(), asyncio.Event()

    async def make() -> None:
        made.set()

    contributing, done = contributor(paid.wait, make)
    commit = asyncio.create_task(contributing.commit(VIEW, VIEW))
    await made.wait()
    while not done:  # noqa: ASYNC110 (what is waited for has no event: the update is on the disk)
        await asyncio.sleep(0)
    assert (done, commit.done()) == (["kept"], False)
    paid.set()
    await commit
    assert done == ["kept", "commit"]


async def test_a_refused_debit_ends_the_work_and_commits_to_nothing() -> None:
    async def refuse() -> None:
        raise ContractRefused("BUDGET_EXCEEDED", "it does not fit")

    contributing, done = contributor(refuse, asyncio.Event().wait)
    with pytest.raises(ContractRefused, match="BUDGET_EXCEEDED"):
        await contributing.commit(VIEW, VIEW)
    assert done == []
