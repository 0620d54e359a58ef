"""Steps 4 and 5 of a round: debit, train, encrypt, commit; and, once commits are closed, reveal."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, replace

from consortium.v1 import exchange_pb2

from fabric.client.errors import ContractRefused
from fabric.contract.commitments import commitment
from fabric.ledger_views import RoundView, TaskTerms
from gateway.aggregator.blobs import Name
from gateway.config import Misbehaviour
from gateway.errors import VerificationFailed
from gateway.hospital.cohort import Patients
from gateway.hospital.context import GatewayContext
from gateway.hospital.misbehave import flipped_labels, forged_update, replays
from gateway.hospital.plan import Plan
from gateway.hospital.state import Contribution
from gateway.hospital.summed import Summed
from gateway.hospital.timing import Stopwatch
from gateway.spends import to_ledger
from privacy import ckks
from privacy.models import Vector
from privacy.noise import NoiseSource

NONCE_BYTES = 32


@dataclass(frozen=True)
class Contributor:
    """What a hospital needs to contribute to a round."""

    context: GatewayContext
    plan: Plan
    summed: Summed
    patients: Patients
    stopwatch: Stopwatch
    terms: TaskTerms

    async def commit(self, view: RoundView, parameters: Vector) -> None:
        """Phase commit: train, encrypt and keep while the ledger takes the debit; only then commit to the ciphertext's digest."""
        mspid = self.context.mspid
        if any(commit.mspid == mspid for commit in view.commits):
            return
        contribution = await self._paid_for(view, parameters)
        digest = commitment(view.task_id, view.round, mspid, contribution.nonce, contribution.ciphertext_digest)
        with self.stopwatch.measure("ledger"):
            await self.context.ledger.commit(task_id=view.task_id, round_number=view.round, digest=digest)

    async def _paid_for(self, view: RoundView, parameters: Vector) -> Contribution:
        """This round's contribution, once its debit stands on the ledger: until then nothing of it leaves this gateway."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._debit(view))
                kept = both.create_task(self._kept_or_made(view, parameters))
        except ExceptionGroup as group:
            # What failed first ended the other; a refused debit leaves at most an update on the disk that is never committed to.
            raise group.exceptions[0] from group
        return kept.result()

    async def _kept_or_made(self, view: RoundView, parameters: Vector) -> Contribution:
        contribution = self.context.state.contribution(view.task_id, view.round)
        if contribution is None:
            # A crash before this line trains again under the same debit: nothing of the first training got out.
            contribution = await self._make(view.round, view.task_id, parameters)
            # Kept before the commitment, which nobody could open without it.
            self.context.state.keep_contribution(view.task_id, view.round, contribution)
        return contribution

    async def reveal(self, view: RoundView) -> None:
        """Phase reveal: open the commitment on the ledger."""
        mspid = self.context.mspid
        if mspid not in view.committed or any(reveal.mspid == mspid for reveal in view.reveals):
            return
        contribution = self._kept(view)
        with self.stopwatch.measure("ledger"):
            await self.context.ledger.reveal(
                task_id=view.task_id,
                round_number=view.round,
                nonce=contribution.nonce,
                ciphertext_digest=contribution.ciphertext_digest,
                size=len(contribution.ciphertext),
            )
        self.context.metrics.contributions.inc()

    async def hand_over(self, view: RoundView) -> None:
        """Give the ciphertext to the aggregator whose turn it is; the same bytes again are no error."""
        name, kept = ciphertext_name(view, self.context.mspid), self._kept(view)
        self.context.records.disclosed(
            self.terms, "update", recipient=view.aggregator, round_number=view.round, digest=kept.ciphertext_digest
        )
        await self.context.hub.push(view.aggregator, view.endpoints, name, kept.ciphertext)

    def _kept(self, view: RoundView) -> Contribution:
        contribution = self.context.state.contribution(view.task_id, view.round)
        if contribution is None:
            raise VerificationFailed(f"the update of round {view.round} of task {view.task_id} is lost; restore the gateway's state folder")
        return contribution

    async def _debit(self, view: RoundView) -> None:
        mspid = self.context.mspid
        if any(debit.mspid == mspid for debit in view.debits):
            return
        spends = [to_ledger("train", self.summed.event(self.patients.approved))]
        if mspid in view.committee and not view.normalises:
            spends.append(to_ledger("validation", self.plan.score_event()))
        with self.stopwatch.measure("ledger"):
            try:
                await self.context.ledger.debit(task_id=view.task_id, round_number=view.round, spends=spends)
            except ContractRefused as refusal:
                # The debit of an earlier start, whose answer never came.
                if refusal.code != "ALREADY_DEBITED":
                    raise

    async def _make(self, round_number: int, task_id: str, parameters: Vector) -> Contribution:
        kind = self.context.misbehaviour
        earlier = self._earlier(task_id, round_number) if replays(kind, round_number) else None
        if earlier is not None:
            ciphertext = earlier.ciphertext
        else:
            with self.stopwatch.measure("training"):
                vector = await asyncio.to_thread(self._vector, parameters, kind)
            public_key = self.context.state.public_key(task_id)
            with self.stopwatch.measure("encryption"):
                ciphertext = await asyncio.to_thread(ckks.encrypt, public_key, vector, bound=self.summed.bound(), members=self.plan.members)
        return Contribution(secrets.token_hex(NONCE_BYTES), hashlib.sha256(ciphertext).hexdigest(), ciphertext)

    def _earlier(self, task_id: str, round_number: int) -> Contribution | None:
        """The newest update of the rounds before, for a trial's `replay`."""
        kept = (self.context.state.contribution(task_id, number) for number in range(round_number - 1, 0, -1))
        return next((contribution for contribution in kept if contribution is not None), None)

    def _vector(self, parameters: Vector, kind: Misbehaviour | None) -> Vector:
        """What this hospital gives to the sum. CPU-heavy."""
        noise = NoiseSource.from_system()
        patients = replace(self.patients, labels=flipped_labels(kind, self.patients.labels))
        vector = self.summed.vector(patients, parameters, noise=noise)
        return forged_update(kind, vector, bound=self.summed.bound(), noise=noise)


def ciphertext_name(view: RoundView, owner: str) -> Name:
    return Name(view.task_id, view.round, exchange_pb2.BLOB_KIND_CIPHERTEXT, owner)
