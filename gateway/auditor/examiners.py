"""Signature checks in processes of their own, ahead of the one that verifies the blocks in order.

Signatures are most of the work of an audit and depend on nothing before them (`fabric.examination`), so every core takes a share.
Only digests travel. What is under way at any time is bounded, and with it memory.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Self

from fabric_protos.common import common_pb2

from fabric.examination import ExaminedBlock, ReadBlock, examine_block, read_block
from fabric.verify import VerificationError
from gateway.auditor import examining
from gateway.errors import Unavailable

Ready = tuple[common_pb2.Block, ExaminedBlock]
_Read = tuple[common_pb2.Block, ReadBlock]

_ALONE_BYTES = 2 * 1024 * 1024  # as many bytes are checked before processes, which take a second to start, are worth it
_BATCH_BYTES = 256 * 1024  # of blocks that travel together: small ones would cost more to send than to check
_BATCHES_AHEAD = 4  # for each process


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Examiners:
    """Takes blocks in order and gives them back in order, examined. A context manager that ends its processes.

    Not for two threads at once. Raises Unavailable if a process dies.
    """

    def __init__(self, processes: int, *, alone_bytes: int = _ALONE_BYTES) -> None:
        self._processes = processes
        self._alone_bytes = alone_bytes
        self._pool: ProcessPoolExecutor | None = None
        self._batch: list[_Read] = []
        self._batch_bytes = 0
        self._ahead: deque[tuple[list[_Read], Future[list[str]]]] = deque()

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
        if self._pool is None:
            # A forked child would share this process's connections; a spawned one starts clean.
            self._pool = ProcessPoolExecutor(self._processes, multiprocessing.get_context("spawn"), examining.prepare)
        checks = [check for _, read in self._batch for check in read.checks]
        self._ahead.append((self._batch, self._pool.submit(examining.check, checks)))
        self._batch, self._batch_bytes = [], 0

    def _oldest(self) -> Iterator[Ready]:
        batch, checked = self._ahead.popleft()
        try:
            flaws = iter(checked.result())
        except BrokenExecutor as error:
            raise Unavailable("a process that checks signatures died, perhaps for want of memory; try again with --processes 1") from error
        for block, read in batch:
            yield block, read.examined(islice(flaws, len(read.checks)))
