"""A consortium in one process: an embedded ledger and real gateways over mTLS, each of which a test can stop, kill and start again.

async with consortium(tmp_path, hospitals=4) as together:
    task_id = await together.submit(rounds=2)
    end = await together.until_over(task_id)
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from consortium.v1 import gateway_pb2, gateway_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fabric.client.gateway import Gateway
from fabric.contract.release import RELEASE, Release
from fabric.crypto import fingerprint, load_certificate
from fabric.devledger.config import load
from fabric.devledger.server import Contract, DevLedger, start
from fabric.ledger import Ledger
from fabric.ledger_views import SettlementView, TaskView
from gateway.config import GatewayConfig, Misbehaviour, load_client_config, load_gateway_config
from gateway.connect import Access, access, open_ledger
from gateway.demo.hospitals import RESEARCH, DemoHospital
from gateway.demo.network import DemoNetwork, create_network
from gateway.fhir.samples import write_breast_cancer
from gateway.hospital import serve
from gateway.network.description import load as load_fabric
from gateway.network.home import open_home
from gateway.network.status import down
from gateway.network.up import up
from gateway.researcher.submit import submit_task
from privacy import ckks, training
from tests.support.ledger import free_port

serve.STOP_SECONDS = 0.0  # a test that stops a gateway does not wait for the calls it serves

ROUNDS_LIMIT_SECONDS = 120
TASK = """
[task]
title = "Ill or not"
purpose = "testing"
{permit}
reward_tokens = 60
minimum_hospitals = {minimum_hospitals}
group_size = 3
rounds = {rounds}
heartbeat_limit = {heartbeat_limit}

[[views]]
name = "patient"
resource = "Patient"
select = [{{ column = [{{ name = "patient", path = "getResourceKey()" }}] }}]

[[views]]
name = "measurement"
resource = "Observation"
select = [{{ column = [
    {{ name = "patient", path = "subject.getReferenceKey(Patient)" }},
    {{ name = "code", path = "code.coding.first().code" }},
    {{ name = "value", path = "value.ofType(Quantity).value", type = "decimal" }},
] }}]

[[views]]
name = "diagnosis"
resource = "Condition"
select = [{{ column = [{{ name = "patient", path = "subject.getReferenceKey(Patient)" }}] }}]

[cohort]
view = "patient"
minimum_patients = 10

{features}
[label]
name = "ill"
view = "diagnosis"

[model]
kind = "logistic_regression"
intercepts = {intercepts}

{normalisation}
[training]
sampling_rate = 1.0
learning_rate = 2.0

[privacy]
epsilon = {epsilon}
delta = 1e-3
clip = 1.0
score_epsilon = {epsilon}
"""


FEATURE = """
[[features]]
name = "f{number}"
view = "measurement"
column = "value"
where = {{ code = "f{number}" }}
low = -3
high = 3
outside = "clamp"
"""


# Heartbeats (of half a second) until the silent are done without: more than any machine needs for a step, or as few as a test of
# silence can wait for.
PATIENT, IMPATIENT = 60, 8


def task_document(
    *,
    rounds: int = 2,
    minimum_hospitals: int = 3,
    epsilon: float = 8,
    features: int = 2,
    heartbeat_limit: int = PATIENT,
    normalisation: bool = False,
    intercepts: tuple[str, ...] = (),
    permit: str = "",
) -> bytes:
    described = "".join(FEATURE.format(number=number) for number in range(features))
    settings = {"rounds": rounds, "minimum_hospitals": minimum_hospitals, "epsilon": epsilon, "heartbeat_limit": heartbeat_limit}
    chosen = {"normalisation": "[normalisation]\n" if normalisation else "", "intercepts": json.dumps(intercepts), "permit": permit}
    return TASK.format(features=described, **settings, **chosen).encode()


def write_patients(folder: Path, *, patients: int, features: int, seed: int) -> Path:
    """A hospital's FHIR folder: patients who are ill where f0 + f1 > 0, mostly. Made up; the same for the same seed."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(patients, features))
    ill = values[:, :2].sum(axis=1) + rng.normal(scale=0.5, size=patients) > 0
    folder.mkdir(parents=True)
    resources: dict[str, list[dict[str, object]]] = {"Patient": [], "Observation": [], "Condition": []}
    for row in range(patients):
        key = f"h{seed}-p{row}"
        subject = {"reference": f"Patient/{key}"}
        resources["Patient"].append({"resourceType": "Patient", "id": key})
        for number, value in enumerate(values[row]):
            code = f"f{number}"
            quantity = {"value": round(float(value), 4), "system": "http://unitsofmeasure.org", "code": "1"}
            resources["Observation"].append(
                {
                    "resourceType": "Observation",
                    "id": f"{key}-{code}",
                    "status": "final",
                    "subject": subject,
                    "code": {"coding": [{"system": "urn:test", "code": code}]},
                    "valueQuantity": quantity,
                }
            )
        if ill[row]:
            resources["Condition"].append({"resourceType": "Condition", "id": f"{key}-ill", "subject": subject})
    for kind, entries in resources.items():
        (folder / f"{kind}.ndjson").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


@dataclass
class RunningGateway:
    config: GatewayConfig
    stop: asyncio.Event
    job: asyncio.Task[None]


@dataclass
class TogetherConsortium:
    """What a test sees of the consortium; hospitals are named by their MSP ids."""

    network: DemoNetwork
    ledger: DevLedger | None  # None: a real Fabric network
    researcher: Access
    gateways: dict[str, RunningGateway] = field(default_factory=dict)
    now: Callable[[], datetime] = serve.utc_now
    """All gateways' clock; a test may set it on."""

    @property
    def mspids(self) -> tuple[str, ...]:
        return self.network.hospitals

    async def upgrade(self, contract: Contract, release: Release) -> None:
        """Stop the embedded ledger and start it with another version of the contract, as an operator would."""
        assert self.ledger is not None
        await self.ledger.stop()
        self.ledger = await start(load(self.network.ledger_config), contract=contract, rules=release.rules)

    async def start(self, mspid: str, *, release: Release = RELEASE) -> None:
        """Start a gateway, written for this version of the contract, and wait until it serves."""
        config = load_gateway_config(self.network.gateway(mspid))
        stop = asyncio.Event()
        job = asyncio.create_task(serve.run_gateway(config, stop, release=release, now=lambda: self.now()))
        self.gateways[mspid] = RunningGateway(config, stop, job)
        health = health_pb2_grpc.HealthStub(self.researcher.peers.channel(mspid, config.gateway.listen))
        while True:
            answer = await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            await asyncio.sleep(0.05)

    async def stop(self, mspid: str) -> None:
        """End a gateway as SIGTERM does."""
        running = self.gateways.pop(mspid)
        running.stop.set()
        await running.job

    async def kill(self, mspid: str) -> None:
        """End a gateway wherever it is, with no chance to finish anything."""
        running = self.gateways.pop(mspid)
        running.job.cancel()
        with suppress(asyncio.CancelledError, ExceptionGroup):
            await running.job

    async def submit(self, document: bytes, *, task_id: str = "task-1") -> str:
        return (await submit_task(self.researcher, document, task_id=task_id, source="test")).task_id

    async def until(self, task_id: str, *, phase: str, round_number: int = 0) -> TaskView:
        """Wait until the task is in `phase` (of the task or of its round), at least in this round, or over."""
        async with asyncio.timeout(ROUNDS_LIMIT_SECONDS):
            async for event in self.researcher.client.chaincode_events(start_block=0):
                content = json.loads(event.payload)
                if content.get("task_id") != task_id or event.name not in ("phase", "settled", "task_abandoned", "task_aborted"):
                    continue
                view = await self.researcher.ledger.task(task_id)
                reached = content.get("phase", event.name) == phase and content.get("round", 0) >= round_number
                if view.over or reached:
                    return view
        raise AssertionError("the ledger's events ended")

    async def until_over(self, task_id: str) -> TaskView:
        return await self.until(task_id, phase="over")

    async def evaluation(self, mspid: str, task_id: str) -> dict[str, Any]:
        """What the hospital released of a finished task, as soon as it has."""
        stub = gateway_pb2_grpc.GatewayServiceStub(self.researcher.peers.channel(mspid, self.gateways[mspid].config.gateway.listen))
        async with asyncio.timeout(ROUNDS_LIMIT_SECONDS):
            while True:
                try:
                    answer = await stub.GetEvaluation(gateway_pb2.GetEvaluationRequest(task_id=task_id))
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error
                    await asyncio.sleep(0.1)
                else:
                    return dict(json.loads(answer.evaluation_json))

    async def settlements(self, task: TaskView) -> list[SettlementView]:
        return [await self.researcher.ledger.settlement(task.terms.task_id, number) for number in range(1, task.round + 1)]


@asynccontextmanager
async def consortium(
    folder: Path,
    *,
    hospitals: int = 3,
    patients: int = 60,
    features: int = 2,
    sample_data: bool = False,
    misbehave: Mapping[int, Misbehaviour] | None = None,
    unreachable: tuple[int, ...] = (),
    metrics: bool = False,
    fabric_home: Path | None = None,
) -> AsyncIterator[TogetherConsortium]:
    """A registered consortium whose gateways run. Hospitals are numbered from 1; `unreachable` ones advertise no address.

    With `fabric_home` its ledger is a real Fabric network, described in `network.fabric`.
    """
    cheats = misbehave or {}
    if sample_data:
        folders = write_breast_cancer(folder / "data", hospitals=hospitals)
    else:
        folders = tuple(
            write_patients(folder / "data" / f"hospital-{n:02d}", patients=patients, features=features, seed=n)
            for n in range(1, hospitals + 1)
        )
    found = [DemoHospital(data.name, data, cheats.get(number)) for number, data in enumerate(folders, start=1)]
    network = create_network(folder / "network", found, on_fabric=fabric_home is not None)
    for number, mspid in enumerate(network.hospitals, start=1):
        _adapt(network.gateway(mspid), reachable=number not in unreachable, metrics=metrics, seconds=0.5 if fabric_home is None else 5.0)
    await asyncio.to_thread(_warm_up)
    async with _running(network, fabric_home) as ledger, access(load_client_config(network.researcher)) as researcher:
        together = TogetherConsortium(network, ledger, researcher)
        try:
            await asyncio.gather(*(_register(network, mspid) for mspid in (*network.hospitals, RESEARCH)))
            await asyncio.gather(*(together.start(mspid) for mspid in network.hospitals))
            yield together
        finally:
            for mspid in tuple(together.gateways):
                await together.stop(mspid)
            if together.ledger is not None:
                await together.ledger.stop()


@asynccontextmanager
async def _running(network: DemoNetwork, fabric_home: Path | None) -> AsyncIterator[DevLedger | None]:
    """The ledger; the embedded one is stopped by `consortium`, since an upgrade puts another in its place."""
    if fabric_home is None:
        yield await start(load(network.ledger_config))
        return
    try:
        await asyncio.to_thread(up, load_fabric(network.fabric), open_home(fabric_home), print)
        yield None
    finally:
        await asyncio.to_thread(down, load_fabric(network.fabric))


@cache
def _warm_up() -> None:
    """Import and compile what training needs once, before heartbeats count the time that takes as silence."""
    ckks.warm_up()
    training.warm_up()


def _adapt(config: Path, *, reachable: bool, metrics: bool, seconds: float) -> None:
    """Heartbeats so fast that a test does not wait for the silent, and no address told to others where a test wants that."""
    text = config.read_text()
    monitored = f'\nmetrics = "127.0.0.1:{free_port()}"' if metrics else ""
    text, changed = re.subn(r"heartbeat_seconds = .*", f"heartbeat_seconds = {seconds}{monitored}", text)
    assert changed
    config.write_text(text if reachable else re.sub(r"advertise = .*", 'advertise = ""', text))


async def _register(network: DemoNetwork, mspid: str) -> None:
    kind, role, name = ("research", "researcher", "researcher") if mspid == RESEARCH else ("hospital", "gateway", "gateway")
    async with _ledger(network.admin(mspid)) as admin:
        await admin.register_organisation(name=mspid, kind=kind)
        certificate = load_certificate(network.pki(mspid).files(name).certificate.read_bytes())
        endpoint = load_gateway_config(network.gateway(mspid)).gateway.advertise if kind == "hospital" else ""
        await admin.register_identity(role=role, fingerprint=fingerprint(certificate), endpoint=endpoint)
        if kind == "hospital":
            budget = load_gateway_config(network.gateway(mspid)).budget
            await admin.register_dataset(dataset=budget.dataset, epsilon_micro=budget.epsilon_micro, delta_inverse=budget.delta_inverse)


@asynccontextmanager
async def _ledger(config: Path) -> AsyncIterator[Ledger]:
    client: Gateway = open_ledger(load_client_config(config))
    try:
        yield Ledger(client)
    finally:
        await client.close()
