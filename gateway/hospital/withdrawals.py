"""Who is out of a task for lack of consent: at its approval, and since.

The approval is of a number of patients that the ledger knows. Who has no consent then is not among them. Who withdraws later is one of
them all the same, and gives nothing from the next round on: noise, sampling and debits stay those of the approval (docs/privacy.md).
Nobody who is out of a task comes back into it. The state holds keyed hashes, so that it names no patient; beside them, until the patient
is erased, the salt of the commitment that stands on the ledger (gateway.hospital.withdrawal_batch).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from fabric.client.errors import ContractRefused
from fabric.ledger_views import TaskView
from gateway.fhir.consents import Consents
from gateway.fhir.errors import DataError
from gateway.fhir.extract import LeftOut
from gateway.hospital.cohort import Cohort
from gateway.hospital.context import GatewayContext
from gateway.hospital.withdrawal_batch import new_batch, patient_hash

log = logging.getLogger(__name__)


class Withdrawals:
    """One task's patients without consent."""

    def __init__(self, context: GatewayContext, task_id: str) -> None:
        self._context = context
        self._task_id = task_id
        self._current: tuple[tuple[object, ...], Consents] | None = None
        self._applied: tuple[Consents | None, Cohort] | None = None
        self._recorded: set[str] = set()
        """Digests of batches that stand on the ledger."""

    async def current(self) -> Consents | None:
        """The patients' decisions as they stand now, the same object until they change; None where the hospital asks nobody.

        Raises DataError if they cannot be read.
        """
        source = self._context.config.consents
        if source is None:
            return None
        at = self._context.now()
        state = await asyncio.to_thread(source.state, at)
        if self._current is None or self._current[0] != state:
            self._current = None  # what is out of date is not used where what is new cannot be read
            self._current = state, await asyncio.to_thread(source.read, at)
        return self._current[1]

    def begin(self, keys: Iterable[str]) -> None:
        """Keep who is left out, before the approval that does not count them is signed."""
        hashed = self._hash()
        self._context.state.keep_left_out(self._task_id, "at-approval", (hashed(key) for key in keys))

    def at_approval(self) -> LeftOut | None:
        """Who is not among those whom the approval counts; None where it counts everybody."""
        kept, hashed = self._context.state.left_out(self._task_id, "at-approval"), self._hash()
        return None if not kept else lambda key: "no-consent" if hashed(key) in kept else None

    async def applied(self, cohort: Cohort, *, minimum: int) -> Cohort:
        """The cohort without those who have withdrawn by now; the same object where nobody has.

        Raises DataError if they cannot be told, and if fewer than `minimum` patients are left.
        """
        consents = await self.current()
        if self._applied is None or self._applied[0] is not consents or self._applied[1] is not cohort:
            cohort = self._without(cohort, consents)
            self._applied = consents, cohort
        if len(cohort) < minimum:
            raise DataError(
                f"task {self._task_id} needs {minimum} patients, and fewer consent by now: this hospital does not go on with it"
            )
        return cohort

    async def record(self, task: TaskView) -> None:
        """Put on the ledger what was made for it and is not there: before anything more is given to the task."""
        self._recorded |= {each.digest for each in task.withdrawals if each.mspid == self._context.mspid}
        for batch in self._context.state.withdrawals(self._task_id):
            if batch.digest in self._recorded:
                continue
            try:
                await self._context.ledger.record_withdrawals(task_id=self._task_id, digest=batch.digest)
            except ContractRefused as refusal:
                # Of an earlier start, whose answer never came; or the task ended in the meantime, and no round is left to precede.
                if refusal.code not in ("ALREADY_RECORDED", "WRONG_PHASE", "NOT_A_PARTICIPANT"):
                    raise
            if task.participants:  # before the key is made nobody is one, and it is asked again
                self._recorded.add(batch.digest)

    def _without(self, cohort: Cohort, consents: Consents | None) -> Cohort:
        kept = self._context.state.left_out(self._task_id, "since") or frozenset()
        if consents is None and not kept:
            return cohort
        hashed = self._hash()
        hashes = {key: hashed(key) for part in cohort.parts for key in part.keys}
        out = {key for key, found in hashes.items() if found in kept or (consents is not None and consents.left_out(key) is not None)}
        if not out:
            return cohort
        new = {hashes[key]: key for key in out if hashes[key] not in kept}
        if new:
            batch = new_batch(self._task_id, self._context.mspid, new)
            self._context.state.keep_withdrawals(self._task_id, batch, kept | {hashes[key] for key in out})
        log.info("task %s goes on without the data of patients who have withdrawn", self._task_id)
        return cohort.without(out)

    def _hash(self) -> Callable[[str], str]:
        salt = self._context.state.cohort_salt(self._task_id)
        return lambda key: patient_hash(salt, key)
