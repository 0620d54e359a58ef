"""Which models a gateway keeps while rounds go by."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from fabric.ledger_views import TaskView
from gateway.aggregator.blobs import BlobStore
from gateway.hospital.cohort import Cohort
from gateway.hospital.context import GatewayContext
from gateway.hospital.plan import Plan, Size
from gateway.hospital.rounds import Rounds
from gateway.hospital.state import StateStore
from gateway.hospital.timing import Stopwatch
from gateway.task_file import parse
from privacy.models import digest
from tests.support.hospitals import task_document

ACCEPTED = np.array([1.0, -2.0, 0.5])


class OneAcceptedRound:
    """A ledger on which the first round's candidate was accepted and none after it."""

    async def settlement(self, _task_id: str, number: int) -> Any:
        return SimpleNamespace(accepted=number == 1, candidate=SimpleNamespace(digest=digest(ACCEPTED)))


async def test_the_last_accepted_model_is_kept_however_many_rounds_are_rejected_after_it(tmp_path: Path) -> None:
    state = StateStore(tmp_path)
    state.keep_model("task-1", 1, ACCEPTED)
    context = cast(GatewayContext, SimpleNamespace(state=state, ledger=OneAcceptedRound(), blobs=BlobStore(tmp_path / "blobs")))
    plan = Plan(parse(task_document()), {name: Size(50, 50) for name in ("a", "b", "c")})
    rounds = Rounds(context, plan, cast(Cohort, None), Stopwatch())
    view = cast(TaskView, SimpleNamespace(terms=SimpleNamespace(task_id="task-1", digest="ab" * 32, normalisation=False), endpoints={}))
    for number in range(2, 12):
        state.keep_model("task-1", number, np.zeros(3))  # the round's candidate, which will be rejected
        rounds.forget_before("task-1", number)
        assert (await rounds.parameters_before(view, number)).tolist() == ACCEPTED.tolist()
