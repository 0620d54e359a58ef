"""The demo's course: set up, train, fetch, verify, report. Every step is a verb or a service that a real deployment uses too."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import grpc

from gateway.config import ClientConfig, GatewayConfig, load_client_config, load_gateway_config
from gateway.connect import access, ledger_access, open_ledger, tls_identity
from gateway.demo.baseline import baselines
from gateway.demo.document import read_document
from gateway.demo.fabric_ledger import fabric_ledger
from gateway.demo.folder import held
from gateway.demo.hospitals import AUDIT, RESEARCH
from gateway.demo.network import DemoNetwork
from gateway.demo.processes import Child, Mortal, Processes, run_verb, unless_ended, until_serving
from gateway.errors import TaskIncomplete
from gateway.network.home import open_home
from gateway.researcher.gather import gather
from gateway.researcher.outcome import LedgerOutcome, Outcome
from gateway.researcher.progress import Progress
from gateway.researcher.results import write_results
from gateway.researcher.watch import watch
from gateway.rpc import open_channel
from gateway.task_file import TaskFile
from gateway.trust_roots import read_trust_roots

STALL_SECONDS = 120.0
BLOCKS_FILE = "blocks.out"
MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class DemoSettings:
    """What the command line asks for."""

    out: Path
    task: Path
    hospitals: Path | None = None
    rounds: int | None = None
    misbehave: tuple[str, ...] = ()
    keep_running: bool = False
    fabric_home: Path | None = None
    """The Fabric release to run a real network with; None: the embedded ledger."""


@dataclass(frozen=True)
class DemoResult:
    """What a demo came to, and where its report is."""

    outcome: Outcome
    report: Path


class View(Protocol):
    """Where the demo shows how far it is."""

    def show(self, progress: Progress) -> None: ...

    def say(self, line: str) -> None: ...


async def run_demo(settings: DemoSettings, view: View) -> DemoResult:
    """Run the demo; every process that it starts has ended when it returns or raises.

    Raises InputError and TaskFileError for what the command line names, VerbFailed with a verb's own exit code, Unavailable when
    a process that everything needs dies, and TaskIncomplete when the task ends without a model.
    """
    demo = _Demo(settings, view)
    # A task file that cannot be used must not cost an earlier demo's results.
    document, task = read_document(settings.task, rounds=settings.rounds)
    if settings.fabric_home is not None:
        await asyncio.to_thread(open_home, settings.fabric_home)
    async with demo.network():
        return await demo.train(document, task)


class _Demo:
    """One run, and the processes it has."""

    def __init__(self, settings: DemoSettings, view: View) -> None:
        self._settings = settings
        self._view = view
        self._started = time.monotonic()
        self._processes: Processes
        self._network: DemoNetwork
        self._ledger: Mortal
        self._gateways: dict[str, Child] = {}

    @asynccontextmanager
    async def network(self) -> AsyncIterator[None]:
        """The ledger and the gateways, registered and serving."""
        hospitals = ["--hospitals", str(self._settings.hospitals)] if self._settings.hospitals else []
        misbehave = [word for text in self._settings.misbehave for word in ("--misbehave", text)]
        ledger = ["--ledger", "fabric"] if self._settings.fabric_home else []
        made = await run_verb("init", "--demo", self._settings.out, *hospitals, *misbehave, *ledger)
        with held(self._settings.out) as folder:
            self._network = DemoNetwork(folder, tuple(made["hospitals"]))
            self._view.say(f"{len(self._network.hospitals)} hospitals: certificates and configurations are in {folder}")
            async with Processes(folder / "logs") as self._processes, self._serving_ledger() as self._ledger:
                await asyncio.gather(self._start_gateways(), self._register())
                yield

    async def train(self, document: bytes, task: TaskFile) -> DemoResult:
        """Submit the task, follow it to its end, and write what it came to."""
        task_id = await self._submit(document)
        setup_seconds = time.monotonic() - self._started
        deaths = asyncio.create_task(self._mourn(task_id, task))
        try:
            end = await unless_ended(self._follow(task_id), self._ledger)
        finally:
            deaths.cancel()
        ledger = asyncio.create_task(self._verified_ledger())
        try:
            if end.phase != "finished":
                await ledger
                raise TaskIncomplete(f"task {task_id} is {end.standing}; its story is in {self._network.folder / BLOCKS_FILE}")
            outcome = await self._collect(task_id, task, await ledger)
        finally:
            ledger.cancel()
        seconds = {"total": time.monotonic() - self._started, "setup": setup_seconds, **outcome.seconds}
        outcome = replace(outcome, seconds=seconds)
        report, _ = await asyncio.to_thread(write_results, outcome, self._network.folder)
        if self._settings.keep_running:
            await self._keep_running(report)
        return DemoResult(outcome, report)

    @asynccontextmanager
    async def _serving_ledger(self) -> AsyncIterator[Mortal]:
        if self._settings.fabric_home is None:
            yield await self._start_embedded()
            return
        self._view.say("bringing up a Fabric network")
        async with fabric_ledger(self._processes, self._network.fabric, self._settings.fabric_home) as ledger:
            self._view.say(f"a Fabric network serves, with a peer of each of {len(self._network.organisations)} organisations")
            yield ledger

    async def _start_embedded(self) -> Child:
        ledger = await self._processes.start("ledger", "the ledger", "ledger", "dev", "--config", self._network.ledger_config)
        section = self._researcher.ledger
        credentials = grpc.ssl_channel_credentials(section.tls_ca.read_bytes())
        await until_serving(ledger, grpc.aio.secure_channel(section.endpoint, credentials))
        self._view.say(f"the ledger serves on {section.endpoint}")
        return ledger

    async def _start_gateways(self) -> None:
        for mspid in self._network.hospitals:
            what, config = f"the gateway of {mspid}", self._network.gateway(mspid)
            self._gateways[mspid] = await self._processes.start(mspid, what, "gateway", "serve", "--config", config)
        client = open_ledger(load_client_config(self._network.researcher))
        try:
            roots = await read_trust_roots(client)
        finally:
            await client.close()
        tls = tls_identity(load_client_config(self._network.researcher))
        channels = {mspid: open_channel(self._endpoint(mspid), tls, roots.pem(mspid)) for mspid in self._network.hospitals}
        await asyncio.gather(*(until_serving(self._gateways[mspid], channel) for mspid, channel in channels.items()))
        self._view.say(f"{len(channels)} gateways serve on {', '.join(self._endpoint(mspid) for mspid in channels)}")

    async def _register(self) -> None:
        await asyncio.gather(*(self._register_organisation(mspid) for mspid in self._network.organisations))
        self._view.say("organisations, identities and data sets are registered on the ledger")

    async def _register_organisation(self, mspid: str) -> None:
        admin = self._network.admin(mspid)
        if mspid in self._network.hospitals:
            gateway = self._network.gateway(mspid)
            await self._processes.verb("register", "hospital", "--config", admin, "--gateway", gateway, "--name", mspid)
            return
        kind, role = {RESEARCH: ("research", "researcher"), AUDIT: ("audit", "auditor")}[mspid]
        await self._processes.verb("register", "organisation", "--config", admin, "--name", mspid, "--kind", kind)
        certificate = self._network.pki(mspid).files(role).certificate
        await self._processes.verb("register", "identity", "--config", admin, "--role", role, "--certificate", certificate)

    async def _submit(self, document: bytes) -> str:
        path = self._network.folder / "task.toml"
        path.write_bytes(document)
        submitted = await self._processes.verb("task", "submit", "--config", self._network.researcher, "--document", path)
        self._view.say(f"task {submitted['task_id']} is submitted; {len(submitted['delivered'])} gateways have its document")
        return str(submitted["task_id"])

    async def _follow(self, task_id: str) -> Progress:
        """Show the task's progress until it is over; raise TaskIncomplete if nothing happens for long."""
        async with ledger_access(self._researcher) as (client, _):
            steps = watch(client, task_id)
            while True:
                try:
                    progress = await asyncio.wait_for(anext(steps), STALL_SECONDS)
                except TimeoutError as error:
                    logs = self._network.folder / "logs"
                    raise TaskIncomplete(f"nothing happened in task {task_id} for {STALL_SECONDS:.0f} s; the logs are in {logs}") from error
                self._view.show(progress)
                if progress.over:
                    return progress

    async def _mourn(self, task_id: str, task: TaskFile) -> None:
        """Say which gateway died; abort the task when too few are left even to agree that time has passed."""
        hospitals = len(self._gateways)
        needed = max(task.task.minimum_hospitals, -(-2 * hospitals // 3))
        waiting = {child.ended: child for child in self._gateways.values()}
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                self._view.say(waiting.pop(ended).obituary())
            if len(waiting) < needed:
                reason = f"{hospitals - len(waiting)} of {hospitals} gateways died; at least {needed} are needed"
                await self._processes.verb("task", "abort", "--config", self._network.researcher, "--task", task_id, "--reason", reason)
                return

    async def _collect(self, task_id: str, task: TaskFile, ledger: LedgerOutcome) -> Outcome:
        model = self._network.folder / MODEL_FILE
        await self._processes.verb("task", "model", "--config", self._network.researcher, "--task", task_id, "--out", model)
        async with access(self._researcher) as reached:
            outcome = await gather(reached, task_id)
        gateways = {mspid: load_gateway_config(self._network.gateway(mspid)).gateway for mspid in self._network.hospitals}
        exact = await asyncio.to_thread(baselines, task, gateways)
        outcome = replace(outcome, pooled_plain_auc=exact.pooled, local_auc=exact.local)
        return replace(outcome, ledger=replace(outcome.ledger, height=ledger.height, verified=ledger.verified))

    async def _verified_ledger(self) -> LedgerOutcome:
        blocks = self._network.folder / BLOCKS_FILE
        await self._processes.verb("audit", "export", "--config", self._network.auditor, "--out", blocks)
        report: dict[str, Any] = await self._processes.verb("audit", "verify", "--config", self._network.auditor)
        self._view.say(f"an auditor verified {report['height']} blocks with {report['transactions']} transactions")
        return LedgerOutcome("", int(report["height"]), str(report["last_hash"]), verified=True)

    async def _keep_running(self, report: Path) -> None:
        self._view.say(f"report: {report}")
        self._view.say(f"the ledger listens on {self._researcher.ledger.endpoint}")
        for mspid in self._gateways:
            self._view.say(f"the gateway of {mspid} listens on {self._endpoint(mspid)}")
        self._view.say("everything stays up until interrupted (Ctrl-C)")
        await self._ledger.ended

    @property
    def _researcher(self) -> ClientConfig | GatewayConfig:
        return load_client_config(self._network.researcher)

    def _endpoint(self, mspid: str) -> str:
        return load_gateway_config(self._network.gateway(mspid)).gateway.listen
