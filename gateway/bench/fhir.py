"""`consortium bench fhir`: how fast a hospital's FHIR files become rows, a matrix and a verdict, each measured in a process of its own."""

import multiprocessing
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from gateway.bench import fhir_tools
from gateway.bench.machine import describe
from gateway.bench.memory import FamilyMemory
from gateway.bench.results import BenchReport, Measurement
from gateway.errors import Unavailable
from gateway.fhir.sources import files, lines

LARGER = 10
"""How many times larger the input of the second measurement is."""

_NAMED = re.compile(rb'("id"\s*:\s*"|"reference"\s*:\s*"[A-Z][A-Za-z]+/)')


@dataclass(frozen=True)
class FhirBench:
    """`sources` are folders of FHIR files, measured as one; each tool runs `repeats` times, and the median counts."""

    sources: Sequence[Path]
    peers: bool = False
    repeats: int = 3


@dataclass(frozen=True)
class _Told:
    resources: int
    seconds: float
    peak_rss_bytes: int


def run(bench: FhirBench, say: Callable[[str], None]) -> BenchReport:
    """Measure; raises DataError where the folders cannot be read or hold too little for a matrix."""
    machine = describe(("duckdb", "msgspec", "fhir.resources"))
    results = []
    with _together(bench.sources, 1) as folder, _together(bench.sources, LARGER) as larger:
        for tool in fhir_tools.TOOLS:
            if tool.peer and not bench.peers:
                continue
            for place in (folder, larger) if tool.scales else (folder,):
                say(f"{tool.what}: {tool.name}")
                results.append(_measurement(tool, _alone(tool, place, bench.repeats)))
    return BenchReport(machine, sorted(results, key=lambda row: fhir_tools.KINDS.index(row.what)))


@contextmanager
def _together(sources: Sequence[Path], copies: int) -> Iterator[Path]:
    """One folder with links to the files of all; with several copies, files of other patients with the same data."""
    with TemporaryDirectory(prefix="consortium-bench-") as name:
        for number, source in enumerate(sources):
            for path in files(source):
                (Path(name) / f"{number:02d}-00-{path.name}").symlink_to(path.resolve())
                for copy in range(1, copies):
                    _write_copy(path, Path(name) / f"{number:02d}-{copy:02d}-{path.name.partition('.')[0]}.ndjson", copy)
        yield Path(name)


def _write_copy(path: Path, target: Path, number: int) -> None:
    """The lines of a file as NDJSON, every id and every relative reference another one."""
    with target.open("wb") as out:
        for line in lines(path):
            out.write(_NAMED.sub(rb"\g<1>%d-" % number, line.data or b"").strip() + b"\n")


def _alone(tool: fhir_tools.Tool, folder: Path, repeats: int) -> _Told:
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_repeated, tool.name, tool.what, folder, repeats).result()
    except BrokenProcessPool as error:
        raise Unavailable(
            f"the process that measured {tool.what} with {tool.name} was killed; it may have needed too much memory"
        ) from error


def _repeated(name: str, what: str, folder: Path, repeats: int) -> _Told:
    (tool,) = (each for each in fhir_tools.TOOLS if (each.name, each.what) == (name, what))
    seconds = []
    resources = 0
    with FamilyMemory() as memory:
        for _ in range(repeats):
            began = time.perf_counter()
            resources = tool.run(folder)
            seconds.append(time.perf_counter() - began)
    return _Told(resources, median(seconds), memory.peak_rss_bytes)


def _measurement(tool: fhir_tools.Tool, told: _Told) -> Measurement:
    values = {"seconds": told.seconds, "per_second": told.resources / told.seconds, "peak_rss_bytes": told.peak_rss_bytes}
    return Measurement(tool.what, {"tool": tool.name, "resources": told.resources}, values)
