"""Fetch a task's model and what hospitals release about it from their gateways, over mutual TLS."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import grpc
from consortium.v1 import gateway_pb2, gateway_pb2_grpc

from fabric.ledger_views import TaskView
from gateway.connect import Access
from gateway.errors import TaskIncomplete, Unavailable, VerificationFailed
from gateway.researcher.outcome import Evaluation
from gateway.rpc import UNARY_TIMEOUT_SECONDS, unavailable
from gateway.task_file import digest as document_digest
from privacy.evaluation import EvaluationError
from privacy.models import MAXIMUM_PARAMETERS, ModelError, digest, from_safetensors
from privacy.noisy_evaluation import NoisyHistogram

# Eight bytes a parameter, and room for the file's header.
MAX_MODEL_BYTES = 8 * MAXIMUM_PARAMETERS + (1 << 16)
# A hospital evaluates when it hears that the task is finished: that may be a moment after the researcher does.
EVALUATION_SECONDS = 30.0
_ASK_AGAIN_SECONDS = 0.25


async def fetch_document(access: Access, view: TaskView) -> bytes:
    """The task's document from the first gateway that has it, checked against the ledger's digest; raise Unavailable if none does."""
    request = gateway_pb2.GetDocumentRequest(task_id=view.terms.task_id)
    reasons = []
    for mspid, endpoint in sorted(view.endpoints.items()):
        try:
            stub = gateway_pb2_grpc.GatewayServiceStub(access.peers.channel(mspid, endpoint))
            document = (await stub.GetDocument(request, timeout=UNARY_TIMEOUT_SECONDS)).document
        except grpc.aio.AioRpcError as error:
            reasons.append(str(unavailable(error, f"the gateway of {mspid}")))
            continue
        except Unavailable as error:
            reasons.append(str(error))
            continue
        if document_digest(document) == view.terms.digest:
            return bytes(document)
        reasons.append(f"{mspid} sent a document that is not the one on the ledger")
    raise Unavailable(f"no gateway gave the document of task {view.terms.task_id}: {'; '.join(reasons) or 'no hospital takes connections'}")


async def fetch_model(access: Access, view: TaskView, *, expected_digest: str) -> bytes:
    """The model as safetensors from the first gateway that has it; raise TaskIncomplete or Unavailable if none does.

    Only a model whose parameters have the digest that the ledger accepted is returned.
    """
    reasons = []
    for mspid in view.participants:
        try:
            model = await _model_of(access, mspid, view.endpoints.get(mspid, ""), view.terms.task_id)
            _check_model(model, expected_digest, mspid)
            return model
        except (Unavailable, VerificationFailed) as error:
            reasons.append(str(error))
    if not reasons:
        raise TaskIncomplete(f"task {view.terms.task_id} has no participants, so it has no model")
    raise Unavailable(f"no gateway gave the model of task {view.terms.task_id}: {'; '.join(reasons)}")


async def fetch_evaluations(access: Access, view: TaskView) -> tuple[dict[str, Evaluation], dict[str, str]]:
    """What the participants release, by MSP id, and why the others released nothing."""
    answers = await asyncio.gather(*(_evaluation_of(access, view, mspid) for mspid in view.participants))
    by_mspid = dict(zip(view.participants, answers, strict=True))
    found = {mspid: answer for mspid, answer in by_mspid.items() if isinstance(answer, Evaluation)}
    return found, {mspid: answer for mspid, answer in by_mspid.items() if isinstance(answer, str)}


def parse_evaluation(data: bytes) -> Evaluation:
    """Check an evaluation that a gateway sent; raise VerificationFailed saying what is wrong with it."""
    try:
        fields = json.loads(data)
        return Evaluation(
            federated=_noisy(fields["federated"]),
            seconds={str(name): float(value) for name, value in fields["seconds"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, EvaluationError) as error:
        raise VerificationFailed(f"the evaluation cannot be read: {type(error).__name__}: {error}") from error


def _noisy(fields: Mapping[str, Any]) -> NoisyHistogram:
    return NoisyHistogram(
        tuple(float(count) for count in fields["positives"]),
        tuple(float(count) for count in fields["negatives"]),
        float(fields["noise_deviation"]),
    )


async def _evaluation_of(access: Access, view: TaskView, mspid: str) -> Evaluation | str:
    request = gateway_pb2.GetEvaluationRequest(task_id=view.terms.task_id)
    deadline = asyncio.get_running_loop().time() + (0 if mspid in view.absent else EVALUATION_SECONDS)
    try:
        stub = gateway_pb2_grpc.GatewayServiceStub(access.peers.channel(mspid, view.endpoints.get(mspid, "")))
        while True:
            try:
                return parse_evaluation((await stub.GetEvaluation(request, timeout=UNARY_TIMEOUT_SECONDS)).evaluation_json)
            except grpc.aio.AioRpcError as error:
                not_yet = error.code() is grpc.StatusCode.FAILED_PRECONDITION
                if not not_yet or asyncio.get_running_loop().time() > deadline:
                    return str(unavailable(error, f"the gateway of {mspid}"))
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
    except (Unavailable, VerificationFailed) as error:
        return str(error)


async def _model_of(access: Access, mspid: str, endpoint: str, task_id: str) -> bytes:
    stub = gateway_pb2_grpc.GatewayServiceStub(access.peers.channel(mspid, endpoint))
    chunks: list[bytes] = []
    received = 0
    try:
        async for part in stub.FetchModel(gateway_pb2.FetchModelRequest(task_id=task_id), timeout=UNARY_TIMEOUT_SECONDS):
            received += len(part.chunk)
            if received > MAX_MODEL_BYTES:
                raise VerificationFailed(f"the gateway of {mspid} sends more than a model can have")
            chunks.append(part.chunk)
    except grpc.aio.AioRpcError as error:
        raise unavailable(error, f"the gateway of {mspid}") from error
    return b"".join(chunks)


def _check_model(model: bytes, expected_digest: str, mspid: str) -> None:
    try:
        saved = from_safetensors(model)
    except ModelError as error:
        raise VerificationFailed(f"{mspid} sent something that is no model: {error}") from error
    if digest(saved.parameters, saved.normalisation) != expected_digest:
        raise VerificationFailed(f"{mspid} sent a model that is not the one on the ledger")
