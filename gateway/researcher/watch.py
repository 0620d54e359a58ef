"""Follow a task by the ledger's events."""

from collections.abc import AsyncIterator

from fabric import canonical
from fabric.client.errors import ContractRefused
from fabric.client.gateway import Gateway
from fabric.ledger import Ledger
from fabric.ledger_views import TaskView
from gateway.researcher.progress import Progress, begin, with_end, with_hospitals, with_phase, with_settlement


async def watch(client: Gateway, task_id: str) -> AsyncIterator[Progress]:
    """The task's story so far, then its progress at each event that concerns it, until it is over.

    Raises ContractRefused if the ledger has no such task.
    """
    ledger = Ledger(client)
    # Events are asked for from before the view is read, so that nothing falls between the two.
    events = client.chaincode_events(start_block=await client.height())
    view = await ledger.task(task_id)
    progress = begin(view)
    yield progress
    async for step in _catch_up(ledger, progress, view):
        progress = step
        yield progress
    while not progress.over:
        event = await anext(events)
        payload = canonical.loads(event.payload) if event.payload else {}
        if not isinstance(payload, dict) or payload.get("task_id") != task_id:
            continue
        if event.name == "phase":
            progress = with_phase(progress, payload)
            yield progress
        elif event.name != "progress":  # one hospital's part of a phase; the phase's end is told when it comes
            async for step in _catch_up(ledger, progress, await ledger.task(task_id)):
                progress = step
                yield progress


async def _catch_up(ledger: Ledger, progress: Progress, view: TaskView) -> AsyncIterator[Progress]:
    """Tell what the view knows and has not been told: it may be ahead of the event that made us look."""
    for step in with_hospitals(progress, view):
        progress = step
        yield progress
    for number in range(progress.settled + 1, await _settled_rounds(ledger, view) + 1):
        settlement = await ledger.settlement(view.terms.task_id, number)
        progress = with_settlement(progress, settlement, await ledger.round(view.terms.task_id, number))
        yield progress
    if view.over:
        yield with_end(progress, view)


async def _settled_rounds(ledger: Ledger, view: TaskView) -> int:
    """The number of the last settled round, less than the first one's where there is none; one in which the task was given up is none."""
    if not view.over:
        return view.round - 1
    try:
        await ledger.settlement(view.terms.task_id, view.round)
    except ContractRefused:
        return view.round - 1
    return view.round
