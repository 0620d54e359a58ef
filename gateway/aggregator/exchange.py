"""The exchange service: participants of a task upload what is theirs and fetch what they may."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc
from consortium.v1 import exchange_pb2, exchange_pb2_grpc

from gateway.aggregator.blobs import BlobStore, Name
from gateway.errors import PolicyRefused
from gateway.rpc import answers_errors, caller_of, require_member, streams_errors
from gateway.transfer import receive_body, receive_header, send
from gateway.trust_roots import TrustRoots

Context = grpc.aio.ServicerContext[Any, Any]


class Membership(Protocol):
    """Who takes part in a task and how large its blobs may be, as this gateway knows it from the ledger."""

    async def participants(self, task_id: str) -> frozenset[str]:
        """MSP ids of the task's participants; empty for a task that is not running."""

    async def blob_limit_bytes(self, task_id: str) -> int:
        """The largest blob that the task's model and hospitals can need."""


class ExchangeService(exchange_pb2_grpc.ExchangeServiceServicer):
    """Run by every gateway; used when the ledger elected it as hub."""

    def __init__(self, store: BlobStore, membership: Membership, roots: TrustRoots) -> None:
        self._store = store
        self._membership = membership
        self._roots = roots

    @answers_errors
    async def Upload(  # noqa: N802  # the name is protobuf's
        self, request_iterator: AsyncIterator[exchange_pb2.UploadRequest], context: Context
    ) -> exchange_pb2.UploadResponse:
        caller = caller_of(context, self._roots)
        parts = aiter(request_iterator)
        # Nothing of an unknown caller or of a wrong size is buffered: header first, then the checks, then the bytes.
        header = await receive_header(parts)
        name = Name.parse(header.name)
        require_member(caller, name.owner, f"a blob of {name.owner}")
        await self._require_participant(name.task_id, caller.mspid)
        limit_bytes = await self._membership.blob_limit_bytes(name.task_id)
        await self._store.put(name, receive_body(parts, header, limit_bytes=limit_bytes), sha256=header.sha256)
        return exchange_pb2.UploadResponse(sha256=header.sha256)

    @streams_errors
    async def Fetch(  # noqa: N802  # the name is protobuf's
        self, request: exchange_pb2.FetchRequest, context: Context
    ) -> AsyncIterator[exchange_pb2.FetchResponse]:
        caller = caller_of(context, self._roots)
        name = Name.parse(request.name)
        await self._require_participant(name.task_id, caller.mspid)
        if name.recipient:
            require_member(caller, name.recipient, f"a blob for {name.recipient}")
        # Waits without polling; the caller's deadline ends the wait by cancelling this call.
        with (await self._store.arrival(name)).open("rb") as blob:
            async for message in send(exchange_pb2.FetchResponse, name, blob):
                yield message

    async def _require_participant(self, task_id: str, mspid: str) -> None:
        if mspid not in await self._membership.participants(task_id):
            raise PolicyRefused(f"{mspid} takes no part in task {task_id}")
