"""The contract's stub: what Fabric's rules of simulation let a contract see and write."""

import itertools

import pytest

from fabric.devledger.simulation import SimulatedStub
from fabric.devledger.store import Entry
from fabric.rwset import MetadataWrite, Read, Version, Write, build_rwset, parse_rwset
from tests.support.state_table import STATE, Table


@pytest.fixture
def stub() -> SimulatedStub:
    return SimulatedStub(STATE, tx_id="t", mspid="AlphaMSP", certificate_pem=b"pem")


def test_a_call_does_not_see_its_own_writes(stub: SimulatedStub) -> None:
    stub.put_state("a", b"2")
    stub.delete_state("c")
    assert stub.get_state("a") == b"1"
    assert [key for key, _ in stub.get_state_by_range("a", "z")] == ["a", "c"]


def test_reads_and_writes_are_recorded_once_in_key_order(stub: SimulatedStub) -> None:
    stub.put_state("z", b"1")
    stub.put_state("y", b"1")
    stub.put_state("z", b"2")
    stub.get_state("c")
    stub.get_state("b")
    stub.get_state("b")
    rwset = stub.rwset("cc")
    assert rwset.reads == (Read("b", None), Read("c", Version(1, 0)))
    assert rwset.writes == (Write("y", b"1"), Write("z", b"2"))


def test_a_keys_policy_is_read_with_its_version_and_written_beside_its_value() -> None:
    table = Table({"k": Entry(b"1", Version(2, 0), b"policy")})
    stub = SimulatedStub(table, tx_id="t", mspid="AlphaMSP", certificate_pem=b"pem")
    stub.put_state("z", b"1")
    stub.put_state("k", b"2")
    stub.set_state_validation_parameter("z", b"first")
    stub.set_state_validation_parameter("z", b"last")
    stub.set_state_validation_parameter("k", b"another")
    assert [stub.get_state_validation_parameter(key) for key in ("k", "absent")] == [b"policy", b""]
    rwset = stub.rwset("cc")
    assert rwset.reads == (Read("absent", None), Read("k", Version(2, 0)))
    policies = {"k": b"another", "z": b"last"}
    assert rwset.metadata_writes == tuple(MetadataWrite(key, (("VALIDATION_PARAMETER", value),)) for key, value in policies.items())
    assert parse_rwset(build_rwset([rwset])) == (rwset,)


def test_a_range_of_which_nothing_is_wanted_is_not_asked_for_and_one_asked_for_twice_is_recorded_once(stub: SimulatedStub) -> None:
    stub.get_state_by_range("a", "z")
    assert stub.rwset("cc").range_queries == ()
    for _ in range(2):
        list(stub.get_state_by_range("a", "z"))
    (query,) = stub.rwset("cc").range_queries
    assert (query.exhausted, [read.key for read in query.reads]) == (True, ["a", "c"])


@pytest.mark.parametrize(
    ("entries", "taken", "read", "exhausted"),
    [(0, 1, 0, True), (99, 1, 99, True), (100, 1, 100, True), (101, 100, 101, False), (101, 101, 101, True), (250, 101, 201, False)],
)
def test_a_range_is_read_in_a_peers_pages(entries: int, taken: int, read: int, exhausted: bool) -> None:
    """Golden: what Fabric 2.5 and 3.1 record; tests/real_fabric/test_differential.py compares them."""
    names = [f"k{number:03}" for number in range(entries)]
    table = Table({name: Entry(b"1", Version(1, 0)) for name in names})
    stub = SimulatedStub(table, tx_id="t", mspid="AlphaMSP", certificate_pem=b"pem")
    assert [key for key, _ in itertools.islice(stub.get_state_by_range("k", "l"), taken)] == names[:taken]
    (query,) = stub.rwset("cc").range_queries
    assert [each.key for each in query.reads] == names[:read]
    assert (query.end, query.exhausted) == ("l" if exhausted else names[read - 1], exhausted)


def test_the_last_event_wins(stub: SimulatedStub) -> None:
    assert stub.event("cc") is None
    stub.set_event("first", b"1")
    stub.set_event("second", b"2")
    event = stub.event("cc")
    assert event is not None and (event.name, event.payload, event.tx_id) == ("second", b"2", "t")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda stub: stub.put_state("k", b""),
        lambda stub: stub.put_state("", b"v"),
        lambda stub: stub.get_state(""),
        lambda stub: stub.delete_state(""),
        lambda stub: stub.get_state_validation_parameter(""),
        lambda stub: stub.set_state_validation_parameter("k", b""),
        lambda stub: stub.set_state_validation_parameter("a", b"policy"),
        lambda stub: (stub.put_state("a", b"v"), stub.delete_state("a"), stub.set_state_validation_parameter("a", b"policy")),
        lambda stub: stub.set_event("", b""),
    ],
)
def test_what_fabric_refuses_or_misreads_is_refused(stub: SimulatedStub, mistake: object) -> None:
    with pytest.raises(ValueError, match=r"empty|name|without a value"):
        mistake(stub)  # type: ignore[operator] # a plain lambda
