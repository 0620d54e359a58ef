"""One connection to a peer: its services, the channel and chaincode meant, and who signs."""

from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2_grpc
from fabric_protos.peer import events_pb2_grpc

from fabric.client.patience import Patience
from fabric.crypto import SigningIdentity

_LARGEST_MESSAGE = 100 * 1024 * 1024  # bytes; what a Fabric peer sends and takes by default, blocks included
_OPTIONS = (
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    ("grpc.max_send_message_length", _LARGEST_MESSAGE),
    # A peer closes connections that ping more often than once a minute; a cut cable is found within 90 seconds.
    ("grpc.keepalive_time_ms", 70_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # gRPC's own pause between connection attempts grows to two minutes, far longer than a peer takes to restart.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@dataclass(frozen=True)
class Connection:
    """What every stage needs; `gateway` and `deliver` are the peer's gRPC stubs."""

    endpoint: str
    channel: str
    chaincode: str
    identity: SigningIdentity
    patience: Patience
    transport: grpc.aio.Channel
    gateway: Any
    deliver: Any

    @classmethod
    def open(
        cls, endpoint: str, tls_ca: bytes, channel: str, chaincode: str, identity: SigningIdentity, patience: Patience
    ) -> "Connection":
        """Prepare the connection to `endpoint` ("host:port"), trusting TLS certificates of `tls_ca` (PEM) only; no I/O yet."""
        transport = grpc.aio.secure_channel(endpoint, grpc.ssl_channel_credentials(tls_ca), options=_OPTIONS)
        return cls(
            endpoint,
            channel,
            chaincode,
            identity,
            patience,
            transport,
            gateway_pb2_grpc.GatewayStub(transport),
            events_pb2_grpc.DeliverStub(transport),
        )
