"""A task's rounds as a hospital lives them: look at the ledger, do what the phase asks of this hospital, nothing twice."""

import contextlib
import json
import logging
from dataclasses import dataclass, field

import grpc
from consortium.v1 import gateway_pb2, gateway_pb2_grpc

from fabric.contract import disputes
from fabric.ledger_views import RoundView, SettlementView, TaskView
from gateway.aggregator.sums import post_sums
from gateway.errors import Unavailable
from gateway.hospital.cohort import Cohort
from gateway.hospital.context import GatewayContext
from gateway.hospital.contribute import Contributor
from gateway.hospital.open_sums import FalseSharesError, Opened, SumOpener
from gateway.hospital.plan import Plan, column_names
from gateway.hospital.score import commit_scores, reveal_scores
from gateway.hospital.summed import Statistics, Summed, Updates
from gateway.hospital.timing import Stopwatch
from gateway.rpc import UNARY_TIMEOUT_SECONDS
from privacy.ckks import ciphertext_size
from privacy.models import ModelError, SavedModel, Vector, digest, from_safetensors, initial_parameters, to_safetensors
from privacy.normalisation import InputNormalisation

log = logging.getLogger(__name__)

# Rounds whose updates and blobs are kept after they settled, for a gateway that was away to catch up, and for disputes.
KEPT_ROUNDS = disputes.ROUNDS_OPEN


@dataclass
class Rounds:
    """One task's rounds in one gateway."""

    context: GatewayContext
    plan: Plan
    cohort: Cohort
    """Of the patients who have not withdrawn: exchanged when one has, so nothing made of it is kept."""
    stopwatch: Stopwatch
    _settlements: dict[int, SettlementView] = field(default_factory=dict)
    _opened: tuple[int, int, Opened] | None = None
    _handed_over: set[tuple[int, str]] = field(default_factory=set)

    async def act(self, task: TaskView, view: RoundView) -> None:
        """Do what this hospital owes in the round's phase. Doing it again does no harm: everything asks the ledger first."""
        match view.phase:
            case "commit":
                if self.context.mspid in view.participants:
                    contributor = self._contributor(task, await self._summed(task, view))
                    await contributor.commit(view, await self.parameters_before(task, view.round))
                elif self.context.mspid in task.absent:
                    await self.context.ledger.rejoin(view.task_id)
            case "reveal":
                # A dead hub is replaced in phase sum, and gets the ciphertext then; the reveal must not wait for it.
                with contextlib.suppress(Unavailable):
                    await self._hand_over(task, view, view.committed)
                await self._contributor(task, await self._summed(task, view)).reveal(view)
            case "sum":
                await self._hand_over(task, view, view.revealed)
                if view.aggregator == self.context.mspid:
                    length = (await self._summed(task, view)).length
                    await post_sums(self.context, length, view, limit_bytes=ciphertext_size(length), stopwatch=self.stopwatch)
            case "decrypt":
                await self._decrypt(task, view)
            case "score_commit":
                parameters = await self.parameters_before(task, view.round)
                opened = await self._open(task, view, parameters)
                opener = await self._opener(task, view)
                await commit_scores(self.context, opener, view, opened, parameters, self.cohort.validation, stopwatch=self.stopwatch)
            case "score_reveal":
                await reveal_scores(self.context, task.terms, view, stopwatch=self.stopwatch)

    def forget_before(self, task_id: str, round_number: int) -> None:
        """Drop what settled rounds left behind, but for what a dispute may still ask for."""
        before = min([round_number - KEPT_ROUNDS, *self.context.state.disputed_rounds(task_id)])
        self.context.state.forget_rounds(task_id, before=before)
        self.context.blobs.forget(task_id, before_round=before)

    async def parameters_before(self, task: TaskView, round_number: int) -> Vector:
        """The model that round `round_number` starts from: the last accepted candidate, or the initial parameters."""
        for earlier in range(round_number - 1, 0, -1):
            settlement = await self._settlement(task.terms.task_id, earlier)
            if settlement.accepted and settlement.candidate is not None:
                parameters = await self._accepted(task, earlier, settlement.candidate.digest)
                self.context.state.forget_models(task.terms.task_id, before=earlier)
                return parameters
        return initial_parameters(self.plan.spec, seed=int(task.terms.digest[:8], 16))

    async def latest_parameters(self, task: TaskView) -> Vector:
        """The newest accepted model."""
        return await self.parameters_before(task, task.round + (0 if task.phase == "rounds" else 1))

    async def progress(self, task: TaskView) -> Vector:
        """The sum of gradients that the model has followed since it was made, in an unnamed unit."""
        return await self.parameters_before(task, 1) - await self.latest_parameters(task)

    async def normalisation(self, task: TaskView) -> InputNormalisation | None:
        """The normalisation of the model's inputs on which round 0 agreed; None where there is none, or it was not accepted."""
        if not task.terms.normalisation:
            return None
        settlement = await self._settlement(task.terms.task_id, 0)
        if not settlement.accepted or settlement.candidate is None:
            return None
        return InputNormalisation.from_vector(await self._accepted(task, 0, settlement.candidate.digest))

    async def export_model(self, task: TaskView) -> bytes:
        """The newest accepted model as a safetensors file that says where it comes from and what its inputs are."""
        metadata = {
            "task_id": task.terms.task_id,
            "task_digest": task.terms.digest,
            "round": str(task.round),
            "inputs": json.dumps(column_names(self.plan.task)),
            "label": self.plan.task.label.name,
        }
        return to_safetensors(self.plan.spec, await self.latest_parameters(task), metadata, await self.normalisation(task))

    async def _decrypt(self, task: TaskView, view: RoundView) -> None:
        await self._hand_over(task, view, view.revealed)
        await (await self._opener(task, view)).give_share(task, view)
        posted = {share.mspid for share in view.shares}
        if view.candidate is not None or posted < set(view.quorum):
            return
        # The others look at the shares only where somebody finds them false.
        if view.aggregator != self.context.mspid and not view.share_objections:
            return
        try:
            opened = await self._open(task, view, await self.parameters_before(task, view.round))
        except FalseSharesError as error:
            await self._object(view, error)
            return
        if view.aggregator == self.context.mspid:
            with self.stopwatch.measure("ledger"):
                await self.context.ledger.post_candidate(
                    task_id=view.task_id, round_number=view.round, digest=opened.digest, rejected_groups=opened.rejected
                )

    async def _object(self, view: RoundView, error: FalseSharesError) -> None:
        mspid = self.context.mspid
        if mspid not in view.revealed or any(objection.mspid == mspid for objection in view.share_objections):
            return
        log.warning("task %s round %d, attempt %d: %s", view.task_id, view.round, view.attempt, error)
        await self.context.ledger.object_shares(task_id=view.task_id, round_number=view.round, attempt=view.attempt, accused=error.accused)

    async def _open(self, task: TaskView, view: RoundView, parameters: Vector) -> Opened:
        """Open the round's sums once and keep the candidate."""
        if self._opened is None or self._opened[:2] != (view.round, view.attempt):
            opened = await (await self._opener(task, view)).open(task, view, parameters)
            self.context.state.keep_model(view.task_id, view.round, opened.candidate)
            self._opened = (view.round, view.attempt, opened)
        return self._opened[2]

    async def _hand_over(self, task: TaskView, view: RoundView, bound: tuple[str, ...]) -> None:
        """Give the ciphertext of a hospital that is `bound` to it to the aggregator, once to each that gets its turn."""
        if (view.round, view.aggregator) in self._handed_over or self.context.mspid not in bound:
            return
        await self._contributor(task, await self._summed(task, view)).hand_over(view)
        self._handed_over.add((view.round, view.aggregator))

    async def _settlement(self, task_id: str, round_number: int) -> SettlementView:
        if round_number not in self._settlements:
            self._settlements[round_number] = await self.context.ledger.settlement(task_id, round_number)
        return self._settlements[round_number]

    async def _accepted(self, task: TaskView, round_number: int, wanted: str) -> Vector:
        """What a round's accepted candidate was, by its digest: parameters, or in round 0 the vector of the normalisation."""
        normalisation = await self.normalisation(task) if round_number else None
        kept = self.context.state.model(task.terms.task_id, round_number)
        if kept is not None and digest(kept, normalisation) == wanted:
            return kept
        for mspid, endpoint in sorted(task.endpoints.items()):
            if mspid == self.context.mspid or not endpoint:
                continue
            try:
                saved = await self._fetch_model(task.terms.task_id, mspid, endpoint)
            except (grpc.aio.AioRpcError, ModelError) as error:
                log.info("task %s: no model from %s: %s", task.terms.task_id, mspid, error)
                continue
            fetched = saved.parameters
            if round_number == 0 and saved.normalisation is not None:
                fetched = saved.normalisation.vector
            if digest(fetched, normalisation) == wanted:
                self.context.state.keep_model(task.terms.task_id, round_number, fetched)
                return fetched
        raise Unavailable(f"no gateway that answers has the model of round {round_number} of task {task.terms.task_id}")

    async def _fetch_model(self, task_id: str, mspid: str, endpoint: str) -> SavedModel:
        stub = gateway_pb2_grpc.GatewayServiceStub(self.context.peers.channel(mspid, endpoint))
        request = gateway_pb2.FetchModelRequest(task_id=task_id)
        chunks = [part.chunk async for part in stub.FetchModel(request, timeout=UNARY_TIMEOUT_SECONDS)]
        saved = from_safetensors(b"".join(chunks))
        if saved.spec != self.plan.spec:
            raise ModelError(f"{mspid} sent a model of another shape")
        return saved

    async def _summed(self, task: TaskView, view: RoundView) -> Summed:
        return Statistics(self.plan) if view.normalises else Updates(self.plan, await self.normalisation(task))

    def _contributor(self, task: TaskView, summed: Summed) -> Contributor:
        return Contributor(self.context, self.plan, summed, self.cohort.train, self.stopwatch, task.terms)

    async def _opener(self, task: TaskView, view: RoundView) -> SumOpener:
        summed = await self._summed(task, view)
        normalisation = None if view.normalises else await self.normalisation(task)
        return SumOpener(self.context, self.plan, summed, normalisation, ciphertext_size(summed.length), self.stopwatch)
