"""The client of the ledger: a real Fabric peer's gateway, or the embedded ledger, which speaks the same protocol."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from fabric.client import blocks as _blocks
from fabric.client import events as _events
from fabric.client.connection import Connection
from fabric.client.endorse import endorse
from fabric.client.errors import CommitError
from fabric.client.evaluate import evaluate
from fabric.client.patience import Backoff, Patience
from fabric.client.status import CommitStatus, commit_status
from fabric.client.submit import submit
from fabric.crypto import SigningIdentity

# Another transaction changed what this one had read: run again on the new state, it may pass.
_CONFLICTS = ("MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT")


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
    ) -> "Gateway":
        """A client of the peer at `endpoint` ("host:port") whose TLS certificate `tls_ca` (PEM) vouches for; no I/O yet."""
        return cls(Connection.open(endpoint, tls_ca, channel, chaincode, identity, patience or Patience()))

    async def evaluate(self, function: str, *args: bytes) -> bytes:
        """Ask the contract without writing. Raises ContractRefused, EvaluateError, LedgerUnavailable."""
        return await evaluate(self._connection, function, args)

    async def submit(self, function: str, *args: bytes, transient: Mapping[str, bytes] | None = None) -> Committed:
        """Call the contract and return once its writes took effect, exactly once.

        A transaction that collided with another is run again as a new one; one whose status is unknown is asked for by its
        id first. Raises ContractRefused, EndorseError, SubmitError, LedgerUnavailable (nothing written in any of these),
        CommitError (invalid, nothing written), CommitUnknown (may be written: ask `commit_status`).
        """
        patience = self._connection.patience
        backoff = Backoff(patience, patience.conflict_s)
        while True:
            endorsed = await endorse(self._connection, function, args, transient)
            status = await submit(self._connection, endorsed)
            if status.code_name == "VALID":
                return Committed(endorsed.tx_id, status.block_number, endorsed.result)
            if status.code_name not in _CONFLICTS or not await backoff.pause():
                raise CommitError(status.code_name, endorsed.tx_id)

    async def commit_status(self, tx_id: str, *, wait_s: float) -> CommitStatus | None:
        """What became of `tx_id`, waiting up to `wait_s` for it to be written; None if nobody can tell yet."""
        return await commit_status(self._connection, tx_id, wait_s=wait_s)

    def chaincode_events(self, *, start_block: int | None = None, after_tx: str | None = None) -> AsyncIterator[_events.ChaincodeEvent]:
        """The contract's events in ledger order, each once, across reconnections; from now on if no start is given.

        To go on after event e: `start_block=e.block_number, after_tx=e.tx_id`. Raises StreamError if the caller may not listen.
        """
        return _events.chaincode_events(self._connection, start_block=start_block, after_tx=after_tx)

    def blocks(self, *, start: int, stop: int | None) -> AsyncIterator[Any]:
        """`common.Block` messages from `start` to `stop`, both included; `stop=None` follows the chain for ever.

        Raises StreamError if the caller may not read or a block comes out of order.
        """
        return _blocks.blocks(self._connection, start=start, stop=stop)

    async def height(self) -> int:
        """How many blocks the peer has. Raises LedgerUnavailable or StreamError."""
        return await _blocks.height(self._connection)

    async def close(self) -> None:
        """Close the connection; calls under way fail."""
        await self._connection.transport.close()
