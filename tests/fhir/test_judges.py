"""Chunks come back in their order, judged alike by whichever process."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.fhir import judges as judges_module
from gateway.fhir.errors import CutFileError, DataError
from gateway.fhir.judge import Job, Plan
from gateway.fhir.judges import Judges
from gateway.fhir.sources import Chunk, chunks
from gateway.fhir.views import compile_views
from gateway.task_file import parse
from tests.fhir.test_load import BAD, GOOD
from tests.support.fhir_folders import TASK, small_hospital, write

PLAN = Plan.of(compile_views(parse(TASK.encode()).views), "R4", maps=None, references=True)


def _jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    monkeypatch.setattr("gateway.fhir.sources.CHUNK_BYTES", 300)
    folder = write(tmp_path, [*small_hospital(), *BAD.values(), *GOOD])
    return [Job(chunk, PLAN.names) for chunk in chunks(folder / "all.ndjson")]


def test_other_processes_judge_alike_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = _jobs(tmp_path, monkeypatch)

    def cut() -> Iterator[Job]:
        yield from jobs
        raise CutFileError("cut")

    with Judges(PLAN, processes=1) as alone, Judges(PLAN, processes=2, alone_bytes=500) as many:
        expected = list(alone.judged(jobs))
        assert len(expected) == len(jobs) > 5
        found = []
        with pytest.raises(CutFileError):
            found.extend(many.judged(cut()))
    assert found == expected


def test_a_process_that_is_killed_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges_module, "_judged", _killed)
    with Judges(PLAN, processes=2, alone_bytes=0) as judges, pytest.raises(DataError, match="died, perhaps for want of memory"):
        list(judges.judged([Job(Chunk("a", 1, (b"{}",)), PLAN.names)]))


def _killed(job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
