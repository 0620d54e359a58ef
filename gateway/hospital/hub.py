"""Handing blobs to, and getting them from, whichever gateway the ledger elected as hub."""

from collections.abc import Mapping

from consortium.v1 import exchange_pb2_grpc

from gateway.aggregator.blobs import BlobStore, Name
from gateway.rpc import Peers
from gateway.transfer import fetch, upload

TRANSFER_TIMEOUT_SECONDS = 120.0


class Hub:
    """The exchange seen from one gateway: a call over mTLS, or its own store where it is the hub itself."""

    def __init__(self, own_store: BlobStore, peers: Peers) -> None:
        self._store = own_store
        self._peers = peers

    async def push(self, hub: str, endpoints: Mapping[str, str], name: Name, data: bytes) -> None:
        """Give the hub a blob of ours; raise Unavailable if it does not take it."""
        if hub == self._peers.mspid:
            await self._store.put_own(name, data)
            return
        await upload(self._stub(hub, endpoints), name, data, timeout_seconds=TRANSFER_TIMEOUT_SECONDS, whom=f"the gateway of {hub}")

    async def pull(
        self, hub: str, endpoints: Mapping[str, str], name: Name, *, limit_bytes: int, timeout_seconds: float = TRANSFER_TIMEOUT_SECONDS
    ) -> bytes:
        """Get a blob from the hub, waiting for its owner to bring it; raise Unavailable or TimeoutError otherwise.

        The caller checks the bytes against the ledger: the hub is not trusted with them.
        """
        if hub == self._peers.mspid:
            return await self._store.wait(name, timeout_seconds=timeout_seconds)
        stub = self._stub(hub, endpoints)
        return await fetch(stub, name, limit_bytes=limit_bytes, timeout_seconds=timeout_seconds, whom=f"the gateway of {hub}")

    def _stub(self, hub: str, endpoints: Mapping[str, str]) -> exchange_pb2_grpc.ExchangeServiceStub:
        return exchange_pb2_grpc.ExchangeServiceStub(self._peers.channel(hub, endpoints.get(hub, "")))
