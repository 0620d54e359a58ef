"""gRPC between gateways and their callers: mutual TLS, the caller's organisation, limits, and errors as status codes."""

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import NameOID

from fabric.crypto import IdentityError
from fabric.tls import MutualTls, TlsIdentity, server_credentials
from gateway.errors import ExitCode, PolicyRefused, Unavailable, kind_of
from gateway.trust_roots import TrustRoots

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
# A chunk and its framing; a larger message is refused by gRPC before it is buffered.
MAX_MESSAGE_BYTES = CHUNK_BYTES + (1 << 16)
UNARY_TIMEOUT_SECONDS = 30.0

CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # a minute unless told, which gRPC waits for before the timeout above counts
]
SERVER_OPTIONS: list[tuple[str, Any]] = [
    *CHANNEL_OPTIONS,
    ("grpc.so_reuseport", 0),  # a second gateway on the port must fail, not share it
    ("grpc.max_concurrent_streams", 256),
]

Method = TypeVar("Method", bound=Callable[..., Awaitable[Any]])
StreamMethod = TypeVar("StreamMethod", bound=Callable[..., AsyncIterator[Any]])


@dataclass(frozen=True)
class Caller:
    """Who is calling: the organisation whose TLS root issued the client certificate, and the name it was issued for."""

    mspid: str
    name: str


def caller_of(context: grpc.aio.ServicerContext[Any, Any], roots: TrustRoots) -> Caller:
    """Tell who is calling from the client certificate that TLS checked; raise IdentityError if no organisation issued it."""
    presented = list(context.auth_context().get("x509_pem_cert", ()))
    if not presented:
        raise IdentityError("no client certificate was presented; call with your organisation's TLS certificate")
    pem = bytes(presented[0])
    mspid = roots.owner_of(pem, at=datetime.now(UTC))
    names = load_pem_x509_certificate(pem).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Caller(mspid, str(names[0].value) if names else "")


def require_member(caller: Caller, mspid: str, what: str) -> None:
    """Raise PolicyRefused unless the caller belongs to `mspid`."""
    if caller.mspid != mspid:
        raise PolicyRefused(f"{what} is open to {mspid} only; {caller.mspid} may not")


def answers_errors(method: Method) -> Method:
    """Turn what a unary (or client-streaming) method raises into a gRPC status with one sentence."""

    @functools.wraps(method)
    async def wrapped(self: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await method(self, request, context)
        except Exception as error:
            await _abort(context, error)

    return wrapped  # type: ignore[return-value]  # the wrapper keeps the method's signature


def streams_errors(method: StreamMethod) -> StreamMethod:
    """Turn what a server-streaming method raises into a gRPC status with one sentence."""

    @functools.wraps(method)
    async def wrapped(self: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        try:
            async for message in method(self, request, context):
                yield message
        except Exception as error:
            await _abort(context, error)

    return wrapped  # type: ignore[return-value]  # the wrapper keeps the method's signature


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError | grpc.aio.BaseError):
        raise error
    kind = kind_of(error)
    if kind.exit_code is ExitCode.UNEXPECTED:
        # The caller may be another organisation: it learns that something failed, the hospital's own log says what.
        log.exception("a call failed unexpectedly")
        await context.abort(grpc.StatusCode.INTERNAL, "the gateway failed; its log says why")
    await context.abort(kind.grpc_status, str(error))


def new_server(tls: Callable[[], TlsIdentity], roots: TrustRoots) -> tuple[grpc.aio.Server, grpc.ServerCredentials]:
    """A server that demands a client certificate of any organisation of the channel; `tls` is asked at every new connection."""
    credentials = server_credentials(lambda: MutualTls(tls(), roots.all_pem()))
    return grpc.aio.server(options=SERVER_OPTIONS), credentials


def open_channel(endpoint: str, tls: TlsIdentity, server_roots_pem: bytes) -> grpc.aio.Channel:
    """A channel to a gateway whose certificate must be issued by `server_roots_pem`."""
    credentials = grpc.ssl_channel_credentials(server_roots_pem, tls.private_key_pem, tls.certificate_pem)
    return grpc.aio.secure_channel(endpoint, credentials, options=CHANNEL_OPTIONS)


class Peers:
    """Channels to other organisations' gateways, opened when first used and kept until the own certificate is renewed."""

    def __init__(self, mspid: str, tls: Callable[[], TlsIdentity], roots: TrustRoots) -> None:
        self.mspid = mspid
        self._tls = tls
        self._roots = roots
        self._channels: dict[tuple[str, str], tuple[TlsIdentity, grpc.aio.Channel]] = {}
        self._replaced: list[grpc.aio.Channel] = []
        """Left to the calls that run on them; gRPC disconnects them when they are idle."""

    def channel(self, mspid: str, endpoint: str) -> grpc.aio.Channel:
        """The channel to `mspid`'s gateway at `endpoint` (host:port, as the ledger names it)."""
        if not endpoint:
            raise Unavailable(f"{mspid} takes no connections from outside")
        key, tls = (mspid, endpoint), self._tls()
        opened = self._channels.get(key)
        if opened is not None and opened[0] == tls:
            return opened[1]
        if opened is not None:
            self._replaced.append(opened[1])
        channel = open_channel(endpoint, tls, self._roots.pem(mspid))
        self._channels[key] = tls, channel
        return channel

    async def close(self) -> None:
        for channel in (*self._replaced, *(channel for _, channel in self._channels.values())):
            await channel.close()
        self._replaced.clear()
        self._channels.clear()


def unavailable(error: grpc.aio.AioRpcError, whom: str) -> Unavailable:
    """An error of a call to another gateway as one sentence."""
    return Unavailable(f"{whom} did not answer: {error.code().name}: {error.details()}")
