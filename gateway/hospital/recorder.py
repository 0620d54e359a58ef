"""Records of what a gateway does with patients' data, each on disk before it is done."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fabric.client.errors import ContractRefused
from fabric.ledger import Ledger
from fabric.ledger_views import SettlementView, TaskTerms, TaskView
from gateway.fhir.records import Cohort, Release, Use, disclosure_event, model_provenance, read_event
from gateway.hospital.record_log import RecordLog

_NAMES = uuid.UUID("7c0f4f0e-6a1d-5d0b-9a53-2f6d7f1f3c11")
"""Namespace of records' ids: the same deed has the same id after a restart, and is noted once."""

LEDGER = "all organisations of the ledger"


@dataclass(frozen=True)
class Recorder:
    """Run by the hospital `mspid`."""

    log: RecordLog
    mspid: str
    now: Callable[[], datetime]

    def read(self, terms: TaskTerms, *, views_digest: str) -> None:
        """The hospital's resources are read for a task; every time is noted."""
        self.log.append(read_event(str(uuid.uuid4()), at=self.now(), hospital=self.mspid, use=_use(terms), views_digest=views_digest))

    def disclosed(self, terms: TaskTerms, what: Release, *, recipient: str, round_number: int | None = None, digest: str = "") -> None:
        """Something goes to the organisation `recipient`, or onto the LEDGER; the same thing again is not noted again."""
        details = {"round": "" if round_number is None else str(round_number), "sha-256": digest}
        record_id = self._id(terms.task_id, what, recipient, *details.values())
        self.log.append(
            disclosure_event(
                record_id, at=self.now(), hospital=self.mspid, use=_use(terms), what=what, recipient=recipient, details=details
            )
        )

    async def models(self, task: TaskView, ledger: Ledger) -> None:
        """Note where each accepted model comes from that is not noted yet."""
        for number in range(task.terms.first_round, task.round + task.over):
            record_id = self._id(task.terms.task_id, "model", str(number))
            if record_id in self.log:
                continue
            try:
                settlement = await ledger.settlement(task.terms.task_id, number)
            except ContractRefused as refusal:
                if refusal.code != "NOT_FOUND":  # the round in which the task was given up
                    raise
                continue
            self._model(record_id, task, settlement)

    def _model(self, record_id: str, task: TaskView, settlement: SettlementView) -> None:
        if not settlement.accepted or settlement.candidate is None:
            return
        self.log.append(
            model_provenance(
                record_id,
                at=self.now(),
                use=_use(task.terms),
                model_digest=settlement.candidate.digest,
                round_number=settlement.round,
                rounds=task.terms.rounds,
                contributors=[each.mspid for each in settlement.hospitals if each.contributed],
                aggregator=settlement.candidate.aggregator,
                cohorts=[
                    Cohort(each.mspid, each.views_digest, each.cohort_digest)
                    for each in task.decisions
                    if each.approved and each.mspid in task.participants
                ],
            )
        )

    def _id(self, *parts: str) -> str:
        return str(uuid.uuid5(_NAMES, "/".join((self.mspid, *parts))))


def _use(terms: TaskTerms) -> Use:
    return Use(terms.task_id, terms.purpose, terms.permit, terms.permit_expires, terms.organisation)
