"""The gRPC server that peers connect to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import grpc
import grpc.aio
from fabric_protos.peer import chaincode_shim_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fabric.chaincode.errors import ChaincodeServiceError
from fabric.chaincode.execution import Contract
from fabric.chaincode.metrics import Metrics
from fabric.chaincode.session import Session
from fabric.chaincode.workers import Workers
from fabric.tls import MutualTls, server_credentials

_LARGEST_MESSAGE = 100 * 1024 * 1024  # bytes; the limit peers use for chaincode messages
_OPTIONS = (
    # Peers ping an idle stream every minute; gRPC's default would take that for abuse and close the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    # Without it a second service on a taken port would start, and get every other connection.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True)
class ServiceSettings:
    """Where to listen ("host:port"), for which installed package (`peer lifecycle chaincode calculatepackageid`), how secured.

    Without `tls` the service starts only if `plain_on_loopback` says so and the address is this machine's alone. `tls` is asked at
    every new connection. `running` calls have a thread at a time, `admitted` are in the house, others are turned away.
    `keepalive_s`: how long a stream may be silent until the peer is pinged, and how long the peer then has to answer.
    """

    listen: str
    package_id: str
    tls: Callable[[], MutualTls] | None
    plain_on_loopback: bool = False
    running: int = 16
    admitted: int = 512
    largest_message: int = _LARGEST_MESSAGE
    keepalive_s: tuple[float, float] = (60.0, 20.0)


class ChaincodeService:
    """Runs one contract for any number of peers and channels."""

    def __init__(self, contract: Contract, settings: ServiceSettings, functions: Collection[str] = ()) -> None:
        """`functions`: the contract's, to tell them apart in `metrics`."""
        self.metrics = Metrics(functions)
        self._settings = settings
        self._contract = contract
        self._workers = Workers(running=settings.running, admitted=settings.admitted)
        self._server = grpc.aio.server(options=[*_OPTIONS, *_sized(settings)])
        self._health = health.aio.HealthServicer()
        self._sessions: set[Session] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen; `port` then holds the port bound. Raises ChaincodeServiceError if the settings or the address forbid it."""
        chaincode_shim_pb2_grpc.add_ChaincodeServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._bind()
        except RuntimeError as error:
            raise ChaincodeServiceError(
                f"cannot listen on {self._settings.listen};"
                " check that the port is free, and that the TLS certificate and private key belong together"
            ) from error
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, give running ones `grace_s` to end and be answered, then close."""
        self._workers.refuse_more()
        await self._health.enter_graceful_shutdown()
        # A peer's stream never ends by itself: without this every stop would take the whole of `grace_s`.
        ending = asyncio.gather(*(session.finish() for session in self._sessions))
        await self._server.stop(grace_s)
        ending.cancel()
        self._workers.close()

    async def Connect(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802 (gRPC's name)
        settings = self._settings
        session = Session(self._contract, settings.package_id, self._workers, self.metrics, largest_message=settings.largest_message)
        self._sessions.add(session)
        try:
            with self.metrics.streams.track_inprogress():
                async with aclosing(session.converse(request_iterator)) as outgoing:  # closed at once when the peer is gone
                    async for message in outgoing:
                        yield message
        finally:
            self._sessions.discard(session)

    def _bind(self) -> int:
        tls = self._settings.tls
        if tls is not None:
            return self._server.add_secure_port(self._settings.listen, server_credentials(tls))
        if not self._settings.plain_on_loopback or not is_loopback(self._settings.listen):
            raise ChaincodeServiceError(
                f"no TLS for {self._settings.listen}: give certificate, key and client CA;"
                " only a loopback address may go without, and only if plain_on_loopback says so"
            )
        return self._server.add_insecure_port(self._settings.listen)


def _sized(settings: ServiceSettings) -> list[tuple[str, int]]:
    ping_s, answer_s = settings.keepalive_s
    return [
        ("grpc.max_receive_message_length", settings.largest_message),
        ("grpc.max_send_message_length", settings.largest_message),
        ("grpc.keepalive_time_ms", round(ping_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(answer_s * 1000)),
        (
            "grpc.http2.ping_timeout_ms",
            round(answer_s * 1000),
        ),  # a minute unless told, which gRPC waits for before the timeout above counts
    ]


def is_loopback(listen: str) -> bool:
    """Whether HOST:PORT is reached from this machine only."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
