"""The way to the ledger: one or more gateway peers, the channel and chaincode meant, and who signs."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2_grpc
from fabric_protos.peer import events_pb2_grpc

from fabric.client.endorsers import Endorsers
from fabric.client.patience import Patience
from fabric.crypto import SigningIdentity

_log = logging.getLogger(__name__)

_LARGEST_MESSAGE = 100 * 1024 * 1024  # bytes; what a Fabric peer sends and takes by default, blocks included
_OPTIONS = (
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    ("grpc.max_send_message_length", _LARGEST_MESSAGE),
    # A peer closes connections that ping more often than once a minute; a cut cable is found within 90 seconds.
    ("grpc.keepalive_time_ms", 70_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # a minute unless told, which gRPC waits for before the timeout above counts
    # gRPC's own pause between connection attempts grows to two minutes, far longer than a peer takes to restart.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class Peer:
    """One gateway peer as this client knows it: how to call it, and the newest block it is known to have."""

    def __init__(self, endpoint: str, tls_ca: Callable[[], bytes]) -> None:
        self.endpoint = endpoint
        self.newest_block = -1
        self.answers = True
        """Whether it answered when it was called last."""
        self.left = asyncio.Event()
        """Set while the client is at another peer: a stream from this one then goes on there, too."""
        self._tls_ca = tls_ca
        self._trusted = b""
        self._transports: list[grpc.aio.Channel] = []
        self._stubs: tuple[Any, Any] | None = None

    @property
    def gateway(self) -> Any:
        """The stub of Fabric's Gateway service."""
        return self._connected()[0]

    @property
    def deliver(self) -> Any:
        """The stub of Fabric's Deliver service."""
        return self._connected()[1]

    def _connected(self) -> tuple[Any, Any]:
        trusted = self._tls_ca()
        if self._stubs is None or trusted != self._trusted:
            # The transport before is left to the calls and streams that run on it; gRPC disconnects it when it is idle.
            transport = grpc.aio.secure_channel(self.endpoint, grpc.ssl_channel_credentials(trusted), options=_OPTIONS)
            self._transports.append(transport)
            self._trusted = trusted
            self._stubs = gateway_pb2_grpc.GatewayStub(transport), events_pb2_grpc.DeliverStub(transport)
        return self._stubs

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()


class Connection:
    """What every stage needs. Stays with one peer for as long as it answers; all calls and streams move on together."""

    def __init__(
        self,
        endpoints: Sequence[str],
        tls_ca: Callable[[], bytes],
        channel: str,
        chaincode: str,
        identity: Callable[[], SigningIdentity],
        patience: Patience,
        *,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Prepare for the peers at `endpoints` ("host:port", tried in this order), whose TLS certificates `tls_ca` vouches for; no I/O yet.

        `tls_ca` and `identity` are asked for every call, so that renewed files are used without a restart. `time_ns` is the clock
        whose time calls carry.
        """
        self.channel = channel
        self.chaincode = chaincode
        self.patience = patience
        self.time_ns = time_ns
        self.newest_block = -1
        """The newest block that anything given to the caller stood in: no peer that lacks it may answer queries."""
        self.endorsers: Endorsers | None = None
        """Whom transactions ask to endorse them; None leaves that to the peer."""
        self._identity = identity
        self._peers = tuple(Peer(endpoint, tls_ca) for endpoint in endpoints)
        self._turn = 0

    @property
    def peer(self) -> Peer:
        """The peer to call now."""
        return self._peers[self._turn]

    @property
    def endpoint(self) -> str:
        return self.peer.endpoint

    @property
    def identity(self) -> SigningIdentity:
        """Who signs now. A call that names its signer and signs later must ask once only."""
        return self._identity()

    def peers_in_turn(self) -> tuple[Peer, ...]:
        """Every peer once, the one to call now first."""
        return (*self._peers[self._turn :], *self._peers[: self._turn])

    def saw(self, peer: Peer, block_number: int) -> None:
        """`peer` told of something that stands in this block, so it has the block; others may not."""
        peer.answers = True
        peer.newest_block = max(peer.newest_block, block_number)
        self.newest_block = max(self.newest_block, block_number)

    def leave(self, peer: Peer, why: str) -> None:
        """Go on at the next peer, unless another call has already left `peer` or there is none."""
        if peer is not self.peer or len(self._peers) == 1:
            return
        self._turn = (self._turn + 1) % len(self._peers)
        self.peer.left.clear()
        peer.left.set()
        # While all are down the client goes round and round; that each of them is down is said once.
        _log.log(logging.WARNING if peer.answers else logging.DEBUG, "going on at %s instead of %s: %s", self.endpoint, peer.endpoint, why)
        peer.answers = False

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()
