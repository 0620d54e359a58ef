"""Which transactions need no second reading: exactly those that this process assembled, and what is remembered is what their bytes say."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from hypothesis import given
from hypothesis import strategies as st

from fabric.devledger import ledger
from fabric.devledger.own_transactions import Endorsed, OwnTransactions
from fabric.rwset import VALIDATION_PARAMETER, MetadataWrite, NamespaceRwset, RangeQuery, Read, Version, Write
from fabric.transactions import Endorsement, EndorserTransaction, Event, Response, assemble, parse_envelope, parse_proposal
from tests.support import key_value_contract
from tests.support.chain import CHAINCODE, Consortium
from tests.support.ledger import prepare, running
from tests.support.raw_client import raw_client

CHAIN = Consortium()
PEERS = [hospital.peer for hospital in CHAIN.hospitals]
KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
VERSIONS = st.one_of(st.none(), st.builds(Version, st.integers(0, 2**63), st.integers(0, 2**31)))
READS = st.lists(st.builds(Read, KEYS, VERSIONS), max_size=3).map(tuple)
RWSETS = st.builds(
    NamespaceRwset,
    st.just(CHAINCODE),
    reads=READS,
    writes=st.lists(st.builds(Write, KEYS, st.one_of(st.none(), st.binary(min_size=1))), max_size=3).map(tuple),
    range_queries=st.lists(
        st.builds(RangeQuery, KEYS, KEYS, exhausted=st.booleans(), reads=READS, summary=st.none()),
        max_size=2,
    ).map(tuple),
    metadata_writes=st.lists(
        st.builds(lambda key, policy: MetadataWrite(key, ((VALIDATION_PARAMETER, policy),)), KEYS, st.binary(min_size=1)), max_size=2
    ).map(tuple),
)


def assembled(
    rwset: NamespaceRwset, args: Sequence[bytes] = (b"put",), event: Event | None = None, result: bytes = b""
) -> EndorserTransaction:
    return assemble(
        parse_proposal(CHAIN.proposal(*args)),
        chaincode_version="1.1",
        rwset=rwset,
        response=Response(200, "", result),
        event=event,
        sign=lambda response: [Endorsement(peer.serialized, peer.sign(response + peer.serialized)) for peer in PEERS],
    )


def own(*transactions: EndorserTransaction, **options: object) -> OwnTransactions:
    kept = OwnTransactions(**options)  # type: ignore[arg-type]  # as its own keywords
    for transaction in transactions:
        kept.remember(Endorsed(transaction, ()))
    return kept


@given(
    rwset=RWSETS,
    args=st.lists(st.binary(), min_size=1, max_size=3),
    event=st.one_of(st.none(), st.builds(Event, st.just(CHAINCODE), st.just("id"), KEYS, st.binary())),
    result=st.binary(),
)
def test_what_is_remembered_is_what_its_bytes_say(rwset: NamespaceRwset, args: list[bytes], event: Event | None, result: bytes) -> None:
    transaction = assembled(rwset, args, event, result)
    envelope = common_pb2.Envelope(payload=transaction.payload, signature=b"signature").SerializeToString()
    assert replace(transaction, signature=b"signature") == parse_envelope(envelope)


def test_a_transaction_is_known_once_and_by_its_very_bytes() -> None:
    transaction = assembled(NamespaceRwset(CHAINCODE))
    kept = own(transaction)
    for place in (0, len(transaction.payload) // 2, len(transaction.payload) - 1):
        changed = bytearray(transaction.payload)
        changed[place] ^= 1
        assert kept.take(bytes(changed)) is None
    taken = kept.take(transaction.payload)
    assert taken is not None and taken.transaction is transaction
    assert kept.take(transaction.payload) is None


def test_the_oldest_are_forgotten_when_there_is_no_room_left() -> None:
    transactions = [assembled(NamespaceRwset(CHAINCODE)) for _ in range(5)]
    largest = max(len(transaction.payload) for transaction in transactions)
    kept = own(*transactions, kept_bytes=2 * largest)
    assert [kept.take(transaction.payload) is not None for transaction in transactions] == [False] * 3 + [True] * 2
    for transaction in transactions * 3:  # what was taken has made room again
        kept.remember(Endorsed(transaction, ()))
        assert kept.take(transaction.payload) is not None


def test_what_was_given_out_is_awaited_for_a_moment_only() -> None:
    now = 100.0
    kept = own(clock=lambda: now)
    assert not kept.awaited()
    transaction = assembled(NamespaceRwset(CHAINCODE))
    kept.remember(Endorsed(transaction, ()))
    assert kept.awaited()
    now += 1
    assert not kept.awaited()
    another = assembled(NamespaceRwset(CHAINCODE))
    kept.remember(Endorsed(another, ()))
    assert kept.awaited()
    kept.take(another.payload)
    assert not kept.awaited()


async def test_transactions_that_come_at_once_share_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "GATHER_S", 600.0)
    monkeypatch.setattr(OwnTransactions, "awaited", lambda self: bool(self._kept))  # however slow this machine is
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
        proposals = [client.proposal(b"put", b"k%d" % number, b"v") for number in range(5)]
        envelopes = [client.envelope(await client.endorse(proposal)) for proposal in proposals]
        await asyncio.gather(*(client.send(proposal.tx_id, each) for proposal, each in zip(proposals, envelopes, strict=True)))
        assert len({await client.status(proposal.tx_id) for proposal in proposals}) == 1


async def test_nobody_waits_long_for_a_transaction_that_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnTransactions, "awaited", lambda _: True)
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
        await client.endorse(client.proposal(b"put", b"k", b"v"))
        assert (await client.submit(b"put", b"another", b"v"))[1] == 0
