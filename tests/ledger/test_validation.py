"""Validation of a block: against an oracle that runs the transactions one after another on a plain dictionary."""

import pytest
from fabric_protos.peer import transaction_pb2
from hypothesis import given
from hypothesis import strategies as st

from fabric.devledger.simulation import SimulatedStub
from fabric.devledger.store import Entry
from fabric.devledger.validation import PendingBlock
from fabric.rwset import NamespaceRwset, RangeQuery, Read, Version, Write
from fabric.transactions import EndorserTransaction, Headers, Response
from tests.support.state_table import STATE, Table

KEYS = "abcdef"


def transaction(tx_id: str, rwset: NamespaceRwset) -> EndorserTransaction:
    headers = Headers(
        type=3,
        channel="consortium",
        tx_id=tx_id,
        creator=b"",
        nonce=b"",
        timestamp=None,
        epoch=0,
        chaincode="cc",
        channel_header=b"",
        signature_header=b"",
    )
    return EndorserTransaction(
        headers=headers,
        chaincode="cc",
        chaincode_version="1.0",
        args=(),
        rwsets=(rwset,),
        event=None,
        response=Response(200, "", b""),
        endorsements=(),
        proposal_hash=b"",
        proposal_response_payload=b"",
        proposal_payload=b"",
        payload=b"",
        signature=b"",
    )


def simulated(state: Table, tx_id: str, operations: list[tuple[str, str]]) -> EndorserTransaction:
    stub = SimulatedStub(state, tx_id=tx_id, mspid="AlphaMSP", certificate_pem=b"")
    for operation, key in operations:
        match operation:
            case "read":
                stub.get_state(key)
            case "write":
                stub.put_state(key, tx_id.encode())
            case "delete":
                stub.delete_state(key)
            case "range":
                list(stub.get_state_by_range(key, chr(ord(key) + 3)))
            case "rest":
                list(stub.get_state_by_range(key, ""))
    return transaction(tx_id, stub.rwset("cc"))


kinds = st.sampled_from(["read", "write", "delete", "range", "rest"])
operations = st.lists(st.tuples(kinds, st.sampled_from(KEYS)), min_size=1, max_size=5)


def disturbed(transaction: EndorserTransaction, touched: set[str]) -> bool:
    """Has an earlier valid transaction of the block written a key that this one read? All were simulated on the same state."""
    return any(read.key in touched for read in transaction.reads)


@given(before=st.lists(st.sampled_from(KEYS), unique=True), calls=st.lists(operations, min_size=1, max_size=8))
def test_the_valid_transactions_are_those_whose_view_is_undisturbed(before: list[str], calls: list[list[tuple[str, str]]]) -> None:
    state = Table({key: Entry(b"old", Version(0, index)) for index, key in enumerate(before)})
    block = [simulated(state, f"t{index}", call) for index, call in enumerate(calls)]
    pending, touched, current = PendingBlock(state, 1), set[str](), Table(dict(state.entries))
    for position, tx in enumerate(block):
        code = pending.judge(tx, transaction_pb2.VALID, committed_before=False)
        ranges = [[(key, entry.version) for key, entry in current.range(q.start, q.end)] for q in tx.range_queries]
        phantoms = ranges != [[(read.key, read.version) for read in q.reads] for q in tx.range_queries]
        if disturbed(tx, touched):
            assert code == transaction_pb2.MVCC_READ_CONFLICT
        elif phantoms:
            assert code == transaction_pb2.PHANTOM_READ_CONFLICT
        else:
            assert code == transaction_pb2.VALID
            current.apply(tx.writes, Version(1, position))
            touched |= {write.key for write in tx.writes}
    assert pending.codes[0] == transaction_pb2.VALID


def reads(*reads: Read) -> NamespaceRwset:
    return NamespaceRwset("cc", reads=reads)


def ranged(start: str, end: str, *seen: Read, exhausted: bool = True) -> NamespaceRwset:
    return NamespaceRwset("cc", range_queries=(RangeQuery(start, end, exhausted=exhausted, reads=seen),))


@pytest.mark.parametrize(
    ("rwset", "code"),
    [
        (reads(Read("a", Version(4, 2))), transaction_pb2.VALID),
        (reads(Read("b", None)), transaction_pb2.VALID),
        (reads(Read("a", Version(4, 1))), transaction_pb2.MVCC_READ_CONFLICT),
        (reads(Read("a", Version(3, 2))), transaction_pb2.MVCC_READ_CONFLICT),
        (reads(Read("a", None)), transaction_pb2.MVCC_READ_CONFLICT),
        (reads(Read("b", Version(0, 0))), transaction_pb2.MVCC_READ_CONFLICT),
        (ranged("a", "c", Read("a", Version(4, 2))), transaction_pb2.VALID),
        (ranged("a", "c"), transaction_pb2.PHANTOM_READ_CONFLICT),
        (ranged("a", "d", Read("a", Version(4, 2))), transaction_pb2.PHANTOM_READ_CONFLICT),
        (ranged("d", "", Read("e", Version(4, 2))), transaction_pb2.PHANTOM_READ_CONFLICT),
        (ranged("a", "c", Read("a", Version(4, 1))), transaction_pb2.PHANTOM_READ_CONFLICT),
        # A reader that stopped early saw the key at which it stopped, too.
        (ranged("a", "a", Read("a", Version(4, 2)), exhausted=False), transaction_pb2.VALID),
        (ranged("a", "c", Read("a", Version(4, 2)), Read("c", Version(1, 0)), exhausted=False), transaction_pb2.VALID),
        (ranged("a", "c", Read("a", Version(4, 2)), exhausted=False), transaction_pb2.PHANTOM_READ_CONFLICT),
    ],
)
def test_reads_against_the_committed_state(rwset: NamespaceRwset, code: int) -> None:
    assert PendingBlock(STATE, 5).judge(transaction("t", rwset), transaction_pb2.VALID, committed_before=False) == code


def test_duplicates_and_bad_endorsements_write_nothing() -> None:
    pending = PendingBlock(Table(), 1)
    writer = transaction("t1", NamespaceRwset("cc", writes=(Write("a", b"1"),)))
    assert pending.judge(writer, transaction_pb2.VALID, committed_before=True) == transaction_pb2.DUPLICATE_TXID
    unendorsed = transaction("t2", NamespaceRwset("cc", writes=(Write("a", b"1"),)))
    assert pending.judge(unendorsed, transaction_pb2.ENDORSEMENT_POLICY_FAILURE, committed_before=False) == 10
    assert pending.judge(transaction("t3", reads(Read("a", None))), transaction_pb2.VALID, committed_before=False) == transaction_pb2.VALID
    assert pending.judge(transaction("t3", reads()), transaction_pb2.VALID, committed_before=False) == transaction_pb2.DUPLICATE_TXID


def test_deleting_a_key_that_does_not_exist_still_disturbs_its_readers() -> None:
    pending = PendingBlock(Table(), 1)
    pending.judge(transaction("t1", NamespaceRwset("cc", writes=(Write("a", None),))), transaction_pb2.VALID, committed_before=False)
    code = pending.judge(transaction("t2", reads(Read("a", None))), transaction_pb2.VALID, committed_before=False)
    assert code == transaction_pb2.MVCC_READ_CONFLICT
