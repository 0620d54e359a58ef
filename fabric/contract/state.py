"""One call's view of the state: typed records in, buffered writes out, nothing written is ever read back from the ledger."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fabric import canonical
from fabric.contract.keys import key, span
from fabric.contract.release import Release
from fabric.contract.stub import Stub


class State:
    """Records by kind and attributes. Reads are cached and see this call's own writes; `flush` sends them once each.

    Fabric's read returns the state before the transaction even after a write, so a rule that reads what another rule of
    the same call has changed would be wrong on a real peer. Here both see the buffer.
    """

    def __init__(self, stub: Stub, release: Release) -> None:
        self.release = release
        self._stub = stub
        self._seen: dict[str, Any] = {}
        self._written: dict[str, bytes] = {}
        self._policies: dict[str, bytes] = {}
        self._event: tuple[str, bytes] | None = None

    def get(self, kind: str, *attributes: str | int) -> Any:
        """The record, or None where there is none. Callers change a copy or put back what they change."""
        name = key(kind, *attributes)
        if name not in self._seen:
            data = self._stub.get_state(name)
            # Only the contract writes state, canonically, so the strict parser's work was done when it was written.
            self._seen[name] = None if data is None else self.release.current(kind, json.loads(data))
        return self._seen[name]

    def put(self, kind: str, attributes: tuple[str | int, ...], record: Mapping[str, Any], *, policy: bytes = b"") -> None:
        """Write a record with the schema of this release; only the last write of a call reaches the ledger.

        `policy` is the key's own endorsement policy from now on (see key_policies); b"" leaves it the one it has.
        """
        name = key(kind, *attributes)
        content = {**record, "schema": self.release.schema}
        self._seen[name] = content
        self._written[name] = canonical.dumps(content)
        if policy:
            self._policies[name] = policy

    def scan(self, kind: str, *attributes: str | int) -> Iterator[Any]:
        """Every record below these attributes, in key order. For views only: a range in a submit invites phantom conflicts."""
        for _, data in self._stub.get_state_by_range(*span(kind, *attributes)):
            yield self.release.current(kind, json.loads(data))

    def announce(self, name: str, payload: Mapping[str, Any]) -> None:
        """Set the transaction's one event. It names the rules that decided, for whoever computes the decision again."""
        if self._event is not None:
            raise RuntimeError(f"a second event, {name}, in one transaction")
        self._event = (name, canonical.dumps({**payload, "rules": self.release.rules}))

    def flush(self) -> None:
        # Only where it changes: a new policy makes whatever else writes the key in the same block invalid.
        changed = {name: policy for name, policy in self._policies.items() if self._stub.get_state_validation_parameter(name) != policy}
        for name, data in self._written.items():
            self._stub.put_state(name, data)
        for name, policy in changed.items():
            self._stub.set_state_validation_parameter(name, policy)
        if self._event is not None:
            self._stub.set_event(*self._event)
