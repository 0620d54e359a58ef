"""One task in one gateway, from the researcher's submission to the evaluation: woken by ledger events, led by the ledger's state.

The runner remembers nothing that decides anything: at every step it asks the ledger where the task stands and does what this
hospital still owes. A restart, an event that came twice or a step cut off in the middle therefore lead to the same end.
"""

import asyncio
import logging
import time

from fabric.client.errors import ContractRefused, LedgerError
from fabric.ledger_views import RoundView, TaskView
from gateway.errors import PolicyRefused, ProductError
from gateway.hospital.approval import approve, consider, reject
from gateway.hospital.ceremony import commit_part, exchange_parts
from gateway.hospital.context import GatewayContext
from gateway.hospital.evaluate import keep_evaluation
from gateway.hospital.misbehave import goes_silent
from gateway.hospital.news import Awaited, News
from gateway.hospital.rounds import Rounds
from gateway.hospital.task_work import TaskWork
from gateway.permit import check_permit

log = logging.getLogger(__name__)

# A step that failed (a gateway away, the ledger busy) is tried again after this, or at once when the ledger tells of something new.
RETRY_SECONDS = 1.0


# Failures that say themselves what is wrong; any other one is a fault of the product and is logged with its trace.
EXPECTED_FAILURES = (LedgerError, ProductError, ValueError)


class TaskRunner:
    """Lives as long as the gateway does or the task runs."""

    def __init__(self, context: GatewayContext, task_id: str) -> None:
        self.context = context
        self.work = TaskWork(context, task_id)
        self.note = ""
        """Why the gateway waits for a person or cannot go on, in one sentence; empty otherwise."""
        self.view: TaskView | None = None
        self.round_view: RoundView | None = None
        self.quiet_since = time.monotonic()
        """When the task last moved, by this gateway's clock; only decides when to send a heartbeat."""
        self._wake = asyncio.Event()
        self._wake.set()
        self._view_holds = False
        """Whether `view` is still how the task stands: within a round it changes no more."""
        self._awaited: Awaited | None = None
        """Whom the phase waits for; None before it is looked at, and until then `_heard` keeps what is told."""
        self._heard: list[News] = []
        self._step: asyncio.Task[None] | None = None
        self._rounds: Rounds | None = None
        self._failed = False
        self._over = False
        """All is done that this hospital owes the task; set when the last step is through, for a step can be cut off."""

    def wake(self) -> None:
        """Look again how the task stands, and do what is owed."""
        self._view_holds = False
        self._wake.set()

    def hear(self, news: News) -> None:
        """The ledger told of something new. If the task is in another phase, what is being done now is out of date."""
        if news.moved:
            self.quiet_since, self._awaited = time.monotonic(), None
            if self._step is not None:
                self._step.cancel()
        if not news.within_round:
            self._view_holds = False
        if news.counted and self._view_holds:
            self._hear_progress(news)
        else:
            self._wake.set()

    def _hear_progress(self, news: News) -> None:
        """A hospital has done its part: nothing to do about it until all have, and then only for who is on duty."""
        if self._awaited is None:
            self._heard.append(news)
            return
        self._awaited.hear(news)
        if self._awaited.complete and self.view is not None and self._on_duty(self.view):
            self._wake.set()

    async def run(self) -> None:
        """Follow the task to its end."""
        while not self._over:
            try:
                async with asyncio.timeout(RETRY_SECONDS if self._failed else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._do_step()
        self.context.data.forget(self.work.task_id)
        log.info("task %s is over", self.work.task_id)

    async def _do_step(self) -> None:
        self._view_holds = self._view_holds and not self._failed
        self._step = asyncio.create_task(self._once())
        try:
            await self._step
            if self._failed:
                self._failed, self.note = False, ""
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                self._step.cancel()
                raise
        except ContractRefused as refusal:
            # Mostly a race that another gateway won; the next look at the ledger tells.
            log.info("task %s: %s", self.work.task_id, refusal)
            self._failed = True
        except EXPECTED_FAILURES as error:
            self._note_failure(str(error))
        except Exception:
            log.exception("task %s: a step failed unexpectedly", self.work.task_id)
            self._failed = True
        finally:
            self._step = None

    def _note_failure(self, sentence: str) -> None:
        """Remember why a step failed, and say so once: it is tried again until it succeeds or the task moves on."""
        if sentence != self.note:
            log.warning("task %s: %s", self.work.task_id, sentence)
        self.note = sentence
        self._failed = True
        self.context.metrics.failures.inc()

    async def _once(self) -> None:
        """Look where the task stands, do what is owed, and move the task on where that is due."""
        view = await self._look()
        if view.phase == "rounds" and goes_silent(self.context.misbehaviour, view.round):
            return
        if self._closes_phase(view):  # nobody owes anything in it
            await self._advance(view)
            return
        try:
            await self._act(view)
        except EXPECTED_FAILURES:
            if view.over:
                raise
            # What fails is often another gateway's silence, and moving on is then the only way out of it.
            await self._advance(view)
            raise
        if view.over:
            self._over = True
        else:
            await self._advance(view)

    async def _look(self) -> TaskView:
        if self._view_holds and self.view is not None:
            return self.view
        self._view_holds, self._awaited = True, None  # an event that comes while the ledger is asked is not forgotten
        self.view = await self.context.ledger.task(self.work.task_id)
        self._view_holds = self._view_holds and self.view.phase == "rounds"
        return self.view

    async def _act(self, view: TaskView) -> None:
        if view.phase == "proposed":
            await self._decide(view)
        elif self.context.mspid in view.participants:
            if not view.over:
                self._check_permit(view)
            if view.phase == "keys_commit":
                await commit_part(self.context, view)
            elif view.phase == "keys_share":
                await exchange_parts(self.context, view)
            elif view.phase == "rounds":
                await self._round(view)
            elif view.over:
                await self.context.records.models(view, self.context.ledger)
                if view.phase == "finished":
                    await self._evaluate(view)

    async def _decide(self, view: TaskView) -> None:
        if self.context.mspid not in view.hospitals or view.decision(self.context.mspid) is not None:
            self.note = ""
            return
        decision = await consider(self.work, view)
        self.note = decision.reason if decision.verdict == "ask a person" else ""
        if decision.verdict == "approve":
            await approve(self.work, view)
        elif decision.verdict == "reject":
            await reject(self.work, view, decision.reason)

    async def _round(self, task: TaskView) -> None:
        rounds = await self.rounds_of(task)
        view = await self._look_at_round(task.round)
        if self.round_view is None or self.round_view.round != view.round:
            self.context.state.forget_ceremony(self.work.task_id)
            rounds.forget_before(self.work.task_id, view.round)
            await self.context.records.models(task, self.context.ledger)
        self.round_view = view
        await rounds.act(task, view)

    async def _look_at_round(self, number: int) -> RoundView:
        self._awaited, self._heard = None, []
        awaited = Awaited(await self.context.ledger.round(self.work.task_id, number))
        for news in self._heard:
            awaited.hear(news)
        self._awaited = awaited
        return awaited.view

    async def rounds_of(self, task: TaskView) -> Rounds:
        """The task's rounds, with the patients who take part now."""
        cohort = await self.work.cohort(task)
        if self._rounds is None:
            self._rounds = Rounds(self.context, await self.work.plan(task), cohort, self.work.stopwatch)
        self._rounds.cohort = cohort
        return self._rounds

    async def _advance(self, view: TaskView) -> None:
        """Move the task on where that is due. The acting aggregator does; everybody does once the task has been quiet."""
        if view.phase != "proposed" and self.context.mspid not in view.participants:
            return
        quiet = time.monotonic() - self.quiet_since > self.context.config.gateway.heartbeat_seconds
        closes = self._closes_phase(view)
        waits = self._awaited is not None and self._awaited.closed_by_count
        if not quiet and not closes and (waits or not self._on_duty(view)):
            return
        try:
            if closes:
                self._awaited = None  # whatever comes of it, the next step begins with another look
            else:
                await self.context.ledger.try_advance(self.work.task_id)
            await self.context.ledger.advance(self.work.task_id)
        except ContractRefused as refusal:
            if closes or refusal.code != "NOT_DUE":
                raise

    def _closes_phase(self, view: TaskView) -> bool:
        """Whether everybody has done what the round's phase asks for, and it is this gateway that has to say so."""
        return self._awaited is not None and self._awaited.closable and self._on_duty(view)

    def _on_duty(self, view: TaskView) -> bool:
        if view.phase == "proposed":
            approved = sorted(decision.mspid for decision in view.decisions if decision.approved)
            return approved[:1] == [self.context.mspid]
        if view.phase == "rounds":
            return self.round_view is not None and self.round_view.aggregator == self.context.mspid
        return view.aggregators[view.turn : view.turn + 1] == (self.context.mspid,)

    def _check_permit(self, view: TaskView) -> None:
        check_permit(view.terms.permit, view.terms.permit_expires, now=self.context.now())

    async def _evaluate(self, task: TaskView) -> None:
        """Make once what the hospital releases about the finished model."""
        if self.context.state.evaluation(self.work.task_id) is not None:
            return
        try:
            self._check_permit(task)
        except PolicyRefused as refusal:
            # It will not be valid again: the task is over here, without an evaluation.
            self.note = str(refusal)
            log.warning("task %s: %s", self.work.task_id, refusal)
            return
        await keep_evaluation(self.context, task, await self.rounds_of(task))

    async def final_model(self) -> bytes | None:
        """The newest accepted model as a safetensors file; None where this hospital has none of this task."""
        view = await self.context.ledger.task(self.work.task_id)
        if view.round == 0 or self.context.mspid not in view.participants:
            return None
        rounds = await self.rounds_of(view)
        return await rounds.export_model(view)
