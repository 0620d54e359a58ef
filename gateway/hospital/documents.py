"""Task documents: kept where the researcher brought them, fetched from another gateway otherwise, always checked by digest."""

import logging

import grpc
from consortium.v1 import gateway_pb2, gateway_pb2_grpc

from fabric.ledger_views import TaskView
from gateway.errors import Unavailable, VerificationFailed
from gateway.hospital.context import GatewayContext
from gateway.rpc import UNARY_TIMEOUT_SECONDS
from gateway.task_file import digest

log = logging.getLogger(__name__)


async def find_document(context: GatewayContext, view: TaskView) -> bytes:
    """The task's document; raise Unavailable where no gateway that answers has it."""
    held = context.state.document(view.terms.task_id)
    if held is not None:
        return held
    for mspid, endpoint in sorted(view.endpoints.items()):
        if mspid == context.mspid or not endpoint:
            continue
        stub = gateway_pb2_grpc.GatewayServiceStub(context.peers.channel(mspid, endpoint))
        try:
            answer = await stub.GetDocument(gateway_pb2.GetDocumentRequest(task_id=view.terms.task_id), timeout=UNARY_TIMEOUT_SECONDS)
            keep_document(context, view, answer.document)
        except (grpc.aio.AioRpcError, VerificationFailed) as error:
            log.info("task %s: %s has no document for us: %s", view.terms.task_id, mspid, error)
            continue
        return bytes(answer.document)
    raise Unavailable(
        f"no gateway has the document of task {view.terms.task_id} yet; the researcher sends it with `consortium task submit`"
    )


def keep_document(context: GatewayContext, view: TaskView, document: bytes) -> str:
    """Keep a document that someone brought; raise VerificationFailed unless the ledger holds its digest. Returns the digest."""
    found = digest(document)
    if found != view.terms.digest:
        raise VerificationFailed(
            f"the document is not that of task {view.terms.task_id}: its digest is {found}, the ledger holds {view.terms.digest}"
        )
    context.state.keep_document(view.terms.task_id, document)
    return found
