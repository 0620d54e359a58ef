"""A real network and an embedded ledger with the same certificates, given the same bytes: whatever one does otherwise shows.

The very same signed proposals go to both, so the transactions have the same ids. Blocks are cut by chance on the real network and then
the same way on the embedded ledger. Versions of keys are compared by the transaction that wrote them.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.blocks import transaction_codes
from fabric.channel import ChannelConfig
from fabric.client.events import ChaincodeEvent
from fabric.client.gateway import Gateway
from fabric.client.proposal import Proposal, build
from fabric.crypto import SigningIdentity
from fabric.devledger.admission import Admission
from fabric.devledger.config import LedgerConfig, LedgerSection, OrdererSection
from fabric.devledger.own_transactions import OwnTransactions
from fabric.devledger.server import DevLedger, start
from fabric.mvcc import summarise
from fabric.rwset import NamespaceRwset, RangeQuery, Read, Version
from fabric.transactions import EndorserTransaction, Event, parse_envelope
from fabric.verify import verify_blocks
from gateway.network.description import CHANNEL
from tests.support import probe_contract
from tests.support.fabric_network import MSPIDS, PROBE, FabricNetwork, Place
from tests.support.ledger import free_port, sections
from tests.support.raw_client import RawClient, details, raw_client

FIRST = MSPIDS[0]
_COMMIT_SECONDS = 120  # on a machine that is busy


@dataclass(frozen=True)
class Call:
    """A call by `caller`, to be endorsed by the peers of `endorsers` (none: of whom it takes) and handed in `times` times."""

    function: str
    args: tuple[bytes, ...]
    caller: str = FIRST
    endorsers: tuple[str, ...] = MSPIDS
    transient: Mapping[str, bytes] = field(default_factory=dict)
    times: int = 1


@dataclass(frozen=True)
class Failed:
    """How a call failed: status code, message, and what the peers behind it said."""

    code: str
    message: str
    said: frozenset[str]

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> "Failed":
        return cls(error.code().name, error.details() or "", frozenset(message for _, message in details(error)))


@dataclass(frozen=True)
class Endorsed:
    """What a call answered and would do; `payload` is what its caller signs."""

    result: bytes
    rwset: NamespaceRwset
    event: Event | None
    payload: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, payload: bytes) -> "Endorsed":
        transaction = parse_envelope(common_pb2.Envelope(payload=payload, signature=b"-").SerializeToString())
        assert isinstance(transaction, EndorserTransaction)
        # A real peer also notes there, outside of the contract's name space, which definition of the contract it ran.
        own = next((rwset for rwset in transaction.rwsets if rwset.namespace == PROBE), NamespaceRwset(PROBE))
        return cls(transaction.response.payload, own, transaction.event, payload)


@dataclass(frozen=True)
class Verdict:
    """A transaction as it stands in a block."""

    tx_id: str
    code: str


Block = tuple[Verdict, ...]


class Ledger:
    """One of the two, as its clients see it, and who wrote which version on it."""

    def __init__(self, raw: RawClient, gateway: Gateway) -> None:
        self.raw, self.gateway = raw, gateway
        self.height = 0
        self.versions: dict[str, Version] = {}
        """By transaction id: as what its writes are versioned."""

    async def evaluate(self, proposal: Proposal) -> bytes | Failed:
        try:
            return await self.raw.evaluate(proposal)
        except grpc.aio.AioRpcError as error:
            return Failed.of(error)

    async def endorse(self, proposal: Proposal, endorsers: Sequence[str]) -> Endorsed | Failed:
        try:
            return Endorsed.of(await self.raw.endorse(proposal, organisations=endorsers))
        except grpc.aio.AioRpcError as error:
            return Failed.of(error)

    async def catch_up(self) -> None:
        """From now on only what comes is of interest."""
        self.height = await self.gateway.height()

    async def new_blocks(self, transactions: int) -> tuple[list[Block], list[ChaincodeEvent]]:
        """The blocks that hold the next so many transactions, and the events of those."""
        blocks: list[Block] = []
        announced, first = 0, self.height
        async for block in self.gateway.blocks(start=first, stop=None):
            parsed = [parse_envelope(data) for data in block.data.data]
            verdicts = tuple(
                Verdict(one.tx_id, transaction_pb2.TxValidationCode.Name(code))
                for one, code in zip(parsed, transaction_codes(block), strict=True)
            )
            blocks.append(verdicts)
            for position, (one, verdict) in enumerate(zip(parsed, verdicts, strict=True)):
                if verdict.code == "VALID":
                    self.versions[one.tx_id] = Version(block.header.number, position)
                    announced += isinstance(one, EndorserTransaction) and one.event is not None
            self.height = block.header.number + 1
            if sum(map(len, blocks)) >= transactions:
                break
        listening = self.gateway.chaincode_events(start_block=first)
        events = [await anext(listening) for _ in range(announced)]
        await listening.aclose()
        return blocks, events


class Twins:
    """Both ledgers."""

    def __init__(self, real: Ledger, peers: Sequence[RawClient], embedded: Ledger, server: DevLedger, admission: Admission) -> None:
        self._real, self._peers, self._embedded, self._server, self._admission = real, peers, embedded, server, admission
        self._identities: dict[str, SigningIdentity] = {peer.identity.mspid: peer.identity for peer in peers}

    async def evaluate(self, call: Call) -> bytes | Failed:
        """Ask both; they say the same."""
        proposal = self._proposal(call)
        real, embedded = await self._real.evaluate(proposal), await self._embedded.evaluate(proposal)
        _same(call, real, embedded)
        return real

    async def commit(self, calls: Sequence[Call]) -> list[str]:
        """Have all calls endorsed on the same state, then hand them in, in this order, which one orderer keeps; several may not.

        Both ledgers do the same with each. Returns what became of those that were endorsed, as often as they were handed in, in the order
        of the blocks: the names of the validation codes.
        """
        await asyncio.gather(self._real.catch_up(), self._embedded.catch_up())
        real: list[tuple[str, Any]] = []
        embedded: dict[str, bytes] = {}
        for call in calls:
            proposal = self._proposal(call)
            theirs = await self._real.endorse(proposal, call.endorsers)
            ours = self._translated(await self._embedded.endorse(proposal, call.endorsers), theirs)
            _same(call, theirs, ours)
            if isinstance(theirs, Endorsed) and isinstance(ours, Endorsed):
                envelope = common_pb2.Envelope(payload=theirs.payload, signature=proposal.signer.sign(theirs.payload))
                real += [(proposal.tx_id, envelope)] * call.times
                embedded[proposal.tx_id] = ours.payload
        return await self._hand_in(real, embedded) if real else []

    async def _hand_in(self, real: Sequence[tuple[str, Any]], embedded: Mapping[str, bytes]) -> list[str]:
        for tx_id, envelope in real:
            await self._real.raw.send(tx_id, envelope)
        await asyncio.gather(*(peer.status(tx_id, timeout_s=_COMMIT_SECONDS) for peer in self._peers for tx_id, _ in real))
        blocks, events = await self._real.new_blocks(len(real))
        for block in blocks:
            submissions = [self._admission.accept(embedded[one.tx_id], self._signature(embedded[one.tx_id])) for one in block]
            await asyncio.gather(*(self._server._ledger.submit(submission) for submission in submissions))  # together: one block
        ours, our_events = await self._embedded.new_blocks(len(real))
        assert blocks == ours
        said, ours_said = ([(event.name, event.payload, event.tx_id) for event in heard] for heard in (events, our_events))
        assert said == ours_said
        return [verdict.code for block in blocks for verdict in block]

    async def verify(self) -> None:
        """A verifier finds on both chains the codes that stand there."""
        for each in (self._real.gateway, self._embedded.gateway):
            blocks = [block async for block in each.blocks(start=0, stop=await each.height() - 1)]
            assert verify_blocks(blocks).height == len(blocks)

    def _proposal(self, call: Call) -> Proposal:
        signer, words = self._identities[call.caller], [call.function.encode(), *call.args]
        return build(signer, CHANNEL, PROBE, words, call.transient, nonce=secrets.token_bytes(24), time_ns=time.time_ns())

    def _signature(self, payload: bytes) -> bytes:
        transaction = parse_envelope(common_pb2.Envelope(payload=payload, signature=b"-").SerializeToString())
        (signer,) = [identity for identity in self._identities.values() if identity.serialized == transaction.creator]
        return signer.sign(payload)

    def _translated(self, ours: Endorsed | Failed, theirs: Endorsed | Failed) -> Endorsed | Failed:
        """The embedded ledger's outcome with the versions of the real one, and long ranges summarised as there."""
        if isinstance(ours, Failed) or isinstance(theirs, Failed):
            return ours
        summarised = {(query.start, query.end): query.summary.max_degree for query in theirs.rwset.range_queries if query.summary}
        queries = tuple(self._query(query, summarised.get((query.start, query.end))) for query in ours.rwset.range_queries)
        reads = tuple(map(self._read, ours.rwset.reads))
        return replace(ours, rwset=replace(ours.rwset, reads=reads, range_queries=queries))

    def _query(self, query: RangeQuery, max_degree: int | None) -> RangeQuery:
        """A peer records a hash tree of many reads; the embedded ledger lists them all."""
        reads = tuple(map(self._read, query.reads))
        if max_degree is None:
            return replace(query, reads=reads)
        versions = [(read.key, read.version) for read in reads if read.version is not None]
        return replace(query, reads=(), summary=summarise(versions, max_degree))

    def _read(self, read: Read) -> Read:
        if read.version is None:
            return read
        (writer,) = [tx_id for tx_id, version in self._embedded.versions.items() if version == read.version]
        return Read(read.key, self._real.versions[writer])


def _same(call: Call, real: object, embedded: object) -> None:
    assert _plain(real) == _plain(embedded), f"{call}\nreal: {real}\nembedded: {embedded}"


def _plain(outcome: object) -> object:
    """Each ledger names the log in which a failure of the contract is found; it is not the same one."""
    if not isinstance(outcome, Failed):
        return outcome
    internal = "INTERNAL: the contract failed on this call"
    message, *said = (text.partition(internal)[0] + internal if internal in text else text for text in (outcome.message, *outcome.said))
    return Failed(outcome.code, message, frozenset(said))


@asynccontextmanager
async def twins(network: FabricNetwork, folder: Path) -> AsyncIterator[Twins]:
    """The network, and an embedded ledger of its organisations in `folder`, which runs in this process."""
    config = _config(network, folder)
    server = await start(config, contract=probe_contract.invoke)
    try:
        async with _clients(network, config) as (real, peers, embedded):
            yield Twins(real, peers, embedded, server, await _admission(embedded.gateway))
    finally:
        await server.stop()


async def _admission(gateway: Gateway) -> Admission:
    """The embedded ledger's door, passed by so that transactions come into one block."""
    first = await anext(aiter(gateway.blocks(start=0, stop=0)))
    return Admission(ChannelConfig.parse(first.data.data[0]), PROBE, lambda: datetime.now(UTC), OwnTransactions())


@asynccontextmanager
async def _clients(network: FabricNetwork, config: LedgerConfig) -> AsyncIterator[tuple[Ledger, list[RawClient], Ledger]]:
    identities = {mspid: network.identity(mspid) for mspid in MSPIDS}
    places = {mspid: network.place(mspid) for mspid in MSPIDS}
    here = Place(config.ledger.listen, places[FIRST].tls_ca)
    gateways = [Gateway.connect(at.endpoint, at.tls_ca, CHANNEL, PROBE, identities[FIRST]) for at in (places[FIRST], here)]
    async with (
        raw_client(here, identities[FIRST]) as own,
        raw_client(places[FIRST], identities[FIRST]) as one,
        raw_client(places[MSPIDS[1]], identities[MSPIDS[1]]) as two,
        raw_client(places[MSPIDS[2]], identities[MSPIDS[2]]) as three,
    ):
        try:
            yield Ledger(one, gateways[0]), [one, two, three], Ledger(own, gateways[1])
        finally:
            await asyncio.gather(*(gateway.close() for gateway in gateways))


def _config(network: FabricNetwork, folder: Path) -> LedgerConfig:
    organisations = {mspid: network.organisation(mspid) for mspid in MSPIDS}
    server, orderer = organisations[FIRST].files("peer"), network.orderers
    return LedgerConfig(
        ledger=LedgerSection(
            listen=f"localhost:{free_port()}",
            chaincode=PROBE,
            data=folder / "ledger",
            tls_certificate=server.tls_certificate,
            tls_private_key=server.tls_private_key,
        ),
        orderer=OrdererSection(
            mspid=orderer.mspid,
            certificate=orderer.files("orderer-1").certificate,
            private_key=orderer.files("orderer-1").private_key,
            ca=orderer.ca,
        ),
        organisations=sections(organisations),
    )
