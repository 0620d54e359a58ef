"""One call of the contract against a snapshot of the state: what it read, wrote and announced, as a Fabric read/write set."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fabric.contract.stub import Stub, checked_event, checked_key, checked_policy, checked_value
from fabric.devledger.store import Entry, StateReader
from fabric.rwset import VALIDATION_PARAMETER, MetadataWrite, NamespaceRwset, RangeQuery, Read, Version, Write
from fabric.transactions import Event

Contract = Callable[[Stub, str, Sequence[bytes]], bytes]
"""`contract(stub, function, args) -> result`; raises ContractError to refuse."""

_PAGE = 100  # entries of a range that a peer hands to the contract at once
_NOTHING: Mapping[str, bytes] = MappingProxyType({})


@dataclass
class _Range:
    """A range as far as the contract has read it: `entries` are all that there are, the first `fetched` of them were read."""

    start: str
    end: str
    entries: Sequence[tuple[str, Entry]]
    fetched: int = 0
    exhausted: bool = False

    def pages(self) -> Iterator[tuple[str, bytes]]:
        """The entries as a peer hands them over: to learn whether there is another page, it reads one entry beyond this one."""
        for first in range(0, len(self.entries) or 1, _PAGE):
            self.fetched = min(first + _PAGE + 1, len(self.entries))
            self.exhausted = first + _PAGE >= len(self.entries)
            yield from ((key, entry.value) for key, entry in self.entries[first : first + _PAGE])

    @property
    def query(self) -> RangeQuery:
        """What a peer records: where the reader stopped early, the last key that was read is the end."""
        reads = tuple(Read(key, entry.version) for key, entry in self.entries[: self.fetched])
        return RangeQuery(self.start, self.end if self.exhausted else reads[-1].key, exhausted=self.exhausted, reads=reads)


class SimulatedStub:
    """The contract's `Stub` for one proposal. Reads see the snapshot only, never this call's own writes, as in Fabric."""

    def __init__(
        self, state: StateReader, *, tx_id: str, mspid: str, certificate_pem: bytes, transient: Mapping[str, bytes] = _NOTHING
    ) -> None:
        self.tx_id, self.mspid, self.certificate_pem, self.transient = tx_id, mspid, certificate_pem, transient
        self._state = state
        self._reads: dict[str, Version | None] = {}
        self._ranges: list[_Range] = []
        self._writes: dict[str, bytes | None] = {}
        self._policies: dict[str, bytes] = {}
        self._event: tuple[str, bytes] | None = None

    def get_state(self, key: str) -> bytes | None:
        entry = self._state.get(checked_key(key))
        self._reads[key] = entry.version if entry else None
        return entry.value if entry else None

    def get_state_validation_parameter(self, key: str) -> bytes:
        self._reads[key] = self._state.version(checked_key(key))
        return self._state.policy(key)

    def set_state_validation_parameter(self, key: str, policy: bytes) -> None:
        self._policies[checked_key(key)] = checked_policy(key, policy, put=self._writes.get(key) is not None)

    def get_state_by_range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Asks nothing before the first entry is wanted, as on a real peer."""
        wanted = _Range(start, end, list(self._state.range(start, end)))
        self._ranges.append(wanted)
        yield from wanted.pages()

    def put_state(self, key: str, value: bytes) -> None:
        self._writes[checked_key(key)] = checked_value(key, value)

    def delete_state(self, key: str) -> None:
        self._writes[checked_key(key)] = None

    def set_event(self, name: str, payload: bytes) -> None:
        self._event = (checked_event(name), payload)

    def rwset(self, namespace: str) -> NamespaceRwset:
        """What the call read and wrote, keys in order, as every endorser of the same call finds it."""
        return NamespaceRwset(
            namespace,
            reads=tuple(Read(key, self._reads[key]) for key in sorted(self._reads)),
            writes=tuple(Write(key, self._writes[key]) for key in sorted(self._writes)),
            range_queries=tuple(dict.fromkeys(wanted.query for wanted in self._ranges)),
            metadata_writes=tuple(MetadataWrite(key, ((VALIDATION_PARAMETER, self._policies[key]),)) for key in sorted(self._policies)),
        )

    def event(self, chaincode: str) -> Event | None:
        """The transaction's event as `chaincode` sends it."""
        return None if self._event is None else Event(chaincode, self.tx_id, *self._event)
