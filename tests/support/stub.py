"""An in-memory ledger that holds a contract to Fabric's semantics: stricter than the embedded ledger, and instant.

`MemoryLedger.submit` endorses and commits one call; `block` commits several that were endorsed on the same state, with the
version check a peer makes. `Simulation` raises MisuseError for what a real peer would silently get wrong.
"""

import bisect
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fabric import canonical
from fabric.contract import entry
from fabric.crypto import fingerprint

Contract = Callable[..., bytes]


class MisuseError(AssertionError):
    """The contract did what Fabric's shim does not support, or answers with the state before the transaction."""


@dataclass(frozen=True)
class Person:
    """A certificate that calls: what a peer knows of it after checking it."""

    mspid: str
    certificate_pem: bytes

    @property
    def fingerprint(self) -> str:
        return fingerprint(x509.load_pem_x509_certificate(self.certificate_pem))


@functools.cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def person(mspid: str, name: str, unit: str = "client") -> Person:
    """A self-signed certificate with NodeOU `unit`; the same for the same names in one test run."""
    return _person(mspid, name, unit)


@functools.cache
def _person(mspid: str, name: str, unit: str) -> Person:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"{name}.{mspid}"), x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    )
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(_key().public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(start + timedelta(days=3650))
    certificate = builder.sign(_key(), hashes.SHA256())
    return Person(mspid, certificate.public_bytes(serialization.Encoding.PEM))


@dataclass
class Simulation:
    """One call's stub. Records reads with the version they saw, ranges with what they returned, and writes."""

    ledger: "MemoryLedger"
    caller: Person
    tx_id: str
    reads: dict[str, int] = field(default_factory=dict)
    ranges: list[tuple[str, str, tuple[tuple[str, int], ...]]] = field(default_factory=list)
    writes: dict[str, bytes | None] = field(default_factory=dict)
    policies: dict[str, bytes] = field(default_factory=dict)
    event: tuple[str, bytes] | None = None

    @property
    def mspid(self) -> str:
        return self.caller.mspid

    @property
    def certificate_pem(self) -> bytes:
        return self.caller.certificate_pem

    def get_state(self, key: str) -> bytes | None:
        _check_key(key)
        if key in self.writes:
            raise MisuseError(f"{key!r} was written in this call; Fabric answers with the value before it")
        value, version = self.ledger.state.get(key, (None, 0))
        self.reads[key] = version
        return value

    def put_state(self, key: str, value: bytes) -> None:
        _check_key(key)
        if not value:
            raise MisuseError("an empty value is a deletion on some peers")
        self.writes[key] = value

    def delete_state(self, key: str) -> None:
        self.writes[key] = None

    def get_state_validation_parameter(self, key: str) -> bytes:
        self.get_state(key)
        return self.ledger.policies.get(key, b"")

    def set_state_validation_parameter(self, key: str, policy: bytes) -> None:
        if key not in self.writes:
            raise MisuseError(f"{key!r} gets a policy that a peer drops if the key does not exist")
        if policy == self.ledger.policies.get(key):
            raise MisuseError(f"{key!r} has this policy; to set it again only makes other writers of the block invalid")
        self.policies[key] = policy

    def get_state_by_range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        if self.writes:
            raise MisuseError("a range read after a write does not see it on Fabric")
        keys = self.ledger.keys
        found = keys[bisect.bisect_left(keys, start) : bisect.bisect_left(keys, end)]
        self.ranges.append((start, end, tuple((key, self.ledger.state[key][1]) for key in found)))
        for key in found:
            yield key, self.ledger.state[key][0]

    def set_event(self, name: str, payload: bytes) -> None:
        if self.event is not None or not name:
            raise MisuseError("a transaction has one event, with a name")
        self.event = (name, payload)


def _check_key(key: str) -> None:
    if not key.startswith("\x00") or not key.endswith("\x00") or "\U0010ffff" in key:
        raise MisuseError(f"{key!r} is not a composite key")


@dataclass(frozen=True)
class Endorsed:
    """A call that ran: its answer, and what it read and would write."""

    simulation: Simulation
    result: bytes

    @property
    def json(self) -> Any:
        return canonical.loads(self.result)


class MemoryLedger:
    """State with versions, and the events in order."""

    def __init__(self, contract: Contract = entry.invoke) -> None:
        self.contract = contract
        self.state: dict[str, tuple[bytes, int]] = {}
        self.keys: list[str] = []
        self.policies: dict[str, bytes] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._version = 0
        self._transactions = 0

    def endorse(self, caller: Person, function: str, argument: Any = None) -> Endorsed:
        """Run a call without committing it; raises what the contract raises."""
        self._transactions += 1
        simulation = Simulation(self, caller, f"{self._transactions:064x}")
        return Endorsed(simulation, self.contract(simulation, function, as_args(argument)))

    def evaluate(self, caller: Person, function: str, argument: Any = None) -> Any:
        endorsed = self.endorse(caller, function, argument)
        return endorsed.json

    def submit(self, caller: Person, function: str, argument: Any = None) -> Any:
        endorsed = self.endorse(caller, function, argument)
        assert self.block([endorsed]) == [True]
        return endorsed.json

    def block(self, transactions: Sequence[Endorsed]) -> list[bool]:
        """Commit in order, as a peer decides it; False where a read was overtaken (MVCC or phantom conflict) or a policy changes."""
        changed: set[str] = set()
        return [self._commit(transaction.simulation, changed) for transaction in transactions]

    def _commit(self, simulation: Simulation, changed: set[str]) -> bool:
        if changed & simulation.writes.keys():
            return False
        changed |= simulation.policies.keys()
        if any(self.state.get(key, (None, 0))[1] != version for key, version in simulation.reads.items()):
            return False
        if any(self._range(start, end) != seen for start, end, seen in simulation.ranges):
            return False
        self._version += 1
        for key, value in simulation.writes.items():
            self._write(key, value)
        self.policies.update(simulation.policies)
        if simulation.event is not None:
            self.events.append((simulation.event[0], canonical.loads(simulation.event[1])))
        return True

    def _range(self, start: str, end: str) -> tuple[tuple[str, int], ...]:
        found = self.keys[bisect.bisect_left(self.keys, start) : bisect.bisect_left(self.keys, end)]
        return tuple((key, self.state[key][1]) for key in found)

    def _write(self, key: str, value: bytes | None) -> None:
        known = key in self.state
        if value is None:
            if known:
                del self.state[key]
                self.keys.remove(key)
            return
        if not known:
            bisect.insort(self.keys, key)
        self.state[key] = (value, self._version)

    def records(self, kind: str) -> list[Any]:
        """Every record of a kind, decoded, in key order."""
        prefix = f"\x00{kind}\x00"
        return [canonical.loads(self.state[key][0]) for key in self.keys if key.startswith(prefix)]


def as_args(argument: Any) -> list[bytes]:
    """None is no argument; bytes go as they are; anything else as canonical JSON."""
    if argument is None:
        return []
    return [argument if isinstance(argument, bytes) else canonical.dumps(argument)]
