"""Handing blobs to, and getting them from, whichever gateway the ledger elected as hub."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from consortium.v1 import exchange_pb2_grpc

from gateway.aggregator.blobs import BlobStore, Name
from gateway.errors import ProductError, Unavailable
from gateway.rpc import Peers
from gateway.transfer import fetch, upload

TRANSFER_TIMEOUT_SECONDS = 120.0
LOOK_TIMEOUT_SECONDS = 5.0
"""For what is there or not: whoever asks, asks again."""


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

    async def push_to_all(self, endpoints: Mapping[str, str], name: Name, data: bytes) -> None:
        """Give a blob of ours to everybody who accepts connections, so that none of them can withhold it; our own store keeps it as well.

        Raises Unavailable if nobody took it and nobody can fetch it from us.
        """
        await self._store.put_own(name, data)
        hubs = [hub for hub in endpoints if hub != self._peers.mspid]
        outcomes = await asyncio.gather(*(self.push(hub, endpoints, name, data) for hub in hubs), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if hubs and len(failures) == len(hubs) and self._peers.mspid not in endpoints:
            raise Unavailable(f"no gateway takes our {name.owner} blob: {failures[0]}") from failures[0]

    async def pull_from_any(
        self, endpoints: Mapping[str, str], name: Name, *, accept: Callable[[bytes], bytes | None], limit_bytes: int
    ) -> bytes:
        """What `accept` makes of the first blob of this name that it does not turn down, from our own store or whoever has it now.

        Raises Unavailable if nobody that answers has one.
        """
        for hub in [self._peers.mspid, *sorted(hub for hub in endpoints if hub != self._peers.mspid)]:
            with suppress(ProductError, TimeoutError):
                data = await self.pull(hub, endpoints, name, limit_bytes=limit_bytes, timeout_seconds=LOOK_TIMEOUT_SECONDS)
                if (accepted := accept(data)) is not None:
                    return accepted
        raise Unavailable(f"no gateway that answers has what {name.owner} was to bring for round {name.round}")

    def _stub(self, hub: str, endpoints: Mapping[str, str]) -> exchange_pb2_grpc.ExchangeServiceStub:
        return exchange_pb2_grpc.ExchangeServiceStub(self._peers.channel(hub, endpoints.get(hub, "")))
