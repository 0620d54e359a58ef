"""`consortium bench round`: one aggregation round, ours beside plaintext and beside NVFLARE's encryption, over the same transport."""

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from fabric.devpki import create_organisation
from fabric.tls import TlsIdentity
from gateway.bench.codecs import NvflareParameters, Plain, our_codecs
from gateway.bench.machine import describe
from gateway.bench.results import BenchReport, Measurement, Value
from gateway.bench.round_roles import AGGREGATOR, Made, Member, Setting, Told, aggregator, hospital
from gateway.errors import Unavailable

VARIANTS = ("ours", "plain", "nvflare_parameters")
_BYTES_PER_MIB = 1 << 20
# The largest upload of any variant, NVFLARE's, takes 58 bytes a parameter.
_LIMIT_BYTES_PER_PARAMETER, _LIMIT_BYTES_AT_LEAST = 64, 4 << 20


@dataclass(frozen=True)
class RoundBench:
    """Every variant is run for each pair of sizes; `rounds` are measured after one that warms up."""

    parameters: Sequence[int]
    hospitals: Sequence[int]
    variants: Sequence[str] = VARIANTS
    rounds: int = 3


def run(bench: RoundBench, say: Callable[[str], None]) -> BenchReport:
    """Measure; one process for each role, all on this machine."""
    machine = describe(("tenseal", "numpy", "grpcio"))
    results = []
    for parameters in bench.parameters:
        for hospitals in bench.hospitals:
            for variant in bench.variants:
                say(f"{variant}: {parameters} parameters, {hospitals} hospitals")
                results.append(_measure(variant, parameters, hospitals, bench.rounds))
    return BenchReport(machine, results)


def _measure(variant: str, parameters: int, hospitals: int, rounds: int) -> Measurement:
    limit_bytes = max(_LIMIT_BYTES_AT_LEAST, parameters * _LIMIT_BYTES_PER_PARAMETER)
    setting = Setting([f"Hospital{number:02d}MSP" for number in range(1, hospitals + 1)], parameters, rounds, limit_bytes)
    with tempfile.TemporaryDirectory(prefix="consortium-bench-") as folder:
        told = _run_processes(setting, _codecs(variant, setting), Path(folder))
    return _measurement(variant, setting, told[0], told[1:])


def _codecs(variant: str, setting: Setting) -> Sequence[Made]:
    """The aggregator's and then each hospital's."""
    count = len(setting.hospitals)
    if variant == "ours":
        return our_codecs(hospitals=count, parameters=setting.parameters)
    return [Plain() if variant == "plain" else NvflareParameters.new_context()] * (count + 1)


def _run_processes(setting: Setting, codecs: Sequence[Made], folder: Path) -> list[Told]:
    """What the aggregator and then each hospital told."""
    spawn = multiprocessing.get_context("spawn")
    hub, *members = _members(setting, folder)
    start = spawn.Barrier(len(members))
    ours, theirs = spawn.Pipe()
    # Daemons, so that none is left when this process ends early.
    spawn.Process(target=aggregator, args=(setting, hub, codecs[0], folder / "exchange", theirs), daemon=True).start()
    endpoint = _received(ours, "the aggregator")
    pipes = []
    for member, codec in zip(members, codecs[1:], strict=True):
        receiver, sender = spawn.Pipe(duplex=False)
        spawn.Process(target=hospital, args=(setting, member, codec, endpoint, start, sender), daemon=True).start()
        sender.close()
        pipes.append(receiver)
    theirs.close()
    told = [_received(pipe, member.mspid) for pipe, member in zip(pipes, members, strict=True)]
    ours.send("done")
    return [_received(ours, "the aggregator"), *told]


def _received(pipe: Connection, whom: str) -> Any:
    try:
        return pipe.recv()
    except EOFError as error:
        raise Unavailable(f"the process of {whom} ended before it told what it measured; look at what it wrote above") from error


def _members(setting: Setting, folder: Path) -> list[Member]:
    organisations = [
        create_organisation(folder / mspid, mspid, identities={"gateway": "client"}) for mspid in (AGGREGATOR, *setting.hospitals)
    ]
    roots = {each.mspid: (each.tls_ca.read_bytes(),) for each in organisations}
    files = [each.files("gateway") for each in organisations]
    identities = [TlsIdentity(file.tls_certificate.read_bytes(), file.tls_private_key.read_bytes()) for file in files]
    return [Member(each.mspid, tls, roots) for each, tls in zip(organisations, identities, strict=True)]


def _measurement(variant: str, setting: Setting, hub: Told, hospitals: Sequence[Told]) -> Measurement:
    seconds = [
        max(each.timings.ended[number] for each in hospitals) - min(each.timings.began[number] for each in hospitals)
        for number in range(setting.rounds)
    ]
    phases: dict[str, Value] = {"aggregator: add": hub.timings.phases["add"] / setting.rounds}
    for name in dict.fromkeys(name for each in hospitals for name in each.timings.phases):
        phases[name] = max(each.timings.phases.get(name, 0.0) for each in hospitals) / setting.rounds
    peaks: dict[str, Value] = {"aggregator": hub.peak_rss_bytes, "hospital": max(each.peak_rss_bytes for each in hospitals)}
    values: dict[str, Value] = {
        "seconds_per_round": median(seconds),
        "upload_bytes_per_parameter": max(each.upload_bytes for each in hospitals) / setting.parameters,
        "max_error": max(each.max_error for each in hospitals),
        "aggregator_peak_mib": hub.peak_rss_bytes / _BYTES_PER_MIB,
        "hospital_peak_mib": max(each.peak_rss_bytes for each in hospitals) / _BYTES_PER_MIB,
    }
    conditions: dict[str, Value] = {"variant": variant, "parameters": setting.parameters, "hospitals": len(setting.hospitals)}
    return Measurement("round", conditions, values, {"peak_rss_bytes": peaks, "phases": phases})
