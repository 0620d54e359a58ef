"""The client of the ledger: a real Fabric peer's gateway, or the embedded ledger, which speaks the same protocol."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fabric.client import blocks as _blocks
from fabric.client import events as _events
from fabric.client.checkpoint import Checkpoint
from fabric.client.connection import Connection
from fabric.client.endorse import endorse
from fabric.client.endorsers import Endorsers, Organisations
from fabric.client.errors import CommitError
from fabric.client.evaluate import evaluate
from fabric.client.patience import Backoff, Patience
from fabric.client.status import CommitStatus, commit_status
from fabric.client.submit import submit
from fabric.crypto import SigningIdentity

# Another transaction changed what this one had read, or who must endorse what it writes: run again on the new state, it may pass.
_TOO_FEW = "ENDORSEMENT_POLICY_FAILURE"
_CONFLICTS = ("MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT", _TOO_FEW)


@dataclass(frozen=True)
class Committed:
    """A transaction whose writes took effect; `result` is the contract's answer."""

    tx_id: str
    block_number: int
    result: bytes


class Gateway:
    """One identity's access to one contract on one channel. Every method may be called concurrently on one event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def connect(
        cls,
        endpoint: str,
        tls_ca: bytes,
        channel: str,
        chaincode: str,
        identity: SigningIdentity,
        *,
        patience: Patience | None = None,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> "Gateway":
        """A client of the peer at `endpoint` ("host:port") whose TLS certificate `tls_ca` (PEM) vouches for; no I/O yet."""
        return cls.follow([endpoint], lambda: tls_ca, channel, chaincode, lambda: identity, patience=patience, time_ns=time_ns)

    @classmethod
    def follow(
        cls,
        endpoints: Sequence[str],
        tls_ca: Callable[[], bytes],
        channel: str,
        chaincode: str,
        identity: Callable[[], SigningIdentity],
        *,
        patience: Patience | None = None,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> "Gateway":
        """A client of several peers, one at a time, whose authorities and own identity may be renewed: both are asked for every call."""
        return cls(Connection(endpoints, tls_ca, channel, chaincode, identity, patience or Patience(), time_ns=time_ns))

    def name_endorsers(self, read: Callable[["Gateway"], Awaitable[Organisations]]) -> None:
        """From now on name the organisations that are to endorse; `read` asks this client which there are, when that is needed."""
        self._connection.endorsers = Endorsers(lambda: self.identity.mspid, lambda: read(self))

    @property
    def identity(self) -> SigningIdentity:
        """Who signs now."""
        return self._connection.identity

    async def evaluate(self, function: str, *args: bytes) -> bytes:
        """Ask the contract without writing; the answer is never older than a commit, event or block this client has been given.

        Raises ContractRefused, EvaluateError, StreamError (a peer refuses to say how far it is), LedgerUnavailable.
        """
        return await evaluate(self._connection, function, args)

    async def submit(self, function: str, *args: bytes, transient: Mapping[str, bytes] | None = None) -> Committed:
        """Call the contract and return once its writes took effect, exactly once.

        A transaction that collided with another is run again as a new one; one whose status is unknown is asked for by its
        id first, at every peer. Raises ContractRefused, EndorseError, StreamError, SubmitError, LedgerUnavailable (nothing written
        in any of these), CommitError (invalid, nothing written), CommitStatusError, CommitUnknown (may be written: ask `commit_status`).
        """
        patience = self._connection.patience
        backoff, by_own = Backoff(patience, patience.conflict_s), False
        while True:
            endorsed = await endorse(self._connection, function, args, transient, by_own=by_own)
            status = await submit(self._connection, endorsed)
            if status.code_name == "VALID":
                return Committed(endorsed.tx_id, status.block_number, endorsed.result)
            if status.code_name not in _CONFLICTS or not await backoff.pause():
                raise CommitError(status.code_name, endorsed.tx_id)
            if status.code_name == _TOO_FEW and self._connection.endorsers is not None:
                self._connection.endorsers.forget()
                by_own = True

    async def commit_status(self, tx_id: str, *, wait_s: float) -> CommitStatus | None:
        """What became of `tx_id`, waiting up to `wait_s` for it to be written; None if nobody can tell yet."""
        return await commit_status(self._connection, tx_id, wait_s=wait_s)

    def chaincode_events(self, *, start_block: int | None = None, after: Checkpoint | None = None) -> AsyncIterator[_events.ChaincodeEvent]:
        """The contract's events in ledger order, each once, across reconnections and peers.

        From block `start_block` on, or after an event's `checkpoint`; without either from now on. Raises StreamError if the caller
        may not listen.
        """
        return _events.chaincode_events(self._connection, after if start_block is None else Checkpoint.before_block(start_block))

    def blocks(self, *, start: int, stop: int | None) -> AsyncIterator[Any]:
        """`common.Block` messages from `start` to `stop`, both included; `stop=None` follows the chain for ever.

        To go on after block b: `start=b.header.number + 1`, at whatever peer.
        Raises StreamError if the caller may not read or a block comes out of order.
        """
        return _blocks.blocks(self._connection, start=start, stop=stop)

    async def height(self) -> int:
        """How many blocks there are, never fewer than this client has seen. Raises LedgerUnavailable or StreamError."""
        return await _blocks.height(self._connection)

    async def close(self) -> None:
        """Close the connections; calls under way fail."""
        await self._connection.close()
