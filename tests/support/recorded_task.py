"""A consortium's history as signed blocks: every call of scripted hospitals, with the contract's own writes and events."""

from typing import Any

from fabric_protos.common import common_pb2

from tests.support import chain
from tests.support.consortium import LAB, Behaviour, Consortium
from tests.support.stub import Endorsed, MemoryLedger, Person, as_args

_BLOCK = 25  # transactions a block


class RecordingLedger(MemoryLedger):
    """Writes every call that commits as an endorsed transaction, signed by a member of the caller's organisation."""

    def __init__(self, recording: "Recording") -> None:
        super().__init__()
        self._recording = recording

    def submit(self, caller: Person, function: str, argument: Any = None) -> Any:
        endorsed = self.endorse(caller, function, argument)
        assert self.block([endorsed]) == [True]
        self._recording.add(caller.mspid, function, argument, endorsed)
        return endorsed.json


class Recording:
    """Blocks of one consortium's life. `alter` may change a transaction's writes or event before it is signed."""

    def __init__(self, hospitals: int) -> None:
        names = [LAB, *(f"H{number:02d}MSP" for number in range(1, hospitals + 1))]
        self.chain = chain.Consortium(tuple(chain.org(name) for name in names))
        self._members = {org.mspid: org.client for org in self.chain.hospitals}
        self._peers = [org.peer for org in self.chain.hospitals[: len(names) // 2 + 1]]
        self._pending: list[bytes] = []
        self.consortium = _recorded(self, hospitals)

    def add(self, mspid: str, function: str, argument: Any, endorsed: Endorsed) -> None:
        simulation = endorsed.simulation
        self._pending.append(
            self.chain.transaction(
                function.encode(),
                *as_args(argument),
                creator=self._members[mspid],
                endorsers=self._peers,
                writes=sorted(simulation.writes.items()),
                event=simulation.event,
            )
        )
        if len(self._pending) == _BLOCK:
            self.cut()

    def forge(self, mspid: str, function: str, writes: dict[str, bytes | None], event: tuple[str, bytes] | None = None) -> None:
        """A transaction that a majority of organisations endorsed although the rules do not give it."""
        self._pending.append(
            self.chain.transaction(
                function.encode(), creator=self._members[mspid], endorsers=self._peers, writes=sorted(writes.items()), event=event
            )
        )

    def cut(self) -> None:
        if self._pending:
            self.chain.add(self._pending)
            self._pending = []

    @property
    def blocks(self) -> list[common_pb2.Block]:
        self.cut()
        return self.chain.blocks


class _RecordedConsortium(Consortium):
    def __init__(self, hospitals: int, recording: Recording) -> None:
        self._recording = recording
        super().__init__(hospitals)

    @property
    def ledger(self) -> MemoryLedger:
        return self._ledger

    @ledger.setter
    def ledger(self, _: MemoryLedger) -> None:
        self._ledger = RecordingLedger(self._recording)


def _recorded(recording: Recording, hospitals: int) -> Consortium:
    return _RecordedConsortium(hospitals, recording)


def played(hospitals: int = 6, rounds: int = 2, behaviour: Behaviour | None = None, **terms: Any) -> Recording:
    """A task played to its end."""
    recording = Recording(hospitals)
    recording.consortium.start(rounds=rounds, **terms)
    while recording.consortium.task()["phase"] == "rounds":
        recording.consortium.play_round(behaviour)
    return recording
