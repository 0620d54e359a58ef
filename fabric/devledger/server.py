"""The embedded ledger as a process: opens its data, serves Gateway, Deliver, health and reflection over TLS, stops cleanly."""

import asyncio
import logging
import signal
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.peer import events_pb2, events_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fabric.contract.entry import invoke
from fabric.contract.release import RELEASE
from fabric.crypto import IdentityError, SigningIdentity, load_signing_identity
from fabric.devledger.admission import Admission
from fabric.devledger.config import LedgerConfig
from fabric.devledger.definition import put_in_force
from fabric.devledger.deliver_service import DeliverService
from fabric.devledger.endorser import Endorser
from fabric.devledger.errors import DevLedgerError
from fabric.devledger.gateway_service import GatewayService
from fabric.devledger.ledger import BATCH, Ledger
from fabric.devledger.opening import open_channel
from fabric.devledger.own_transactions import OwnTransactions
from fabric.devledger.port import is_busy
from fabric.devledger.simulation import Contract
from fabric.devledger.store import Store, open_store
from fabric.devledger.validation import KeyPolicies
from fabric.endorsement import EndorsementRules
from fabric.msp import MspRegistry

__all__ = ["Contract", "DevLedger", "serve", "start"]

DRAIN_S = 5.0  # what calls that are running get to finish
_OPTIONS = (
    ("grpc.max_receive_message_length", BATCH.absolute_max_bytes + 64 * 1024),  # bytes; the largest transaction and its call
    ("grpc.max_send_message_length", 100 * 1024 * 1024),  # bytes; a whole block, as a Fabric peer may send
    # The pace at which a Fabric peer lets clients ping; gRPC's own default would close their idle event streams.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 60_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Without this two processes could share one port and each serve some of the clients.
    ("grpc.so_reuseport", 0),
)
MAX_CALLS = 3000  # at once, streams included; a Fabric peer's limits are of this order

_log = logging.getLogger(__name__)


class DevLedger:
    """A running embedded ledger, made by `start`."""

    def __init__(self, server: grpc.aio.Server, status: health.aio.HealthServicer, ledger: Ledger, store: Store) -> None:
        self._server, self._status, self._ledger, self._store = server, status, ledger, store

    @property
    def height(self) -> int:
        return self._ledger.height

    async def stop(self) -> None:
        """Take no more calls, let running ones end, store what was accepted, release the data folder."""
        await self._status.enter_graceful_shutdown()
        self._ledger.release()
        await self._server.stop(DRAIN_S)
        await self._ledger.close()
        self._store.close()


async def start(config: LedgerConfig, *, contract: Contract = invoke, rules: str = RELEASE.rules) -> DevLedger:
    """Open the data and serve until `stop`; raise DevLedgerError if the data, the certificates or the port cannot be used.

    `rules` are the contract's; where the ledger was under earlier ones, this is its upgrade.
    """
    store = open_store(config.ledger.data)
    try:
        return await _start(config, contract, rules, store)
    except BaseException:
        store.close()
        raise


async def _start(config: LedgerConfig, contract: Contract, rules: str, store: Store) -> DevLedger:
    orderer = _identity(config.orderer.mspid, config.orderer.certificate, config.orderer.private_key)
    peers = [_identity(o.mspid, o.peer_certificate, o.peer_private_key) for o in config.organisations]
    channel = open_channel(store, config, orderer, _now())
    put_in_force(store, channel, config.ledger.chaincode, rules, peers=peers, orderer=orderer)
    chaincode = config.ledger.chaincode
    own = OwnTransactions()
    ledger = Ledger(store, orderer, EndorsementRules(channel, KeyPolicies(store.writer.policy, chaincode)), awaited=own.awaited)
    organisations = MspRegistry({msp.mspid: msp for msp in channel.application})
    endorser = Endorser(
        ledger=ledger,
        store=store,
        channel=channel,
        chaincode=chaincode,
        organisations=organisations,
        peers=peers,
        contract=contract,
        version=rules,
        clock=_now,
        own=own,
    )
    server, status = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS), health.aio.HealthServicer()
    gateway = GatewayService(ledger, endorser, Admission(channel, chaincode, _now, own), channel, config.ledger.listen, _now)
    gateway_pb2_grpc.add_GatewayServicer_to_server(gateway, server)
    events_pb2_grpc.add_DeliverServicer_to_server(DeliverService(ledger, channel, _now), server)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection(_service_names(), server)
    try:
        _listen(server, config)
        await server.start()
    except BaseException:
        await ledger.close()
        raise
    await status.set("", health_pb2.HealthCheckResponse.SERVING)
    _log.warning(
        "embedded ledger, for development and trials only: channel %s, chaincode %s %s, %d organisations, height %d, listening on %s",
        channel.channel,
        config.ledger.chaincode,
        rules,
        len(channel.application),
        ledger.height,
        config.ledger.listen,
    )
    return DevLedger(server, status, ledger, store)


async def serve(config: LedgerConfig, *, contract: Contract = invoke) -> None:
    """Run until SIGTERM or SIGINT; raise DevLedgerError as `start` does."""
    ledger, stopped = await start(config, contract=contract), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        await ledger.stop()


def _listen(server: grpc.aio.Server, config: LedgerConfig) -> None:
    pair = (_read(config.ledger.tls_private_key), _read(config.ledger.tls_certificate))
    listen = config.ledger.listen
    if is_busy(listen):
        raise DevLedgerError(f"{listen} is in use by another process; stop that one or change [ledger] listen")
    try:
        server.add_secure_port(listen, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        reason = "check the address, and that the TLS certificate and private key belong together"
        raise DevLedgerError(f"cannot listen on {listen}; {reason}") from error


def _identity(mspid: str, certificate: Path, private_key: Path) -> SigningIdentity:
    try:
        return load_signing_identity(mspid, certificate, private_key)
    except IdentityError as error:
        raise DevLedgerError(f"the identity of {mspid} cannot be used: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DevLedgerError(f"cannot read {path}: {error.strerror}") from error


def _service_names() -> tuple[str, ...]:
    described = (
        gateway_pb2.DESCRIPTOR.services_by_name["Gateway"],
        events_pb2.DESCRIPTOR.services_by_name["Deliver"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
    )
    return (*(service.full_name for service in described), reflection.SERVICE_NAME)


def _now() -> datetime:
    return datetime.now(UTC)
