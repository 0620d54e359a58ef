"""The exchange between gateways, over real mutual TLS: who may bring and fetch what, and what is refused before it is buffered."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from consortium.v1 import exchange_pb2, exchange_pb2_grpc

from fabric.devpki import Organisation, create_organisation
from fabric.tls import TlsIdentity
from gateway.aggregator.blobs import BlobConflictError, BlobStore, Name
from gateway.aggregator.exchange import ExchangeService
from gateway.errors import InputError, Unavailable, VerificationFailed
from gateway.rpc import CHUNK_BYTES, new_server, open_channel
from gateway.transfer import fetch, send, upload
from gateway.trust_roots import TrustRoots

TASK = "task-1"
LIMIT_BYTES = 3 * CHUNK_BYTES
CIPHERTEXT = Name(TASK, 1, exchange_pb2.BLOB_KIND_CIPHERTEXT, "AlphaMSP")


class Membership:
    async def participants(self, task_id: str) -> frozenset[str]:
        return frozenset({"AlphaMSP", "BetaMSP"}) if task_id == TASK else frozenset()

    async def blob_limit_bytes(self, task_id: str) -> int:
        return LIMIT_BYTES


@dataclass
class Exchange:
    endpoint: str
    organisations: dict[str, Organisation]
    store: BlobStore

    def channel(self, mspid: str, *, at: str | None = None) -> grpc.aio.Channel:
        files = self.organisations[mspid].files("gateway")
        tls = TlsIdentity(files.tls_certificate.read_bytes(), files.tls_private_key.read_bytes())
        return open_channel(self.endpoint, tls, self.organisations["AlphaMSP"].tls_ca.read_bytes())


@pytest.fixture(scope="module")
def organisations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Organisation]:
    folder = tmp_path_factory.mktemp("organisations")
    return {
        m: create_organisation(folder / m, m, identities={"gateway": "client"}) for m in ("AlphaMSP", "BetaMSP", "OtherMSP", "StrangerMSP")
    }


@asynccontextmanager
async def running(organisations: dict[str, Organisation], folder: Path) -> AsyncIterator[Exchange]:
    # The stranger's root is not in the channel's configuration.
    roots = TrustRoots({m: (o.tls_ca.read_bytes(),) for m, o in organisations.items() if m != "StrangerMSP"})
    files = organisations["AlphaMSP"].files("gateway")
    tls = TlsIdentity(files.tls_certificate.read_bytes(), files.tls_private_key.read_bytes())
    server, credentials = new_server(lambda: tls, roots)
    store = BlobStore(folder)
    exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(ExchangeService(store, Membership(), roots), server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield Exchange(f"127.0.0.1:{port}", organisations, store)
    finally:
        await server.stop(None)


async def bring(exchange: Exchange, mspid: str, name: Name, data: bytes) -> None:
    async with exchange.channel(mspid) as channel:
        await upload(exchange_pb2_grpc.ExchangeServiceStub(channel), name, data, timeout_seconds=10, whom="the hub")


async def get(exchange: Exchange, mspid: str, name: Name, *, timeout_seconds: float = 10) -> bytes:
    async with exchange.channel(mspid) as channel:
        stub = exchange_pb2_grpc.ExchangeServiceStub(channel)
        return await fetch(stub, name, limit_bytes=LIMIT_BYTES, timeout_seconds=timeout_seconds, whom="the hub")


async def test_a_blob_of_several_chunks_arrives_whole(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    data = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"rest"
    async with running(organisations, tmp_path) as exchange:
        await bring(exchange, "AlphaMSP", CIPHERTEXT, data)
        assert await get(exchange, "BetaMSP", CIPHERTEXT) == data


async def test_a_fetch_waits_for_the_blob_to_come(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    async with running(organisations, tmp_path) as exchange:
        waiting = asyncio.create_task(get(exchange, "BetaMSP", CIPHERTEXT))
        await bring(exchange, "AlphaMSP", CIPHERTEXT, b"late")
        assert await waiting == b"late"


async def test_a_fetch_of_what_never_comes_ends_at_its_deadline(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    async with running(organisations, tmp_path) as exchange:
        with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED"):
            await get(exchange, "BetaMSP", CIPHERTEXT, timeout_seconds=0.3)


async def test_the_first_receipt_stands(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    async with running(organisations, tmp_path) as exchange:
        await bring(exchange, "AlphaMSP", CIPHERTEXT, b"first")
        await bring(exchange, "AlphaMSP", CIPHERTEXT, b"first")
        with pytest.raises(Unavailable, match="ALREADY_EXISTS"):
            await bring(exchange, "AlphaMSP", CIPHERTEXT, b"second")
        assert await get(exchange, "BetaMSP", CIPHERTEXT) == b"first"


async def test_nobody_brings_a_blob_in_another_s_name(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    async with running(organisations, tmp_path) as exchange:
        with pytest.raises(Unavailable, match="PERMISSION_DENIED"):
            await bring(exchange, "BetaMSP", CIPHERTEXT, b"forged")
        assert exchange.store.read(CIPHERTEXT) is None


async def test_who_takes_no_part_is_refused(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    async with running(organisations, tmp_path) as exchange:
        with pytest.raises(Unavailable, match="OtherMSP takes no part"):
            await bring(exchange, "OtherMSP", Name(TASK, 1, exchange_pb2.BLOB_KIND_CIPHERTEXT, "OtherMSP"), b"x")
        with pytest.raises(Unavailable, match="OtherMSP takes no part"):
            await get(exchange, "OtherMSP", CIPHERTEXT)


async def test_a_certificate_of_no_member_does_not_connect(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    async with running(organisations, tmp_path) as exchange:
        with pytest.raises(Unavailable, match="UNAVAILABLE"):
            await get(exchange, "StrangerMSP", CIPHERTEXT, timeout_seconds=2)


async def test_a_sealed_share_goes_to_its_recipient_only(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    name = Name(TASK, 0, exchange_pb2.BLOB_KIND_SEALED_KEY_SHARE, "AlphaMSP", "BetaMSP")
    async with running(organisations, tmp_path) as exchange:
        await bring(exchange, "AlphaMSP", name, b"sealed")
        assert await get(exchange, "BetaMSP", name) == b"sealed"
        with pytest.raises(Unavailable, match="PERMISSION_DENIED"):
            await get(exchange, "AlphaMSP", name)


async def test_an_oversized_blob_is_refused_before_its_bytes_are_read(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    async def header_alone() -> AsyncIterator[exchange_pb2.UploadRequest]:
        header = exchange_pb2.BlobHeader(name=CIPHERTEXT.message(), size=LIMIT_BYTES + 1, sha256=b"\0" * 32)
        yield exchange_pb2.UploadRequest(header=header)
        await asyncio.Event().wait()  # the answer must come although no byte of the blob ever does

    async with running(organisations, tmp_path) as exchange, exchange.channel("AlphaMSP") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await exchange_pb2_grpc.ExchangeServiceStub(channel).Upload(header_alone(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("change", ["altered", "cut", "longer", "reordered"])
async def test_bytes_that_are_not_the_announced_ones_are_refused(
    organisations: dict[str, Organisation], tmp_path: Path, change: str
) -> None:
    data = b"a" * CHUNK_BYTES + b"b" * 10

    async def parts() -> AsyncIterator[exchange_pb2.UploadRequest]:
        messages = [message async for message in send(exchange_pb2.UploadRequest, CIPHERTEXT, io.BytesIO(data))]
        header, first, second = messages
        match change:
            case "altered":
                messages = [header, first, exchange_pb2.UploadRequest(chunk=b"c" * 10)]
            case "cut":
                messages = [header, first]
            case "longer":
                messages = [header, first, second, second]
            case "reordered":
                messages = [header, second, first]
        for message in messages:
            yield message

    async with running(organisations, tmp_path) as exchange, exchange.channel("AlphaMSP") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await exchange_pb2_grpc.ExchangeServiceStub(channel).Upload(parts(), timeout=10)
        assert refused.value.code() in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.INVALID_ARGUMENT)
        assert exchange.store.read(CIPHERTEXT) is None


@pytest.mark.parametrize(
    "message",
    [
        exchange_pb2.BlobName(task_id="../x", kind=exchange_pb2.BLOB_KIND_SUM, owner="AlphaMSP"),
        exchange_pb2.BlobName(task_id=TASK, kind=exchange_pb2.BLOB_KIND_SUM, owner="../AlphaMSP"),
        exchange_pb2.BlobName(task_id=TASK, kind=exchange_pb2.BLOB_KIND_SUM, owner="AlphaMSP", recipient="a/b"),
        exchange_pb2.BlobName(task_id=TASK, kind=exchange_pb2.BLOB_KIND_SUM, owner="Alpha\0MSP"),
        exchange_pb2.BlobName(task_id=TASK, owner="AlphaMSP"),
        exchange_pb2.BlobName(task_id=TASK, kind=exchange_pb2.BLOB_KIND_SUM, owner="AlphaMSP", round=2**32 - 1),
    ],
)
def test_names_that_cannot_be_are_refused(message: exchange_pb2.BlobName) -> None:
    with pytest.raises(InputError):
        Name.parse(message)


async def test_the_store_survives_a_restart_without_half_written_blobs(tmp_path: Path) -> None:
    await BlobStore(tmp_path).put_own(CIPHERTEXT, b"whole")
    half = CIPHERTEXT.path(tmp_path).with_name("half.part")
    half.write_bytes(b"ha")
    store = BlobStore(tmp_path)
    assert not half.exists()
    assert await store.wait(CIPHERTEXT, timeout_seconds=1) == b"whole"


async def test_a_blob_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a part"
        raise VerificationFailed("not what was announced")

    store = BlobStore(tmp_path)
    with pytest.raises(VerificationFailed):
        await store.put(CIPHERTEXT, broken(), sha256=bytes(32))
    assert store.read(CIPHERTEXT) is None
    assert not list(CIPHERTEXT.path(tmp_path).parent.iterdir())


async def test_of_two_calls_at_once_the_first_stands(tmp_path: Path) -> None:
    second_is_done = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"slow"
        await second_is_done.wait()

    store = BlobStore(tmp_path)
    first = asyncio.create_task(store.put(CIPHERTEXT, slow(), sha256=hashlib.sha256(b"slow").digest()))
    await store.put_own(CIPHERTEXT, b"fast")
    second_is_done.set()
    with pytest.raises(BlobConflictError):
        await first
    assert store.read(CIPHERTEXT) == b"fast"


async def test_the_store_forgets_old_rounds(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    later = Name(TASK, 2, exchange_pb2.BLOB_KIND_CIPHERTEXT, "AlphaMSP")
    await store.put_own(CIPHERTEXT, b"one")
    await store.put_own(later, b"two")
    with pytest.raises(BlobConflictError):
        await store.put_own(later, b"three")
    store.forget(TASK, before_round=2)
    assert store.read(CIPHERTEXT) is None
    assert store.read(later) == b"two"


async def test_a_hub_that_stops_is_unavailable_and_cancels_nobody(organisations: dict[str, Organisation], tmp_path: Path) -> None:
    async with running(organisations, tmp_path) as exchange:
        waiting = asyncio.create_task(get(exchange, "BetaMSP", CIPHERTEXT))
        await asyncio.sleep(0.3)  # until the call waits in the hub
    with pytest.raises(Unavailable):
        await waiting
