"""Fabric's services called message by message, so that a test can send what no honest client sends."""

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2_grpc

from fabric import rpc_status
from fabric.client.proposal import Proposal, build
from fabric.crypto import SigningIdentity


class Place(Protocol):
    """Where a ledger listens, whom it trusts, and what is called on it."""

    @property
    def endpoint(self) -> str: ...

    @property
    def tls_ca(self) -> bytes: ...

    @property
    def channel(self) -> str: ...

    @property
    def chaincode(self) -> str: ...


@dataclass(frozen=True)
class RawClient:
    """One identity's stubs; `gateway` and `deliver` are the generated ones."""

    network: Place
    identity: SigningIdentity
    gateway: Any
    deliver: Any

    def proposal(
        self, *args: bytes, channel: str | None = None, chaincode: str | None = None, identity: SigningIdentity | None = None
    ) -> Proposal:
        return build(
            identity or self.identity,
            channel or self.network.channel,
            chaincode or self.network.chaincode,
            args,
            {},
            nonce=os.urandom(24),
            time_ns=time.time_ns(),
        )

    async def evaluate(self, proposal: Proposal) -> bytes:
        response = await self.gateway.Evaluate(
            gateway_pb2.EvaluateRequest(
                transaction_id=proposal.tx_id, channel_id=self.network.channel, proposed_transaction=proposal.signed
            )
        )
        result: bytes = response.result.payload
        return result

    async def endorse(self, proposal: Proposal, *, organisations: Sequence[str] = ()) -> bytes:
        """The prepared transaction's payload bytes, not yet signed."""
        response = await self.gateway.Endorse(
            gateway_pb2.EndorseRequest(
                transaction_id=proposal.tx_id,
                channel_id=self.network.channel,
                proposed_transaction=proposal.signed,
                endorsing_organizations=organisations,
            )
        )
        payload: bytes = response.prepared_transaction.payload
        return payload

    def envelope(self, payload: bytes) -> Any:
        return common_pb2.Envelope(payload=payload, signature=self.identity.sign(payload))

    async def send(self, tx_id: str, envelope: Any) -> None:
        await self.gateway.Submit(
            gateway_pb2.SubmitRequest(transaction_id=tx_id, channel_id=self.network.channel, prepared_transaction=envelope)
        )

    async def status(self, tx_id: str, *, timeout_s: float = 20) -> tuple[int, int]:
        """Validation code and block number."""
        request = gateway_pb2.CommitStatusRequest(
            transaction_id=tx_id, channel_id=self.network.channel, identity=self.identity.serialized
        ).SerializeToString()
        signed = gateway_pb2.SignedCommitStatusRequest(request=request, signature=self.identity.sign(request))
        response = await self.gateway.CommitStatus(signed, timeout=timeout_s)
        return response.result, response.block_number

    async def submit(self, *args: bytes) -> tuple[str, int, int]:
        """Endorse, sign, submit, wait: transaction id, validation code and block number."""
        proposal = self.proposal(*args)
        await self.send(proposal.tx_id, self.envelope(await self.endorse(proposal)))
        return (proposal.tx_id, *await self.status(proposal.tx_id))

    def seek(self, start: Any, stop: Any, *, behavior: int = 0, time_ns: int | None = None, channel: str | None = None) -> Any:
        """A signed Deliver request; positions are `ab.SeekPosition`."""
        header = common_pb2.ChannelHeader(type=common_pb2.DELIVER_SEEK_INFO, channel_id=channel or self.network.channel)
        header.timestamp.FromNanoseconds(time_ns or time.time_ns())
        payload = common_pb2.Payload(
            header=common_pb2.Header(
                channel_header=header.SerializeToString(),
                signature_header=common_pb2.SignatureHeader(creator=self.identity.serialized).SerializeToString(),
            ),
            data=ab_pb2.SeekInfo(start=start, stop=stop, behavior=behavior).SerializeToString(),
        )
        return self.envelope(payload.SerializeToString())


@asynccontextmanager
async def raw_client(network: Place, identity: SigningIdentity) -> AsyncIterator[RawClient]:
    async with grpc.aio.secure_channel(network.endpoint, grpc.ssl_channel_credentials(network.tls_ca)) as channel:
        yield RawClient(network, identity, gateway_pb2_grpc.GatewayStub(channel), events_pb2_grpc.DeliverStub(channel))


def details(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    """MSP id and message of each ErrorDetail."""
    trailers = dict(error.trailing_metadata() or ())
    return [(detail.msp_id, detail.message) for detail in rpc_status.error_details(trailers.get(rpc_status.METADATA_KEY, b""))]


def position(number: int) -> Any:
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=number))


OLDEST = ab_pb2.SeekPosition(oldest=ab_pb2.SeekOldest())
NEWEST = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
