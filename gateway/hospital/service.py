"""The gateway's service for researchers, for other gateways and for the hospital's own staff."""

import hashlib
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

import grpc
from consortium.v1 import gateway_pb2, gateway_pb2_grpc

from fabric.ledger_views import TaskView
from gateway.errors import InputError, PolicyRefused, TaskIncomplete
from gateway.hospital.approval import approve_by_person, reject
from gateway.hospital.context import GatewayContext
from gateway.hospital.documents import keep_document
from gateway.hospital.runner import TaskRunner
from gateway.rpc import CHUNK_BYTES, answers_errors, caller_of, require_member, streams_errors
from gateway.task_file import MAX_BYTES
from gateway.trust_roots import TrustRoots

Context = grpc.aio.ServicerContext[Any, Any]


class GatewayService(gateway_pb2_grpc.GatewayServiceServicer):
    """Run by every gateway."""

    def __init__(
        self,
        context: GatewayContext,
        roots: TrustRoots,
        runner_of: Callable[[str], TaskRunner],
        runners: Callable[[], list[TaskRunner]],
    ) -> None:
        self._context = context
        self._roots = roots
        self._runner_of = runner_of
        self._runners = runners

    @answers_errors
    async def SubmitDocument(  # noqa: N802  # the name is protobuf's
        self, request: gateway_pb2.SubmitDocumentRequest, context: Context
    ) -> gateway_pb2.SubmitDocumentResponse:
        caller = caller_of(context, self._roots)
        if len(request.document) > MAX_BYTES:
            raise InputError(f"a task document has at most {MAX_BYTES} bytes; this one has {len(request.document)}")
        view = await self._context.ledger.task(request.task_id)
        require_member(caller, view.terms.organisation, f"bringing the document of task {request.task_id}")
        found = keep_document(self._context, view, request.document)
        self._runner_of(request.task_id).wake()
        return gateway_pb2.SubmitDocumentResponse(digest=found)

    @answers_errors
    async def GetDocument(  # noqa: N802  # the name is protobuf's
        self, request: gateway_pb2.GetDocumentRequest, context: Context
    ) -> gateway_pb2.GetDocumentResponse:
        caller_of(context, self._roots)  # any organisation of the channel may read a task's document
        document = self._context.state.document(request.task_id)
        if document is None:
            raise TaskIncomplete(f"this gateway has not got the document of task {request.task_id}")
        return gateway_pb2.GetDocumentResponse(document=document)

    @answers_errors
    async def DecideTask(  # noqa: N802  # the name is protobuf's
        self, request: gateway_pb2.DecideTaskRequest, context: Context
    ) -> gateway_pb2.DecideTaskResponse:
        require_member(caller_of(context, self._roots), self._context.mspid, "deciding on tasks")
        work = self._runner_of(request.task_id).work
        view = await self._context.ledger.task(request.task_id)
        if request.approve:
            receipt = await approve_by_person(work, view)
        elif request.reason:
            receipt = await reject(work, view, request.reason)
        else:
            raise InputError("a rejection needs a reason; it stands on the ledger")
        return gateway_pb2.DecideTaskResponse(tx_id=receipt.tx_id)

    @streams_errors
    async def FetchModel(  # noqa: N802  # the name is protobuf's
        self, request: gateway_pb2.FetchModelRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.FetchModelResponse]:
        caller = caller_of(context, self._roots)
        self._require_concerned(caller.mspid, await self._context.ledger.task(request.task_id))
        model = await self._runner_of(request.task_id).final_model()
        if model is None:
            raise TaskIncomplete(f"task {request.task_id} has no model here; it has not begun, or this hospital takes no part")
        for start in range(0, len(model), CHUNK_BYTES):
            yield gateway_pb2.FetchModelResponse(chunk=model[start : start + CHUNK_BYTES])

    @answers_errors
    async def GetEvaluation(  # noqa: N802  # the name is protobuf's
        self, request: gateway_pb2.GetEvaluationRequest, context: Context
    ) -> gateway_pb2.GetEvaluationResponse:
        caller = caller_of(context, self._roots)
        view = await self._context.ledger.task(request.task_id)
        if caller.mspid != self._context.mspid:
            require_member(caller, view.terms.organisation, f"the evaluation of task {request.task_id}")
        evaluation = self._context.state.evaluation(request.task_id)
        if evaluation is None:
            raise TaskIncomplete(f"{self._context.mspid} has not evaluated task {request.task_id} yet; ask again when it has finished")
        if not evaluation:
            raise PolicyRefused(f"{self._context.mspid} releases no evaluation of task {request.task_id}")
        if caller.mspid != self._context.mspid:
            digest = hashlib.sha256(evaluation).hexdigest()
            self._context.records.disclosed(view.terms, "evaluation", recipient=caller.mspid, digest=digest)
        return gateway_pb2.GetEvaluationResponse(evaluation_json=evaluation)

    @answers_errors
    async def GetStatus(  # noqa: N802  # the name is protobuf's
        self, request: gateway_pb2.GetStatusRequest, context: Context
    ) -> gateway_pb2.GetStatusResponse:
        require_member(caller_of(context, self._roots), self._context.mspid, "the gateway's status")
        return gateway_pb2.GetStatusResponse(
            mspid=self._context.mspid,
            version=version("consortium-gateway"),
            ledger_height=await self._context.client.height(),
            tasks=[_status(runner) for runner in self._runners()],
        )

    def _require_concerned(self, mspid: str, view: TaskView) -> None:
        if mspid not in (self._context.mspid, view.terms.organisation, *view.participants):
            raise PolicyRefused(f"{mspid} has no part in task {view.terms.task_id}")


def _status(runner: TaskRunner) -> gateway_pb2.TaskStatus:
    view, round_view = runner.view, runner.round_view
    return gateway_pb2.TaskStatus(
        task_id=runner.work.task_id,
        title="" if view is None else view.terms.title,
        status="" if view is None else view.phase,
        round=0 if view is None else view.round,
        phase=round_view.phase if view is not None and view.phase == "rounds" and round_view is not None else "",
        note=runner.note,
    )
