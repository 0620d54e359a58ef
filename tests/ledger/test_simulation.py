"""The contract's stub: what Fabric's rules of simulation let a contract see and write."""

import pytest

from fabric.devledger.simulation import SimulatedStub
from fabric.rwset import Read, Version, Write
from tests.support.state_table import STATE


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
        lambda stub: stub.set_event("", b""),
    ],
)
def test_what_fabric_refuses_or_misreads_is_refused(stub: SimulatedStub, mistake: object) -> None:
    with pytest.raises(ValueError, match=r"empty|name"):
        mistake(stub)  # type: ignore[operator] # a plain lambda
