"""Calls of a hospital's own staff to its own gateway."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
from consortium.v1 import gateway_pb2, gateway_pb2_grpc

from gateway.config import GatewayConfig, load_client_config
from gateway.connect import open_ledger, tls_identity
from gateway.errors import ConfigError
from gateway.rpc import UNARY_TIMEOUT_SECONDS, open_channel, unavailable
from gateway.trust_roots import read_trust_roots

Answer = TypeVar("Answer")


def decide_task(config: Path, task_id: str, *, approve: bool, reason: str) -> str:
    """Approve or reject a task through the hospital's gateway; returns the transaction's id. Raises Unavailable with its reason."""
    request = gateway_pb2.DecideTaskRequest(task_id=task_id, approve=approve, reason=reason)
    answer = _ask(config, lambda stub: stub.DecideTask(request, timeout=UNARY_TIMEOUT_SECONDS))
    return str(answer.tx_id)


def gateway_status(config: Path) -> gateway_pb2.GetStatusResponse:
    """How the gateway of a hospital's configuration is. Raises Unavailable where it does not answer."""
    answer: gateway_pb2.GetStatusResponse = _ask(
        config, lambda stub: stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=UNARY_TIMEOUT_SECONDS)
    )
    return answer


def _ask(config: Path, call: Callable[[Any], Awaitable[Answer]]) -> Answer:
    settings = load_client_config(config)
    if not isinstance(settings, GatewayConfig):
        raise ConfigError(f"{config} has no [gateway] section; use the configuration of the hospital's gateway")
    return asyncio.run(_call(settings, call))


async def _call(settings: GatewayConfig, call: Callable[[Any], Awaitable[Answer]]) -> Answer:
    ledger = open_ledger(settings)
    try:
        roots = (await read_trust_roots(ledger)).pem(settings.identity.mspid)
    finally:
        await ledger.close()
    address = reachable(settings.gateway.listen)
    async with open_channel(address, tls_identity(settings), roots) as channel:
        try:
            return await call(gateway_pb2_grpc.GatewayServiceStub(channel))
        except grpc.aio.AioRpcError as error:
            raise unavailable(error, f"the gateway at {address}") from error


def reachable(listen: str) -> str:
    """The address on this machine at which a service that listens on `listen` answers."""
    host, _, port = listen.rpartition(":")
    return {"0.0.0.0": f"127.0.0.1:{port}", "[::]": f"[::1]:{port}"}.get(host, listen)  # noqa: S104 (compared, not bound)
