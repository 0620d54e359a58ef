"""Submit a task: its terms and digest onto the ledger, its document to the hospitals' gateways."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from consortium.v1 import gateway_pb2, gateway_pb2_grpc

from gateway.connect import Access
from gateway.errors import InputError, Unavailable
from gateway.hospital.plan import model_spec
from gateway.permit import check_permit
from gateway.rpc import UNARY_TIMEOUT_SECONDS, unavailable
from gateway.task_file import digest, parse
from privacy.models import parameter_count

_TASK_ID = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
_DIGEST_LETTERS = 8


@dataclass(frozen=True)
class Submitted:
    """A task on the ledger; `refused` says why a gateway did not take the document, by MSP id."""

    task_id: str
    digest: str
    tx_id: str
    block_number: int
    delivered: tuple[str, ...]
    refused: Mapping[str, str]


def task_id_for(title: str, document: bytes) -> str:
    """An id that people recognise and that is the same for the same document: the title's words and the digest's beginning."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-")
    return f"{words or 'task'}-{digest(document)[:_DIGEST_LETTERS]}"


def check_task_id(task_id: str) -> str:
    if not _TASK_ID.fullmatch(task_id):
        raise InputError(f"{task_id!r} cannot be a task's id; use 3 to 63 lower-case letters, digits and hyphens")
    return task_id


async def submit_task(
    access: Access, document: bytes, *, task_id: str, source: str, now: datetime | None = None, order: Mapping[str, Any] | None = None
) -> Submitted:
    """Put the task on the ledger and bring its document to every gateway that takes connections.

    `order`: the offers it takes up (fabric.ledger.Ledger.submit_task). A gateway that is away gets the document from another one later.
    Raises TaskFileError, PolicyRefused for a permit that has ended `now` (default: by this machine's clock), ContractRefused, LedgerError,
    and Unavailable if no gateway took the document: `deliver` brings it once one answers.
    """
    task = parse(document, source=source)
    check_permit(task.task.permit, task.task.last_day, now=now or datetime.now(UTC))
    receipt = await access.ledger.submit_task(
        task_id=check_task_id(task_id),
        digest=digest(document),
        title=task.task.title,
        purpose=task.task.purpose,
        permit=task.task.permit,
        rounds=task.task.rounds,
        min_hospitals=task.task.minimum_hospitals,
        group_size=task.task.group_size,
        reward_micro=task.task.reward_micro,
        epsilon_micro=task.privacy.epsilon_micro,
        delta_inverse=task.privacy.delta_inverse,
        score_epsilon_micro=task.privacy.score_epsilon_micro,
        score_clip_micro=task.privacy.score_clip_micro,
        heartbeat_limit=task.task.heartbeat_limit,
        parameters=parameter_count(model_spec(task)),
        normalisation=task.normalisation is not None,
        permit_expires=task.task.last_day,
        training_limit=task.task.training_limit,
        mode=task.privacy.mode,
        order=order,
    )
    delivered, refused = await deliver(access, task_id, document)
    return Submitted(task_id, digest(document), receipt.tx_id, receipt.block_number, delivered, refused)


async def deliver(access: Access, task_id: str, document: bytes) -> tuple[tuple[str, ...], dict[str, str]]:
    """Bring a document to the hospitals that are asked: (who took it, why the others did not); raise Unavailable if nobody did."""
    asked = (await access.ledger.task(task_id)).hospitals
    hospitals = [organisation for organisation in await access.ledger.organisations() if organisation.mspid in asked]
    addresses = [(hospital.mspid, gateway.endpoint) for hospital in hospitals for gateway in hospital.gateways if gateway.endpoint]
    answers = await asyncio.gather(*(_send(access, mspid, endpoint, task_id, document) for mspid, endpoint in addresses))
    refused = {mspid: why for (mspid, _), why in zip(addresses, answers, strict=True) if why is not None}
    delivered = tuple(mspid for (mspid, _), why in zip(addresses, answers, strict=True) if why is None)
    if not delivered:
        reasons = "; ".join(refused.values()) or "no hospital has registered a gateway that takes connections"
        raise Unavailable(f"task {task_id} is on the ledger, but no gateway took its document ({reasons}); run `consortium task deliver`")
    return delivered, refused


async def _send(access: Access, mspid: str, endpoint: str, task_id: str, document: bytes) -> str | None:
    stub = gateway_pb2_grpc.GatewayServiceStub(access.peers.channel(mspid, endpoint))
    request = gateway_pb2.SubmitDocumentRequest(task_id=task_id, document=document)
    try:
        await stub.SubmitDocument(request, timeout=UNARY_TIMEOUT_SECONDS, wait_for_ready=False)
    except grpc.aio.AioRpcError as error:
        return str(unavailable(error, f"the gateway of {mspid}"))
    return None
