"""The processes of a benchmarked round: one aggregator and the hospitals, which speak the product's own exchange over mutual TLS.

A round here is what is done with an update once it is trained: encode, upload, add, open, decode. What the ledger adds is measured by
`bench ledger`.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
from consortium.v1 import exchange_pb2, exchange_pb2_grpc

from fabric.tls import TlsIdentity
from gateway.aggregator.blobs import BlobStore, Name
from gateway.aggregator.exchange import ExchangeService
from gateway.bench.codecs import BOUND, Codec, NvflareParameters, Ours, Plain, Vector
from gateway.bench.memory import peak_rss_bytes
from gateway.rpc import new_server, open_channel
from gateway.transfer import fetch, upload
from gateway.trust_roots import TrustRoots
from privacy import ckks

TASK = "bench"
AGGREGATOR = "AggregatorMSP"
Made = Plain | Ours | bytes
"""A codec in the form in which it is handed to a process: of NvflareParameters it is the context."""
_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Member:
    """A process's identity and what it trusts: certificates and keys in PEM."""

    mspid: str
    tls: TlsIdentity
    roots: Mapping[str, Sequence[bytes]]


@dataclass(frozen=True)
class Setting:
    """What all processes of a run agree on."""

    hospitals: Sequence[str]
    parameters: int
    rounds: int
    limit_bytes: int


@dataclass
class Timings:
    """Seconds by phase, summed over the rounds measured; `began` and `ended` of each round by the machine's one monotonic clock."""

    phases: dict[str, float] = field(default_factory=dict)
    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - start


@dataclass(frozen=True)
class Told:
    """What a process tells at its end."""

    timings: Timings
    peak_rss_bytes: int
    upload_bytes: int = 0
    max_error: float = 0.0


def codec_of(made: Made) -> Codec:
    """The codec that a process was handed."""
    return NvflareParameters(made) if isinstance(made, bytes) else made


def aggregator(setting: Setting, member: Member, made: Made, folder: Path, pipe: Connection) -> None:
    """The aggregator's process: tells its address, adds what comes, round by round, and tells what that took."""
    asyncio.run(_aggregate(setting, member, codec_of(made), folder, pipe))


def hospital(setting: Setting, member: Member, made: Made, endpoint: str, start: Barrier, pipe: Connection) -> None:
    """A hospital's process: begins each round with the others, and tells what it took."""
    pipe.send(asyncio.run(_take_part(setting, member, codec_of(made), endpoint, start)))


class _Everyone:
    """Membership of a run: all its hospitals."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    async def participants(self, task_id: str) -> frozenset[str]:
        return frozenset(self._setting.hospitals)

    async def blob_limit_bytes(self, task_id: str) -> int:
        return self._setting.limit_bytes


async def _aggregate(setting: Setting, member: Member, codec: Codec, folder: Path, pipe: Connection) -> None:
    store, roots, timings = BlobStore(folder), TrustRoots(member.roots), Timings()
    server, credentials = new_server(lambda: member.tls, roots)
    exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(ExchangeService(store, _Everyone(setting), roots), server)
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    pipe.send(f"localhost:{port}")
    for number in range(setting.rounds + 1):
        files = [await store.arrival(_update(number, mspid)) for mspid in setting.hospitals]
        with timings.phase("add"):
            total = await asyncio.to_thread(codec.add, (file.read_bytes() for file in files))
        await store.put_own(_sum(number), total)
        del total
        store.forget(TASK, before_round=number)
        if number == 0:
            timings = Timings()
    await asyncio.to_thread(pipe.recv)  # until the last hospital has what it needs
    pipe.send(Told(timings, peak_rss_bytes()))
    await server.stop(None)


async def _take_part(setting: Setting, member: Member, codec: Codec, endpoint: str, start: Barrier) -> Told:
    place = setting.hospitals.index(member.mspid)
    ckks.warm_up()
    roots = b"".join(member.roots[AGGREGATOR])
    async with open_channel(endpoint, member.tls, roots) as channel:
        hub = _Hub(exchange_pb2_grpc.ExchangeServiceStub(channel), setting.limit_bytes)
        timings, uploaded, decoded = Timings(), 0, np.zeros(0)
        for number in range(setting.rounds + 1):
            vector = _vector(setting, place, number)
            await asyncio.to_thread(start.wait)
            if number == 1:  # round 0 loads libraries and opens connections
                timings = Timings()
            timings.began.append(time.monotonic())
            uploaded, decoded = await _round(setting, member.mspid, codec, hub, number, vector, timings)
            timings.ended.append(time.monotonic())
    peak = peak_rss_bytes()
    expected = sum((_vector(setting, each, setting.rounds) for each in range(len(setting.hospitals))), np.zeros(setting.parameters))
    return Told(timings, peak, uploaded, float(np.abs(decoded - expected).max()))


async def _round(
    setting: Setting, mspid: str, codec: Codec, hub: "_Hub", number: int, vector: Vector, timings: Timings
) -> tuple[int, Vector]:
    """One round of one hospital: the size of its upload in bytes, and the opened sum."""
    with timings.phase("encode"):
        blob = await asyncio.to_thread(codec.encode, vector)
    with timings.phase("upload"):
        await hub.bring(_update(number, mspid), blob)
    size = len(blob)
    del blob, vector
    shares: dict[int, bytes] = {}
    if isinstance(codec, Ours):
        if codec.index in codec.quorum:
            await _give_share(setting, mspid, codec, hub, number, timings)
        with timings.phase("wait for shares"):
            shares = {index: await hub.get(_share(number, setting.hospitals[index - 1])) for index in codec.quorum}
    with timings.phase("wait for the sum"):
        total = await hub.get(_sum(number))
    with timings.phase("decode"):
        return size, await asyncio.to_thread(codec.decode, total, shares)


async def _give_share(setting: Setting, mspid: str, codec: Ours, hub: "_Hub", number: int, timings: Timings) -> None:
    """A quorum member trusts no aggregator: it fetches the ciphertexts and adds them itself, then gives its share."""
    own = ckks.RunningSum(codec.public_key, count=setting.parameters)
    for other in setting.hospitals:
        with timings.phase("fetch ciphertexts"):
            blob = await hub.get(_update(number, other))
        with timings.phase("recompute the sum"):
            await asyncio.to_thread(own.add, blob)
    with timings.phase("partial decryption"):
        share = await asyncio.to_thread(lambda: codec.share(own.to_bytes()))
    await hub.bring(_share(number, mspid), share)


class _Hub:
    """The aggregator's exchange as a hospital uses it."""

    def __init__(self, stub: Any, limit_bytes: int) -> None:
        self._stub, self._limit_bytes = stub, limit_bytes

    async def bring(self, name: Name, blob: bytes) -> None:
        await upload(self._stub, name, blob, timeout_seconds=_TIMEOUT_SECONDS, whom="the aggregator")

    async def get(self, name: Name) -> bytes:
        return await fetch(self._stub, name, limit_bytes=self._limit_bytes, timeout_seconds=_TIMEOUT_SECONDS, whom="the aggregator")


def _vector(setting: Setting, place: int, number: int) -> Vector:
    return np.random.default_rng((place, number)).uniform(-BOUND, BOUND, setting.parameters)


def _update(number: int, mspid: str) -> Name:
    return Name(TASK, number, exchange_pb2.BLOB_KIND_CIPHERTEXT, mspid)


def _share(number: int, mspid: str) -> Name:
    return Name(TASK, number, exchange_pb2.BLOB_KIND_DECRYPTION_SHARE, mspid)


def _sum(number: int) -> Name:
    return Name(TASK, number, exchange_pb2.BLOB_KIND_SUM, AGGREGATOR)
