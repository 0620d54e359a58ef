"""What every step of a task needs of its gateway: configuration, ledger, state, the others."""

from dataclasses import dataclass
from pathlib import Path

from fabric.client.gateway import Gateway
from fabric.crypto import SigningIdentity
from fabric.ledger import Ledger
from gateway.aggregator.blobs import BlobStore
from gateway.config import GatewayConfig, Misbehaviour
from gateway.hospital.hub import Hub
from gateway.hospital.metrics import Metrics
from gateway.hospital.state import StateStore
from gateway.rpc import Peers


@dataclass(frozen=True)
class GatewayContext:
    """One gateway's parts, made once when it starts."""

    config: GatewayConfig
    identity: SigningIdentity
    client: Gateway
    ledger: Ledger
    state: StateStore
    blobs: BlobStore
    hub: Hub
    peers: Peers
    metrics: Metrics

    @property
    def mspid(self) -> str:
        return self.config.identity.mspid

    @property
    def misbehaviour(self) -> Misbehaviour | None:
        return None if self.config.misbehave is None else self.config.misbehave.kind

    def quarantine(self, task_id: str) -> Path:
        """Where lines of the hospital's data that cannot be used are listed for its staff."""
        return self.config.gateway.state / "quarantine" / f"{task_id}.ndjson"
