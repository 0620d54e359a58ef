"""The gateway's process: start, follow the ledger, serve, stop cleanly."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime

import grpc
from consortium.v1 import exchange_pb2, exchange_pb2_grpc, gateway_pb2, gateway_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fabric.client.errors import ContractRefused, LedgerError
from fabric.contract.release import RELEASE, Release
from fabric.crypto import IdentityError
from fabric.devledger.port import is_busy
from fabric.ledger import Ledger
from fabric.ledger_views import TaskSummary
from fabric.tls import TlsIdentity
from fabric.watched import Watched
from gateway.aggregator.blobs import BlobStore
from gateway.aggregator.exchange import ExchangeService
from gateway.config import GatewayConfig
from gateway.connect import open_ledger, watched_tls
from gateway.contract_version import check_contract
from gateway.errors import PortInUse
from gateway.hospital.context import GatewayContext
from gateway.hospital.disputes import Disputes
from gateway.hospital.hub import Hub
from gateway.hospital.membership import TaskMembership
from gateway.hospital.metrics import Metrics
from gateway.hospital.misbehave import goes_silent
from gateway.hospital.news import News
from gateway.hospital.record_log import RecordLog
from gateway.hospital.recorder import Recorder
from gateway.hospital.runner import TaskRunner
from gateway.hospital.service import GatewayService
from gateway.hospital.state import StateStore
from gateway.hospital.task_data import TaskData
from gateway.metrics_port import metrics_served
from gateway.rpc import Peers, new_server
from gateway.trust_roots import TrustRoots, read_trust_roots
from privacy import ckks, training

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
REGISTRATION_SECONDS = 1.0


class GatewayProcess:
    """Everything one gateway runs beside its server. Made by `serve`."""

    def __init__(self, context: GatewayContext, membership: TaskMembership, jobs: asyncio.TaskGroup) -> None:
        self.context = context
        self._membership = membership
        self._jobs = jobs
        self._runners: dict[str, TaskRunner] = {}
        self._disputes = Disputes(context, lambda task: self.runner_of(task.terms.task_id).rounds_of(task))

    def runner_of(self, task_id: str) -> TaskRunner:
        """The task's runner, started when the task is first heard of."""
        if task_id not in self._runners:
            runner = TaskRunner(self.context, task_id)
            self._runners[task_id] = runner
            self._jobs.create_task(self._run(runner))
        return self._runners[task_id]

    async def _run(self, runner: TaskRunner) -> None:
        with self.context.metrics.tasks.track_inprogress():
            await runner.run()

    def runners(self) -> list[TaskRunner]:
        return list(self._runners.values())

    async def start(self) -> None:
        """Begin to follow the ledger: events from this height on, and the tasks as they stand at it or later."""
        height = await self.context.client.height()
        self._jobs.create_task(self._follow(height))
        self._jobs.create_task(self._beat())
        self._jobs.create_task(self._disputes.run())
        self._jobs.create_task(asyncio.to_thread(_warm_up))
        for summary in await self._tasks():
            self.runner_of(summary.task_id)
            self._disputes.hear(summary.task_id)

    async def _tasks(self) -> tuple[TaskSummary, ...]:
        """The tasks on the ledger, as soon as the hospital's admin has registered this gateway there."""
        said = False
        while True:
            try:
                return await self.context.ledger.tasks()
            except ContractRefused as refusal:
                if refusal.code != "DENIED":
                    raise
            if not said:
                log.warning("waiting to be registered on the ledger: `consortium register identity` by the hospital's admin")
                said = True
            await asyncio.sleep(REGISTRATION_SECONDS)

    async def _follow(self, start: int) -> None:
        async for event in self.context.client.chaincode_events(start_block=start):
            news = News.read(event.name, event.payload)
            if news is None:
                continue
            if (news.moved and not news.within_round) or news.of_dispute:
                self._membership.forget(news.task_id)
            if news.of_dispute:
                self._disputes.hear(news.task_id)
            else:
                self.runner_of(news.task_id).hear(news)

    async def _beat(self) -> None:
        """While a task waits, say so on the ledger: a quorum of heartbeats is how the consortium agrees that time has passed."""
        seconds = self.context.config.gateway.heartbeat_seconds
        while True:
            await asyncio.sleep(seconds)
            waiting = [runner for runner in self.runners() if _waits(runner, seconds)]
            if not (waiting or self._disputes.waiting) or any(_silenced(self.context, runner) for runner in waiting):
                continue
            try:
                await self.context.ledger.heartbeat()
                self.context.metrics.heartbeats.inc()
            except (LedgerError, IdentityError) as error:  # the latter from a token that does not sign at the moment
                log.warning("no heartbeat: %s", error)
            for runner in waiting:
                runner.wake()


def _waits(runner: TaskRunner, seconds: float) -> bool:
    return runner.view is not None and not runner.view.over and time.monotonic() - runner.quiet_since > seconds


def _silenced(context: GatewayContext, runner: TaskRunner) -> bool:
    return runner.view is not None and goes_silent(context.misbehaviour, runner.view.round)


def _warm_up() -> None:
    """Load what the first round would otherwise wait for."""
    ckks.warm_up()
    training.warm_up()


async def serve(config: GatewayConfig) -> None:
    """Run a gateway until SIGTERM or SIGINT. Run by the hospital. Raises what `run_gateway` raises."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_gateway(config, stop)


def utc_now() -> datetime:
    return datetime.now(UTC)


async def run_gateway(
    config: GatewayConfig, stop: asyncio.Event, *, release: Release = RELEASE, now: Callable[[], datetime] = utc_now
) -> None:
    """Run a gateway until `stop` is set. `release`: of the contract, that this program is written for. `now`: its clock, in UTC.

    Raises ConfigError or IdentityError for files that cannot be used and for a ledger whose contract this program does not understand,
    PortInUse, and LedgerError where the ledger refuses.
    """
    if is_busy(config.gateway.listen):
        raise PortInUse(f"{config.gateway.listen} is taken by another program; stop it or set [gateway] listen to a free port")
    client = open_ledger(config)
    state = StateStore(config.gateway.state)
    log_of_records = RecordLog(config.gateway.records)
    try:
        tls = watched_tls(config)
        ledger = Ledger(client)
        check_contract(await ledger.version(), release)
        roots = await read_trust_roots(client)
        blobs = BlobStore(config.gateway.state / "exchange")
        peers = Peers(client.identity.mspid, tls, roots)
        recorder = Recorder(log_of_records, config.identity.mspid, now)
        context = GatewayContext(config, client, ledger, state, blobs, Hub(blobs, peers), peers, Metrics(), TaskData(config), recorder, now)
        with metrics_served(context.metrics.registry, config.gateway.metrics, "[gateway] metrics"):
            await _serve(context, tls, roots, stop)
        await peers.close()
    except ExceptionGroup as group:
        # One job's failure ended the others; it is the one to tell of.
        raise group.exceptions[0] from group
    finally:
        await client.close()
        log_of_records.close()
        state.close()


async def _serve(context: GatewayContext, tls: Watched[TlsIdentity], roots: TrustRoots, stop: asyncio.Event) -> None:
    try:
        async with asyncio.TaskGroup() as jobs:
            membership = TaskMembership(context.ledger)
            process = GatewayProcess(context, membership, jobs)
            server, healthy = await _start_server(context, process, membership, tls, roots)
            try:
                await process.start()
                await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
                log.info("%s serves on %s", context.mspid, context.config.gateway.listen)
                await stop.wait()
                await healthy.enter_graceful_shutdown()
                raise _Stopped
            finally:
                await server.stop(STOP_SECONDS)
    except* _Stopped:
        log.info("%s stopped", context.mspid)


async def _start_server(
    context: GatewayContext, process: GatewayProcess, membership: TaskMembership, tls: Watched[TlsIdentity], roots: TrustRoots
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    server, credentials = new_server(tls, roots)
    service = GatewayService(context, roots, process.runner_of, process.runners)
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(service, server)
    exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(ExchangeService(context.blobs, membership, roots), server)
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    ours = [service.full_name for file in (exchange_pb2, gateway_pb2) for service in file.DESCRIPTOR.services_by_name.values()]
    reflection.enable_server_reflection([*ours, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    server.add_secure_port(context.config.gateway.listen, credentials)
    await server.start()
    return server, healthy


class _Stopped(Exception):  # noqa: N818  # not an error: ends the task group
    """The gateway was told to stop."""
