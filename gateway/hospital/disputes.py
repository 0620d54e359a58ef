"""The open disputes of all tasks, attended to beside the tasks' own work: rounds go on, and a task that is over can still be disputed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fabric.client.errors import ContractRefused, LedgerError
from fabric.ledger_views import DisputeView, TaskView
from gateway.errors import ProductError
from gateway.hospital.context import GatewayContext
from gateway.hospital.dispute_duty import DisputeDuty, DisputePlace
from gateway.hospital.rounds import Rounds

log = logging.getLogger(__name__)


class Disputes:
    """Run by every gateway. `rounds_of`: the task's rounds in this gateway, from which its plan and model come."""

    def __init__(self, context: GatewayContext, rounds_of: Callable[[TaskView], Awaitable[Rounds]]) -> None:
        self._context = context
        self._rounds_of = rounds_of
        self._open: set[str] = set()
        self._moved: dict[str, float] = {}
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> bool:
        """Whether time must pass on the ledger for a dispute of ours."""
        return bool(self._open)

    def hear(self, task_id: str) -> None:
        """The ledger told of something new in a dispute of this task; or there may be one from before this gateway's start."""
        self._open.add(task_id)
        self._moved[task_id] = time.monotonic()
        self._wake.set()

    async def run(self) -> None:
        """Attend to disputes whenever one moves, and again after every heartbeat while one is open."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._context.config.gateway.heartbeat_seconds if self._open else None):
                    await self._wake.wait()
            self._wake.clear()
            for task_id in sorted(self._open):
                await self._attend(task_id)

    async def _attend(self, task_id: str) -> None:
        self._open.discard(task_id)  # before it is looked at, so that what is told meanwhile is not lost
        try:
            task = await self._context.ledger.task(task_id)
            if self._context.mspid not in task.participants:
                return
            if not task.disputes:
                self._context.state.forget_disputes(task_id)
                return
            self._open.add(task_id)
            for dispute in task.disputes:
                await self._attend_to(task, dispute)
        except (LedgerError, ProductError, ValueError) as error:
            self._open.add(task_id)
            log.info("a dispute in task %s: %s; trying again", task_id, error)
        except Exception:
            self._open.add(task_id)
            log.exception("a dispute in task %s: a step failed unexpectedly", task_id)

    async def _attend_to(self, task: TaskView, dispute: DisputeView) -> None:
        try:
            await DisputeDuty(self._context, task, dispute, await self._rounds_of(task)).act()
        finally:
            # What fails is often another's silence, and moving on is then the only way out of it.
            await self._advance(dispute)

    async def _advance(self, dispute: DisputeView) -> None:
        """Move the dispute on where that is due: the accuser's gateway does; everybody does once it has been quiet."""
        quiet = time.monotonic() - self._moved.get(dispute.task_id, 0.0) > self._context.config.gateway.heartbeat_seconds
        if self._context.mspid != dispute.accuser and not quiet:
            return
        ledger, place = self._context.ledger, DisputePlace(task_id=dispute.task_id, round_number=dispute.round, accused=dispute.accused)
        try:
            await ledger.try_advance_dispute(**place)
            await ledger.advance_dispute(**place)
        except ContractRefused as refusal:
            if refusal.code not in ("NOT_DUE", "WRONG_PHASE"):
                raise
