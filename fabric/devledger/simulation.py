"""One call of the contract against a snapshot of the state: what it read, wrote and announced, as a Fabric read/write set."""

from collections.abc import Callable, Iterator, Sequence

from fabric.contract.stub import Stub
from fabric.devledger.store import StateReader
from fabric.rwset import NamespaceRwset, RangeQuery, Read, Version, Write
from fabric.transactions import Event

Contract = Callable[[Stub, str, Sequence[bytes]], bytes]
"""`contract(stub, function, args) -> result`; raises ContractError to refuse."""


class SimulatedStub:
    """The contract's `Stub` for one proposal. Reads see the snapshot only, never this call's own writes, as in Fabric."""

    def __init__(self, state: StateReader, *, tx_id: str, mspid: str, certificate_pem: bytes) -> None:
        self.tx_id, self.mspid, self.certificate_pem = tx_id, mspid, certificate_pem
        self._state = state
        self._reads: dict[str, Version | None] = {}
        self._ranges: list[RangeQuery] = []
        self._writes: dict[str, bytes | None] = {}
        self._event: tuple[str, bytes] | None = None

    def get_state(self, key: str) -> bytes | None:
        entry = self._state.get(_checked(key))
        self._reads[key] = entry.version if entry else None
        return entry.value if entry else None

    def get_state_by_range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        entries = list(self._state.range(start, end))
        self._ranges.append(RangeQuery(start, end, exhausted=True, reads=tuple(Read(key, entry.version) for key, entry in entries)))
        return iter([(key, entry.value) for key, entry in entries])

    def put_state(self, key: str, value: bytes) -> None:
        if not value:
            raise ValueError(f"the value of {key!r} is empty, which Fabric takes for a deletion; call delete_state instead")
        self._writes[_checked(key)] = value

    def delete_state(self, key: str) -> None:
        self._writes[_checked(key)] = None

    def set_event(self, name: str, payload: bytes) -> None:
        if not name:
            raise ValueError("an event needs a name")
        self._event = (name, payload)

    def rwset(self, namespace: str) -> NamespaceRwset:
        """What the call read and wrote, keys in order, as every endorser of the same call finds it."""
        return NamespaceRwset(
            namespace,
            reads=tuple(Read(key, self._reads[key]) for key in sorted(self._reads)),
            writes=tuple(Write(key, self._writes[key]) for key in sorted(self._writes)),
            range_queries=tuple(self._ranges),
        )

    def event(self, chaincode: str) -> Event | None:
        """The transaction's event as `chaincode` sends it."""
        return None if self._event is None else Event(chaincode, self.tx_id, *self._event)


def _checked(key: str) -> str:
    if not key:
        raise ValueError("a key must not be empty")
    return key
