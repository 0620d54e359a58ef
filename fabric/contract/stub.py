"""What a contract may use of the ledger: one call's view of the state, and who made the call."""

from collections.abc import Iterator
from typing import Protocol


class Stub(Protocol):
    """One transaction's view of the ledger, as Fabric's shim gives it to chaincode.

    Reads see the state before the transaction; a key written by this call must not be read back by it.
    """

    @property
    def tx_id(self) -> str: ...

    @property
    def mspid(self) -> str:
        """MSP id of the caller, already authenticated by the peer."""

    @property
    def certificate_pem(self) -> bytes:
        """The caller's certificate, already checked against the MSP by the peer."""

    def get_state(self, key: str) -> bytes | None: ...

    def put_state(self, key: str, value: bytes) -> None: ...

    def delete_state(self, key: str) -> None: ...

    def get_state_by_range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Keys in [start, end) with their values, in key order; `start` may be a composite key prefix."""

    def set_event(self, name: str, payload: bytes) -> None:
        """Set the transaction's one event."""
