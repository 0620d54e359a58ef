"""The in-memory ledger must catch what a real peer gets silently wrong, or the other tests prove little."""

from collections.abc import Sequence

import pytest

from fabric.contract.stub import Stub
from tests.support.stub import MemoryLedger, MisuseError, person

CALLER = person("AMSP", "x")
KEY = "\x00k\x00"


def ledger_of(*steps: str) -> MemoryLedger:
    def contract(stub: Stub, function: str, args: Sequence[bytes]) -> bytes:
        for step in steps:
            match step:
                case "read":
                    stub.get_state(KEY)
                case "write":
                    stub.put_state(KEY, function.encode())
                case "range":
                    list(stub.get_state_by_range("\x00k", "\x00l"))
                case "event":
                    stub.set_event("name", b"{}")
                case "simple key":
                    stub.put_state("k", b"1")
        return b"{}"

    return MemoryLedger(contract)


@pytest.mark.parametrize("steps", [("write", "read"), ("write", "range"), ("event", "event"), ("simple key",)])
def test_misuse_is_raised(steps: tuple[str, ...]) -> None:
    with pytest.raises(MisuseError):
        ledger_of(*steps).endorse(CALLER, "f")


def test_two_writers_that_read_conflict_and_two_that_do_not_pass() -> None:
    reading = ledger_of("read", "write")
    assert reading.block([reading.endorse(CALLER, "a"), reading.endorse(CALLER, "b")]) == [True, False]
    blind = ledger_of("write")
    assert blind.block([blind.endorse(CALLER, "a"), blind.endorse(CALLER, "b")]) == [True, True]


def test_a_key_that_appears_in_a_range_is_a_phantom() -> None:
    ledger = ledger_of("range", "write")
    assert ledger.block([ledger.endorse(CALLER, "a"), ledger.endorse(CALLER, "b")]) == [True, False]
