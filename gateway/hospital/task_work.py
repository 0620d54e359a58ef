"""One task in one gateway: what is known of it, read once and kept."""

import asyncio

from fabric.ledger_views import TaskView
from gateway.errors import VerificationFailed
from gateway.hospital.cohort import Cohort, read_cohort, split_salt
from gateway.hospital.context import GatewayContext
from gateway.hospital.documents import find_document
from gateway.hospital.plan import Plan, Size
from gateway.hospital.timing import Stopwatch
from gateway.task_file import TaskFile, parse


class TaskWork:
    """The task's document, cohort and plan. Nothing here is state: all of it can be read again after a restart."""

    def __init__(self, context: GatewayContext, task_id: str) -> None:
        self.context = context
        self.task_id = task_id
        self.stopwatch = Stopwatch()
        self._file: TaskFile | None = None
        self._cohort: Cohort | None = None

    async def file(self, view: TaskView) -> TaskFile:
        """The task file, from this gateway or from another one; its digest stands on the ledger."""
        if self._file is None:
            document = await find_document(self.context, view)
            self._file = parse(document, source=f"the file of task {self.task_id}")
        return self._file

    async def cohort(self, view: TaskView) -> Cohort:
        """This hospital's patients for the task. Raises DataError or ViewError where its data cannot serve."""
        if self._cohort is None:
            file = await self.file(view)
            quarantine = self.context.quarantine(self.task_id)
            quarantine.parent.mkdir(parents=True, exist_ok=True)
            folders = self.context.config.gateway
            self._cohort = await asyncio.to_thread(read_cohort, file, folders.data, quarantine=quarantine, salt=split_salt(folders.state))
        return self._cohort

    async def plan(self, view: TaskView) -> Plan:
        """The numbers on which all participants agree; raises VerificationFailed where the cohort changed since the approval."""
        file = await self.file(view)
        sizes = {d.mspid: Size(d.patients, d.batch) for d in view.decisions if d.mspid in view.participants}
        plan = Plan(file, sizes)
        own = plan.sizes.get(self.context.mspid)
        if own is not None and own.patients != len((await self.cohort(view)).train):
            raise VerificationFailed(
                f"the cohort of task {self.task_id} changed since it was approved; the approval and its budget no longer fit the data"
            )
        return plan
