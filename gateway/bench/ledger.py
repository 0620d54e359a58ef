"""`consortium bench ledger`: the contract's calls on the embedded ledger and on real Fabric networks, compared in one run."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fabric.client.gateway import Gateway
from gateway.bench import ledgers
from gateway.bench.ledgers import Registered
from gateway.bench.machine import describe
from gateway.bench.meter import Meter, throughput
from gateway.bench.results import BenchReport, Measurement, Value
from gateway.bench.scripted_task import ScriptedTask
from gateway.bench.trained_round import seconds_a_round
from gateway.network.home import FabricHome, open_home

HOSPITALS_UNDER_LOAD = 4
CALLS = "Transactions of the contract, by callers at once"
BASELINE = "The same Fabric with a contract that only writes one key"
ROUNDS = "A round's ledger calls, with no work between them"
TRAINED = "A round of the demo's task, with its training"
_WRITES_A_CALLER = 40  # about as many as a caller makes of the contract's calls
_PACKAGES = ("cryptography", "grpcio", "protobuf")
Say = Callable[[str], None]
Note = Callable[[Measurement], None]


@dataclass(frozen=True)
class LedgerBench:
    """What to measure: how many callers, how many hospitals and how many rounds of them, on which Fabric releases beside the embedded one.

    `folder` is empty, and holds the ledgers meanwhile.
    """

    folder: Path
    fabric_homes: tuple[Path, ...]
    callers: tuple[int, ...]
    hospitals: tuple[int, ...]
    rounds: int
    trained_rounds: int
    """Of the demo, on each ledger; 0 leaves it out."""


async def run(bench: LedgerBench, say: Say) -> BenchReport:
    """Measure; every process that is started has ended when it returns or raises. Raises InputError for a folder of no Fabric.

    `say` hears of each measurement at once: nothing that was measured is lost if a later one fails.
    """
    homes = [open_home(home) for home in bench.fabric_homes]
    machine = describe(_PACKAGES)
    found: list[Measurement] = []

    def note(measurement: Measurement) -> None:
        found.append(measurement)
        say(measurement.line)

    for home in (None, *homes):
        for hospitals in sorted({HOSPITALS_UNDER_LOAD, *bench.hospitals}):
            if home is None or hospitals <= ledgers.LARGEST_FABRIC:
                await _measure(bench, home, hospitals, note)
    if bench.trained_rounds:
        await _trained(bench, [None, *homes], note, say)
    return BenchReport(machine, found)


async def _measure(bench: LedgerBench, home: FabricHome | None, hospitals: int, note: Note) -> None:
    """One ledger with one number of hospitals."""
    name, loaded = _name(home), hospitals == HOSPITALS_UNDER_LOAD
    folder = bench.folder / f"{name} {hospitals}"
    serving = ledgers.embedded(folder, name, hospitals) if home is None else ledgers.fabric(folder, name, hospitals, home, baseline=loaded)
    async with serving as ledger:
        for callers in bench.callers if loaded else ():
            note(await _calls(ledger, callers))
            if ledger.one_key:
                note(await _baseline(ledger, callers))
        if hospitals in bench.hospitals:
            note(await _round(ledger, bench.rounds))


def _name(home: FabricHome | None) -> str:
    return "embedded" if home is None else f"Fabric {'.'.join(map(str, home.version))}"


async def _calls(ledger: Registered, callers: int) -> Measurement:
    """As many tasks as callers, up to where hospitals share nothing any more: each always has a call to make, so no caller is idle."""
    meter = Meter(callers)
    tasks = [ScriptedTask(f"load-{callers}-{number}", ledger.hospitals, meter, rounds=1) for number in range(callers)]
    for task in tasks:
        await task.submit(ledger.researcher)
    await asyncio.gather(*(_until_judged(task) for task in tasks))
    return Measurement(CALLS, {"ledger": ledger.name, "callers": callers}, throughput(meter.calls))


async def _until_judged(task: ScriptedTask) -> None:
    await task.until_rounds()
    await task.until_judged(1)


async def _baseline(ledger: Registered, callers: int) -> Measurement:
    meter, keys = Meter(callers), itertools.count()

    async def write(client: Gateway) -> None:
        await meter.timed("put", lambda: client.submit("put", f"{callers}-{next(keys)}".encode()))

    clients = itertools.cycle(ledger.one_key)
    await asyncio.gather(*(write(next(clients)) for _ in range(callers * _WRITES_A_CALLER)))
    return Measurement(BASELINE, {"ledger": ledger.name, "callers": callers}, throughput(meter.calls))


async def _round(ledger: Registered, rounds: int) -> Measurement:
    """Rounds one after the other, in which all hospitals act as soon as they may."""
    task = ScriptedTask("rounds", ledger.hospitals, Meter(len(ledger.hospitals)), rounds=rounds)
    await task.submit(ledger.researcher)
    await task.until_rounds()
    timings = [await task.run_round(number) for number in range(1, rounds + 1)]
    values: dict[str, Value] = {
        "transactions": timings[0].transactions,
        "seconds_on_critical_path": median(timing.seconds for timing in timings),
        "seconds_of_all_calls": median(timing.calls_seconds for timing in timings),
    }
    return Measurement(ROUNDS, {"ledger": ledger.name, "hospitals": len(ledger.hospitals)}, values)


async def _trained(bench: LedgerBench, homes: Sequence[FabricHome | None], note: Note, say: Say) -> None:
    """The embedded ledger first: the others are compared with it."""
    first = 0.0
    for home in homes:
        name = _name(home)
        seconds = await seconds_a_round(bench.folder / f"demo on {name}", bench.trained_rounds, home.folder if home else None, say)
        first = first or seconds
        note(Measurement(TRAINED, {"ledger": name}, {"seconds": seconds, "times_the_embedded": seconds / first}))
