"""A gRPC proxy before a ledger that loses calls, answers and streams when told to.

async with faulty_proxy(ledger) as proxy:
    proxy.faults["Submit"].append(Fault(delivered=True))    # the ledger gets the next Submit, its answer is lost
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tests.support.ledger import Network

_STREAMS = ("ChaincodeEvents", "Deliver")


@dataclass(frozen=True)
class Fault:
    """What happens to one call: it fails with `code`, after the ledger got it (`delivered`) or without, or gets another `answer`.

    For a stream: it loses the first `skip` answers, and breaks after `messages` more.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "lost"
    delivered: bool = False
    answer: bytes | None = None
    skip: int = 0
    messages: int = 0


class FaultyProxy(grpc.GenericRpcHandler):
    """Forwards every method, as bytes. `faults` holds, by method, what happens to its next calls; `seen` every request."""

    def __init__(self, upstream: grpc.aio.Channel) -> None:
        self.upstream = upstream
        self.server = grpc.aio.server()
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self.seen: defaultdict[str, list[bytes]] = defaultdict(list)
        self.port = 0
        self._arrived: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @property
    def endpoint(self) -> str:
        return f"localhost:{self.port}"

    async def kill(self) -> None:
        """Break every connection and take no more: the peer is dead for the rest of the test."""
        await self.server.stop(None)

    async def until(self, method: str) -> None:
        """Wait until `method` has been called."""
        await self._arrived[method].wait()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = str(handler_call_details.method)
        method = path.rpartition("/")[2]
        if method in _STREAMS:

            async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
                async for message in self._stream(path, method, requests, context):
                    yield message

            return grpc.stream_stream_rpc_method_handler(stream)

        async def unary(request: bytes, context: Any) -> bytes:
            return await self._unary(path, method, request, context)

        return grpc.unary_unary_rpc_method_handler(unary)

    def _note(self, method: str, request: bytes) -> None:
        self.seen[method].append(request)
        self._arrived[method].set()

    def _next_fault(self, method: str) -> Fault | None:
        return self.faults[method].popleft() if self.faults[method] else None

    async def _unary(self, path: str, method: str, request: bytes, context: Any) -> bytes:
        self._note(method, request)
        fault = self._next_fault(method)
        if fault and not fault.delivered and fault.answer is None:
            await context.abort(fault.code, fault.message)
        try:
            answer: bytes = await self.upstream.unary_unary(path)(request, timeout=context.time_remaining())
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details(), tuple(error.trailing_metadata()))
        if fault and fault.answer is not None:
            return fault.answer
        if fault:
            await context.abort(fault.code, fault.message)
        return answer

    async def _stream(self, path: str, method: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        fault = self._next_fault(method)
        call = self.upstream.stream_stream(path)(self._watched(method, requests))
        passed = skipped = 0
        try:
            while not fault or passed < fault.messages:
                message = await call.read()
                if message is grpc.aio.EOF:
                    break
                if fault and skipped < fault.skip:
                    skipped += 1
                    continue
                yield message
                passed += 1
            if fault:
                await context.abort(fault.code, fault.message)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details(), tuple(error.trailing_metadata()))
        finally:
            call.cancel()

    async def _watched(self, method: str, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for request in requests:
            self._note(method, request)
            yield request


@asynccontextmanager
async def faulty_proxy(network: Network) -> AsyncIterator[FaultyProxy]:
    """A proxy of `network`'s ledger with the ledger's own TLS certificate."""
    ledger = network.config.ledger
    async with proxy_before(network.endpoint, network.tls_ca, ledger.tls_certificate, ledger.tls_private_key) as proxy:
        yield proxy


@asynccontextmanager
async def proxy_before(endpoint: str, tls_ca: bytes, tls_certificate: Path, tls_private_key: Path) -> AsyncIterator[FaultyProxy]:
    """A proxy of the peer at `endpoint` with a TLS certificate of the peer's own organisation."""
    certificate, key = await asyncio.to_thread(lambda: (tls_certificate.read_bytes(), tls_private_key.read_bytes()))
    async with grpc.aio.secure_channel(endpoint, grpc.ssl_channel_credentials(tls_ca)) as upstream:
        proxy = FaultyProxy(upstream)
        proxy.server.add_generic_rpc_handlers((proxy,))
        proxy.port = proxy.server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, certificate)]))
        await proxy.server.start()
        try:
            yield proxy
        finally:
            await proxy.kill()
