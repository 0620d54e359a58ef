"""Chunks are judged by as many processes as there are cores, once there is enough to do, and come back in their order."""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from types import TracebackType
from typing import Self

from gateway.fhir.errors import CutFileError, DataError
from gateway.fhir.judge import Job, Judge, Judged, Plan

ALONE_BYTES = 16 << 20
"""What is judged in this process before others are started, which takes them a second."""

_AHEAD = 3
"""Chunks for each process that are read before they are needed: what bounds the memory."""


class Judges:
    """A context manager that ends its processes; for one thread."""

    def __init__(self, plan: Plan, *, processes: int | None = None, alone_bytes: int = ALONE_BYTES) -> None:
        self._plan = plan
        self._processes = len(os.sched_getaffinity(0)) if processes is None else processes
        self._alone_bytes = alone_bytes
        self._own = Judge(plan)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._own.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def judged(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Judged]]:
        """Do the jobs. Where their file is cut, those before come first, then its CutFileError."""
        ahead: deque[tuple[Job, Future[Judged]]] = deque()
        cut = None
        try:
            for job in jobs:
                ahead.append((job, self._begin(job)))
                while len(ahead) > _AHEAD * self._processes or (ahead and ahead[0][1].done()):
                    yield _first(ahead)
        except CutFileError as error:
            cut = error
        while ahead:
            yield _first(ahead)
        if cut is not None:
            raise cut

    def again(self, job: Job) -> Judged:
        """Do one job, in this process."""
        return self._own.judged(job)

    def _begin(self, job: Job) -> Future[Judged]:
        if self._processes > 1 and self._alone_bytes <= 0:
            if self._pool is None:
                # A forked child would share this process's connections; a spawned one starts clean.
                self._pool = ProcessPoolExecutor(self._processes, multiprocessing.get_context("spawn"), _prepare, (self._plan,))
            return self._pool.submit(_judged, job)
        self._alone_bytes -= job.chunk.size
        done: Future[Judged] = Future()
        done.set_result(self._own.judged(job))
        return done


def _first(ahead: deque[tuple[Job, Future[Judged]]]) -> tuple[Job, Judged]:
    job, judged = ahead.popleft()
    try:
        return job, judged.result()
    except BrokenExecutor as error:
        raise DataError("a process that reads the data died, perhaps for want of memory; free some, and try again") from error


_judge: Judge
"""A process's own."""


def _prepare(plan: Plan) -> None:
    global _judge  # what a process of a pool keeps from job to job
    _judge = Judge(plan)


def _judged(job: Job) -> Judged:
    return _judge.judged(job)
