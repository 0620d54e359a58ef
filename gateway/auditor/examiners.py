"""Signature checks in other processes, ahead of the one that verifies the blocks in order.

Signatures are most of the work of an audit and depend on nothing before them (`fabric.examination`), so every core takes a share: the
others check signatures alone, and this one, which parses and judges the blocks, checks some too rather than wait. Only digests travel.
What is under way at any time is bounded, and with it memory.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Self

from fabric_protos.common import common_pb2

from fabric.examination import ExaminedBlock, ReadBlock, SignatureCheck, examine_block, read_block, signature_flaw
from fabric.verify import VerificationError
from gateway.auditor import examining
from gateway.errors import Unavailable

Ready = tuple[common_pb2.Block, ExaminedBlock]
_Read = tuple[common_pb2.Block, ReadBlock]

_ALONE_BYTES = 2 * 1024 * 1024  # as many bytes are checked before processes, which take a second to start, are worth it
_BATCH_BYTES = 256 * 1024  # of blocks that travel together: small ones would cost more to send than to check
_BATCHES_AHEAD = 4  # for each process
_EACH_HAS = 2  # batches that another process has; what it has not, this one may check


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Batch:
    """Blocks whose signatures are checked together; `flaws` is None until somebody has begun with them."""

    blocks: list[_Read]
    checks: list[SignatureCheck]
    flaws: Future[list[str]] | list[str] | None = None

    @property
    def waits(self) -> bool:
        return self.flaws is None or (isinstance(self.flaws, Future) and not self.flaws.done())

    def check_here(self) -> None:
        self.flaws = [signature_flaw(one) for one in self.checks]

    def examined(self) -> Iterator[Ready]:
        """The blocks; `flaws` must not be None any more. Raises BrokenExecutor."""
        flaws = iter(self.flaws.result() if isinstance(self.flaws, Future) else self.flaws or ())
        for block, read in self.blocks:
            yield block, read.examined(islice(flaws, len(read.checks)))


class Examiners:
    """Takes blocks in order and gives them back in order, examined, with `processes` in all. A context manager that ends the others.

    Not for two threads at once. Raises Unavailable if a process dies.
    """

    def __init__(self, processes: int, *, alone_bytes: int = _ALONE_BYTES) -> None:
        self._processes = processes
        self._alone_bytes = alone_bytes
        self._pool: ProcessPoolExecutor | None = None
        self._batch: list[_Read] = []
        self._batch_bytes = 0
        self._ahead: deque[_Batch] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def examined(self, blocks: Iterable[common_pb2.Block]) -> Iterator[Ready]:
        """All blocks of a source. Where the source itself breaks, the blocks before come first, then its VerificationError."""
        broken = None
        try:
            for block in blocks:
                yield from self.put(block)
        except VerificationError as error:
            broken = error
        yield from self.rest()
        if broken is not None:
            raise broken

    def put(self, block: common_pb2.Block) -> Iterator[Ready]:
        """Take the next block; give back what is ready and must make room."""
        size = block.ByteSize()
        if self._processes == 1 or self._alone_bytes > 0:
            self._alone_bytes -= size
            yield block, examine_block(block)
            return
        self._batch.append((block, read_block(block)))
        self._batch_bytes += size
        if self._batch_bytes >= _BATCH_BYTES:
            self._send()
            if len(self._ahead) > _BATCHES_AHEAD * self._processes:
                yield from self._oldest()

    def rest(self) -> Iterator[Ready]:
        """What was taken and not given back yet."""
        if self._batch:
            self._send()
        while self._ahead:
            yield from self._oldest()

    def _send(self) -> None:
        self._ahead.append(_Batch(self._batch, [check for _, read in self._batch for check in read.checks]))
        self._batch, self._batch_bytes = [], 0
        with _deaths_told():
            self._hand_out()

    def _hand_out(self) -> None:
        """Keep the other processes busy: each has a batch to check and one to go on with."""
        if self._pool is None:
            # A forked child would share this process's connections; a spawned one starts clean.
            self._pool = ProcessPoolExecutor(self._processes - 1, multiprocessing.get_context("spawn"), examining.prepare)
        free = _EACH_HAS * (self._processes - 1) - sum(batch.flaws is not None and batch.waits for batch in self._ahead)
        for batch in islice((batch for batch in self._ahead if batch.flaws is None), max(free, 0)):
            batch.flaws = self._pool.submit(examining.check, batch.checks)

    def _oldest(self) -> Iterator[Ready]:
        oldest = self._ahead[0]
        with _deaths_told():
            # From the far end, where the others come last.
            while oldest.waits and (batch := next((one for one in reversed(self._ahead) if one.flaws is None), None)):
                batch.check_here()
                self._hand_out()
            yield from self._ahead.popleft().examined()


@contextmanager
def _deaths_told() -> Iterator[None]:
    try:
        yield
    except BrokenExecutor as error:
        raise Unavailable("a process that checks signatures died, perhaps for want of memory; try again with --processes 1") from error
