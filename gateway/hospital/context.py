"""What every step of a task needs of its gateway: configuration, ledger, state, the others."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fabric.client.gateway import Gateway
from fabric.crypto import SigningIdentity
from fabric.ledger import Ledger
from gateway.aggregator.blobs import BlobStore
from gateway.config import GatewayConfig, Misbehaviour
from gateway.hospital.hub import Hub
from gateway.hospital.metrics import Metrics
from gateway.hospital.recorder import Recorder
from gateway.hospital.state import StateStore
from gateway.hospital.task_data import TaskData
from gateway.rpc import Peers


@dataclass(frozen=True)
class GatewayContext:
    """One gateway's parts, made once when it starts."""

    config: GatewayConfig
    client: Gateway
    ledger: Ledger
    state: StateStore
    blobs: BlobStore
    hub: Hub
    peers: Peers
    metrics: Metrics
    data: TaskData
    records: Recorder
    now: Callable[[], datetime]
    """The hospital's own clock in UTC, by which permits and consents end: the ledger has none."""

    @property
    def mspid(self) -> str:
        return self.config.identity.mspid

    @property
    def identity(self) -> SigningIdentity:
        """Who signs now; ask once for a signature and the certificate that goes with it, for they are renewed together."""
        return self.client.identity

    @property
    def misbehaviour(self) -> Misbehaviour | None:
        return None if self.config.misbehave is None else self.config.misbehave.kind

    def quarantine(self, task_id: str) -> Path:
        """Where lines of the hospital's data that cannot be used are listed for its staff."""
        return self.config.gateway.state / "quarantine" / f"{task_id}.ndjson"
