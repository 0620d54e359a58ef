"""One task in one gateway: what is known of it, read once and kept."""

import asyncio

from fabric.ledger_views import Decision, TaskView
from gateway.errors import VerificationFailed
from gateway.fhir.consents import Consents
from gateway.fhir.extract import LeftOut, check
from gateway.hospital.approved import check_cohort, check_sql, salted
from gateway.hospital.cohort import Cohort, read_cohort, split_salt
from gateway.hospital.context import GatewayContext
from gateway.hospital.documents import find_document
from gateway.hospital.plan import Plan, Size
from gateway.hospital.timing import Stopwatch
from gateway.hospital.withdrawals import Withdrawals
from gateway.task_file import TaskFile, parse


class TaskWork:
    """The task's document, cohort and plan. Nothing here is state: all of it can be read again after a restart."""

    def __init__(self, context: GatewayContext, task_id: str) -> None:
        self.context = context
        self.task_id = task_id
        self.stopwatch = Stopwatch()
        self._file: TaskFile | None = None
        self._cohort: Cohort | None = None
        self._consents: Consents | None = None
        """On which the cohort of a task that is not decided on rests."""
        self._withdrawals = Withdrawals(context, task_id)

    async def file(self, view: TaskView) -> TaskFile:
        """The task file, from this gateway or from another one; its digest stands on the ledger."""
        if self._file is None:
            document = await find_document(self.context, view)
            self._file = parse(document, source=f"the file of task {self.task_id}")
        return self._file

    async def cohort(self, view: TaskView) -> Cohort:
        """This hospital's patients for the task, without those who have withdrawn by now.

        Raises DataError or ViewError where its data cannot serve, and VerificationFailed where SQL or data are not what was approved.
        """
        approval = view.decision(self.context.mspid)
        if approval is None:
            return await self._undecided(view)
        if self._cohort is None:
            cohort = await self._read(view, approval, self._withdrawals.at_approval())
            if not self._is_done(view):
                check_cohort(approval, self.cohort_digest(cohort), task_id=self.task_id)
            self._cohort = cohort
        if not self._is_done(view):
            minimum = (await self.file(view)).cohort.minimum_patients
            self._cohort = await self._withdrawals.applied(self._cohort, minimum=minimum)
            await self._withdrawals.record(view)
        return self._cohort

    async def _undecided(self, view: TaskView) -> Cohort:
        """The patients whom an approval would count: read again whenever consents have changed."""
        consents = await self._withdrawals.current()
        if self._cohort is None or consents is not self._consents:
            without: set[str] = set()

            def left_out(key: str) -> str | None:
                reason = None if consents is None else consents.left_out(key)
                if reason is not None:
                    without.add(key)
                return reason

            self._cohort = await self._read(view, None, None if consents is None else left_out)
            self._withdrawals.begin(without)
            self._consents = consents
        return self._cohort

    async def _read(self, view: TaskView, approval: Decision | None, left_out: LeftOut | None) -> Cohort:
        file = await self.file(view)
        views_digest = check(file).digest
        check_sql(approval, views_digest, task_id=self.task_id)  # before any patient's data are read
        quarantine = self.context.quarantine(self.task_id)
        quarantine.parent.mkdir(parents=True, exist_ok=True)
        folders = self.context.config.gateway
        data = await self.context.data.folder(self.task_id, decided=approval is not None)
        self.context.records.read(view.terms, views_digest=views_digest)
        return await asyncio.to_thread(
            read_cohort,
            file,
            data,
            quarantine=quarantine,
            salt=split_salt(folders.state),
            mspid=self.context.mspid,
            concept_maps=folders.concept_maps,
            left_out=left_out,
            store=self.context.config.store,
        )

    def _is_done(self, view: TaskView) -> bool:
        """Whether nothing more is computed from the patients, whose data may change then: the model is still given out."""
        return view.over and (view.phase != "finished" or self.context.state.evaluation(self.task_id) is not None)

    def cohort_digest(self, cohort: Cohort) -> str:
        """Digest of the resources that were read, as it stands on the ledger."""
        return salted(cohort.report.content, salt=self.context.state.cohort_salt(self.task_id))

    async def plan(self, view: TaskView) -> Plan:
        """The numbers on which all participants agree; raises VerificationFailed where the cohort changed since the approval."""
        file = await self.file(view)
        sizes = {d.mspid: Size(d.patients, d.batch) for d in view.decisions if d.mspid in view.participants}
        plan = Plan(file, sizes, self.context.config.gateway.models)
        own = plan.sizes.get(self.context.mspid)
        if own is not None and not self._is_done(view) and own.patients != (await self.cohort(view)).train.approved:
            raise VerificationFailed(
                f"the cohort of task {self.task_id} changed since it was approved; the approval and its budget no longer fit the data"
            )
        return plan
