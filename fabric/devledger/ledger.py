"""The embedded ledger itself: orders submitted transactions into signed blocks, validates and stores them, and tells who waits."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.blocks import build_block, header_hash, transaction_codes
from fabric.channel import BatchSize
from fabric.crypto import SigningIdentity
from fabric.devledger.errors import DevLedgerError, LedgerStopping
from fabric.devledger.store import Store, TransactionRecord, TransactionStatus
from fabric.devledger.validation import PendingBlock, endorsement_code
from fabric.endorsement import EndorsementRules
from fabric.msp import Member
from fabric.transactions import EndorserTransaction, Event, parse_envelope

BATCH = BatchSize()
MAX_WAITING = 500  # submissions beyond this wait at the door, so that memory stays bounded
GATHER_S = 0.01  # a tenth of the time after which Fabric's orderers cut a block
EVENT_CACHE_BLOCKS = 256


@dataclass(frozen=True)
class Submission:
    """A transaction whose form, creator and endorsements' signatures were checked, with its exact bytes."""

    transaction: EndorserTransaction
    endorsers: tuple[Member, ...]
    envelope: bytes


_Waiting = tuple[Submission, asyncio.Future[TransactionStatus]]


class Ledger:
    """One channel's chain. Lives on one event loop; blocks are validated and stored on one thread of its own."""

    def __init__(
        self,
        store: Store,
        orderer: SigningIdentity,
        rules: EndorsementRules,
        *,
        awaited: Callable[[], bool] = lambda: False,
        nonce: Callable[[], bytes] = lambda: secrets.token_bytes(24),
    ) -> None:
        """`rules` judge on the state that `store.writer` reads; `awaited` says whether more transactions are likely to come at once."""
        self._store, self._orderer, self._rules, self._awaited, self._nonce = store, orderer, rules, awaited, nonce
        self._nothing_awaited = asyncio.Event()
        self._tip_hash = header_hash(self._parsed(store.height - 1).header)
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._grown = asyncio.Event()
        self._stopping = False
        self._watched: dict[str, list[asyncio.Future[TransactionStatus]]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")
        self._cutter = asyncio.create_task(self._cut_blocks())
        self._events = lru_cache(EVENT_CACHE_BLOCKS)(self._read_events)

    @property
    def height(self) -> int:
        return self._store.height

    def block(self, number: int) -> bytes | None:
        """Block bytes; None beyond the tip."""
        return self._store.block(number)

    def transaction(self, tx_id: str) -> TransactionStatus | None:
        return self._store.transaction(tx_id)

    def events(self, number: int) -> tuple[Event, ...]:
        """Events of the block's valid transactions, in order."""
        return self._events(number)

    async def submit(self, submission: Submission) -> TransactionStatus:
        """Order a transaction and return its fate once it is durable. Raises DevLedgerError if it could not be stored."""
        done: asyncio.Future[TransactionStatus] = asyncio.get_running_loop().create_future()
        await self._queue.put((submission, done))
        if not self._awaited():
            self._nothing_awaited.set()
        return await done

    async def committed(self, tx_id: str) -> TransactionStatus:
        """Wait until a transaction with this id is in a block. Raises LedgerStopping when the ledger stops first."""
        status = self._store.transaction(tx_id)
        if status is not None:
            return status
        if self._stopping:
            raise LedgerStopping("the ledger is stopping; ask again once it is back")
        watcher: asyncio.Future[TransactionStatus] = asyncio.get_running_loop().create_future()
        self._watched.setdefault(tx_id, []).append(watcher)
        try:
            return await watcher
        finally:
            self._forget(tx_id, watcher)

    async def follow(self, start: int) -> AsyncIterator[int]:
        """Numbers of the blocks from `start` on, each as soon as it is durable. Ends with LedgerStopping only."""
        number = start
        while True:
            while number >= self.height:
                if self._stopping:
                    raise LedgerStopping("the ledger is stopping; go on from the same block once it is back")
                await self._grown.wait()
            yield number
            number += 1
            await asyncio.sleep(0)  # who catches up with a long chain must not keep everyone else waiting

    def release(self) -> None:
        """Let go all who wait for blocks or transactions (LedgerStopping); submissions still go through."""
        self._stopping = True
        self._grown.set()
        for watchers in self._watched.values():
            for watcher in watchers:
                if not watcher.done():
                    watcher.set_exception(LedgerStopping("the ledger is stopping; ask again once it is back"))

    async def close(self) -> None:
        """Store what was submitted, then end."""
        await self._queue.join()
        self._cutter.cancel()
        with suppress(asyncio.CancelledError):
            await self._cutter
        self._thread.shutdown()

    def _forget(self, tx_id: str, watcher: asyncio.Future[TransactionStatus]) -> None:
        watchers = self._watched.get(tx_id, [])
        if watcher in watchers:
            watchers.remove(watcher)
            if not watchers:
                del self._watched[tx_id]

    async def _cut_blocks(self) -> None:
        """Cut what waits into a block as soon as no more is on its way: while one is being stored, the next fills."""
        loop = asyncio.get_running_loop()
        while True:
            first = await self._queue.get()
            await self._gather()
            batch = self._batch(first)
            try:
                statuses = await loop.run_in_executor(self._thread, self._store_block, [submission for submission, _ in batch])
            except Exception as error:  # whatever it was, each submitter must hear of it and the ledger must go on
                self._fail(batch, error)
            else:
                self._announce(batch, statuses)
            for _ in batch:
                self._queue.task_done()

    async def _gather(self) -> None:
        """Let a block fill: what a block costs is paid once for all that stands in it."""
        self._nothing_awaited.clear()
        if self._awaited():
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._nothing_awaited.wait()

    def _batch(self, first: _Waiting) -> list[_Waiting]:
        """What goes into one block: all that waits, up to the channel's limits."""
        batch, size = [first], len(first[0].envelope)
        while len(batch) < BATCH.max_messages and size < BATCH.preferred_max_bytes and not self._queue.empty():
            batch.append(self._queue.get_nowait())
            size += len(batch[-1][0].envelope)
        return batch

    def _store_block(self, batch: Sequence[Submission]) -> list[TransactionStatus]:
        """On the writer's thread: validate, build, sign and store the next block."""
        number = self._store.height
        pending = PendingBlock(self._store.writer, number)
        records, statuses = [], []
        for submission in batch:
            transaction = submission.transaction
            earlier = self._store.writer_transaction(transaction.tx_id)
            endorsement = endorsement_code(transaction, submission.endorsers, self._rules)
            code = pending.judge(transaction, endorsement, committed_before=earlier is not None)
            records.append(_record(transaction, code))
            statuses.append(earlier or TransactionStatus(number, code))
        envelopes = [submission.envelope for submission in batch]
        block = build_block(number, self._tip_hash, envelopes, pending.codes, self._orderer, 0, self._nonce())
        self._store.append(number, block.SerializeToString(), records)
        self._tip_hash = header_hash(block.header)
        return statuses

    def _announce(self, batch: Sequence[_Waiting], statuses: Sequence[TransactionStatus]) -> None:
        for (submission, done), status in zip(batch, statuses, strict=True):
            for waiting in (done, *self._watched.pop(submission.transaction.tx_id, ())):
                if not waiting.done():
                    waiting.set_result(status)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    @staticmethod
    def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
        reason = error if isinstance(error, DevLedgerError) else DevLedgerError(f"the block could not be made: {error!r}")
        for _, done in batch:
            if not done.done():
                done.set_exception(reason)

    def _parsed(self, number: int) -> common_pb2.Block:
        data = self._store.block(number)
        if data is None:
            raise DevLedgerError(f"block {number} is missing from the ledger's data; restore the data folder")
        return common_pb2.Block.FromString(data)

    def _read_events(self, number: int) -> tuple[Event, ...]:
        block = self._parsed(number)
        valid = (data for data, code in zip(block.data.data, transaction_codes(block), strict=True) if code == transaction_pb2.VALID)
        parsed = (parse_envelope(data) for data in valid)
        return tuple(t.event for t in parsed if isinstance(t, EndorserTransaction) and t.event is not None)


def _record(transaction: EndorserTransaction, code: int) -> TransactionRecord:
    if code != transaction_pb2.VALID:
        return TransactionRecord(transaction.tx_id, code)
    return TransactionRecord(transaction.tx_id, code, transaction.writes, transaction.policies)
