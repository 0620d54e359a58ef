"""What a contract may use of the ledger: one call's view of the state, and who made the call."""

from collections.abc import Iterator, Mapping
from typing import Protocol


class Stub(Protocol):
    """One transaction's view of the ledger, as Fabric's shim gives it to chaincode.

    Reads see the state before the transaction; a key written by this call must not be read back by it.
    Empty keys, values, policies and names of events raise ValueError: Fabric takes some of them for something else.
    """

    @property
    def tx_id(self) -> str: ...

    @property
    def mspid(self) -> str:
        """MSP id of the caller, already authenticated by the peer."""

    @property
    def certificate_pem(self) -> bytes:
        """The caller's certificate, already checked against the MSP by the peer."""

    @property
    def transient(self) -> Mapping[str, bytes]:
        """What the caller sent for the contract's eyes only; it stands in no block."""

    def get_state(self, key: str) -> bytes | None: ...

    def put_state(self, key: str, value: bytes) -> None: ...

    def delete_state(self, key: str) -> None: ...

    def get_state_validation_parameter(self, key: str) -> bytes:
        """The key's own endorsement policy, `common.SignaturePolicyEnvelope` bytes; b"" where it has none. Reads the key."""

    def set_state_validation_parameter(self, key: str, policy: bytes) -> None:
        """Give a key to which this call has put a value a policy of its own; ValueError without, for that can stop every peer.

        From the next block on, changing key or policy takes endorsements that satisfy it, and no longer the contract's own policy.
        Whatever else in the same block writes the key, and comes later, is invalid.
        """

    def get_state_by_range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Keys in [start, end) with their values, in key order; `start` may be a composite key prefix."""

    def set_event(self, name: str, payload: bytes) -> None:
        """Set the transaction's one event."""


def checked_key(key: str) -> str:
    """The key, as every stub checks it."""
    if not key:
        raise ValueError("a key must not be empty")
    return key


def checked_value(key: str, value: bytes) -> bytes:
    """The value to be written to `key`, as every stub checks it."""
    if not value:
        raise ValueError(f"the value of {key!r} is empty, which Fabric takes for a deletion; call delete_state instead")
    return value


def checked_policy(key: str, policy: bytes, *, put: bool) -> bytes:
    """The policy that `key` is to get, as every stub checks it; `put` says whether the call has put a value to the key."""
    if not policy:
        raise ValueError(f"the policy of {key!r} is empty, and no transaction could ever read it")
    if not put:
        # A Fabric peer looks for the value in the block so far, takes a deletion for one, and ends with a panic, now and at every restart.
        raise ValueError(f"{key!r} gets a policy without a value; if the block deletes the key before, every peer stops")
    return policy


def checked_event(name: str) -> str:
    """The event's name, as every stub checks it."""
    if not name:
        raise ValueError("an event needs a name")
    return name
