"""What survives: kill -9 in the middle of commits, a stop, a second start, damaged data, a port in use."""

import asyncio
import shutil
import signal
import socket
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.devledger.config import LedgerConfig
from fabric.devledger.errors import DevLedgerError
from fabric.devledger.server import DevLedger
from fabric.devledger.server import start as start_server
from fabric.devledger.store import open_store
from fabric.verify import VerifiedLedger, verify_blocks
from tests.support import key_value_contract
from tests.support.ledger import Network, RunningNetwork, free_port, ledger_process, prepare, running
from tests.support.raw_client import RawClient, details, position, raw_client


async def start(config: LedgerConfig) -> DevLedger:
    return await start_server(config, contract=key_value_contract.invoke)


def verified(folder: Path) -> VerifiedLedger:
    """Verify the stored chain as an auditor does, and compare the stored state with the one recomputed from the blocks."""
    store = open_store(folder)
    try:
        ledger = verify_blocks(common_pb2.Block.FromString(store.block(number)) for number in range(store.height))
        with store.snapshot() as state:
            assert {key: entry.value for key, entry in state.range("", "")} == ledger.state.public("consortium")
    finally:
        store.close()
    return ledger


@dataclass
class Writers:
    """Clients that write until the ledger dies; `acknowledged` holds what they were told is committed."""

    client: RawClient
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, name: int, until: int) -> None:
        number = 0
        while True:
            proposal = self.client.proposal(b"increment", f"counter-{name}-{number % 3}".encode())
            number += 1
            try:
                await self.client.send(proposal.tx_id, self.client.envelope(await self.client.endorse(proposal)))
                self.acknowledged[proposal.tx_id] = await self.client.status(proposal.tx_id)
            except grpc.aio.AioRpcError:
                return
            if len(self.acknowledged) >= until:
                self.enough.set()


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    network = prepare(tmp_path, mspids=("AlphaMSP", "BetaMSP"))
    acknowledged: dict[str, tuple[int, int]] = {}
    for until in (1, 7, 40):
        async with ledger_process(network, key_value=True) as process, raw_client(network, network.identity("AlphaMSP")) as client:
            for tx_id, status in acknowledged.items():
                assert await client.status(tx_id) == status
            writers = Writers(client)
            tasks = [asyncio.ensure_future(writers.write(name, until)) for name in range(6)]
            await writers.enough.wait()
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await asyncio.gather(*tasks)
            acknowledged |= writers.acknowledged
        ledger = verified(network.config.ledger.data)
        assert ledger.valid >= len(acknowledged)
    assert len(acknowledged) >= 48
    assert {code for code, _ in acknowledged.values()} == {transaction_pb2.VALID}


async def test_a_stopped_ledger_goes_on_where_it_was(tmp_path: Path) -> None:
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
        tx_id, code, number = await client.submit(b"put", b"k", b"before")
    async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
        assert await client.status(tx_id) == (code, number)
        assert await client.evaluate(client.proposal(b"get", b"k")) == b"before"
        assert (await client.submit(b"put", b"k", b"after"))[1:] == (transaction_pb2.VALID, number + 1)
    assert verified(network.config.ledger.data).height == number + 2


async def test_a_stop_releases_all_who_wait(tmp_path: Path) -> None:
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    async with raw_client(network, network.identity("AlphaMSP")) as client:
        async with running(network, contract=key_value_contract.invoke):
            await client.submit(b"put", b"k", b"v")
            waiting = asyncio.ensure_future(client.status("0" * 64))
            stream = client.deliver.Deliver(iter([client.seek(position(1), position(2**62))]))
            assert [(await stream.read()).block.header.number for _ in range(2)] == [1, 2]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await waiting
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await stream.read()).status == common_pb2.SERVICE_UNAVAILABLE


async def test_a_full_disk_is_reported_and_the_same_transaction_passes_later(tmp_path: Path) -> None:
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    async with running(network, contract=key_value_contract.invoke) as ledger, raw_client(network, network.identity("AlphaMSP")) as client:
        proposal = client.proposal(b"put", b"large", bytes([1]) * 500_000)
        envelope = client.envelope(await client.endorse(proposal))
        limit_pages(ledger, 20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.send(proposal.tx_id, envelope)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "free disk space" in details(caught.value)[0][1]
        limit_pages(ledger, 1_000_000)
        await client.send(proposal.tx_id, envelope)
        assert await client.status(proposal.tx_id) == (transaction_pb2.VALID, 2)
    assert verified(network.config.ledger.data).height == 3


def limit_pages(network: RunningNetwork, pages: int) -> None:
    """Let the database grow to `pages` pages and no further, as a full disk would."""
    network.server._store._write.execute(f"PRAGMA max_page_count = {pages}")


async def test_a_block_stays_small_enough_for_the_clients_limits(tmp_path: Path) -> None:
    """gRPC clients take 4 MiB a message by default, so a block is closed once it has passed 2 MiB."""
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
        proposals = [client.proposal(b"put", f"k{number}".encode(), bytes([1]) * 400_000) for number in range(12)]
        envelopes = [client.envelope(await client.endorse(proposal)) for proposal in proposals]
        await asyncio.gather(*(client.send(p.tx_id, envelope) for p, envelope in zip(proposals, envelopes, strict=True)))
    store = open_store(network.config.ledger.data)
    sizes = [len(store.block(number) or b"") for number in range(store.height)]
    store.close()
    assert sum(sizes) > 9_000_000
    assert max(sizes) < 4 * 1024 * 1024


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network whose ledger holds a few blocks and is not running."""
    network = prepare(tmp_path_factory.mktemp("written"), mspids=("AlphaMSP", "BetaMSP"))

    async def write() -> None:
        async with running(network, contract=key_value_contract.invoke), raw_client(network, network.identity("AlphaMSP")) as client:
            for value in (b"1", b"2", b"3"):
                await client.submit(b"put", b"k", value)

    asyncio.run(write())
    return network


def copied(network: Network, folder: Path, **changes: object) -> LedgerConfig:
    """The configuration with the data copied to `folder`, so that a test may damage it."""
    shutil.copytree(network.config.ledger.data, folder)
    return network.config.model_copy(update={"ledger": network.config.ledger.model_copy(update={"data": folder}), **changes})


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("DELETE FROM blocks WHERE number = 0", "block 0 is missing"),
        ("DELETE FROM blocks WHERE number = 1", "block 1 is missing"),
        ("UPDATE blocks SET block = x'ffff' WHERE number = 1", "block 1 cannot be read"),
        ("DELETE FROM blocks WHERE number = 3", "block 3 is missing"),
        ("UPDATE blocks SET block = x'ffff' WHERE number = 4", "block 4 cannot be read"),
        ("UPDATE blocks SET block = (SELECT block FROM blocks WHERE number = 2) WHERE number = 4", "block 4 does not hold the data"),
        ("UPDATE blocks SET block = (SELECT block FROM blocks WHERE number = 2) WHERE number = 3", "block 4 does not follow block 3"),
        ("DELETE FROM blocks WHERE number = 4", "the state of key 'k' is not what block 3 wrote"),
        ("DELETE FROM transactions WHERE block = 4", "is not in the index"),
        ("UPDATE state SET value = '9'", "the state of key 'k' is not what block 4 wrote"),
        ("DELETE FROM state", "the state of key 'k' is not what block 4 wrote"),
    ],
)
async def test_damaged_data_is_named_at_the_start(written: Network, tmp_path: Path, statement: str, reason: str) -> None:
    config = copied(written, tmp_path / "data")
    with sqlite3.connect(tmp_path / "data" / "ledger.sqlite") as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(DevLedgerError, match=rf"is damaged: .*{reason}"):
        await start(config)


async def test_a_tip_signed_by_nobody_is_refused(written: Network, tmp_path: Path) -> None:
    config = copied(written, tmp_path / "data")
    with sqlite3.connect(tmp_path / "data" / "ledger.sqlite") as connection:
        block = common_pb2.Block.FromString(connection.execute("SELECT block FROM blocks WHERE number = 4").fetchone()[0])
        block.metadata.metadata[0] = block.metadata.metadata[0][:-1] + bytes([block.metadata.metadata[0][-1] ^ 1])
        connection.execute("UPDATE blocks SET block = ? WHERE number = 4", (block.SerializeToString(),))
    connection.close()
    with pytest.raises(DevLedgerError, match="is damaged"):
        await start(config)


async def test_other_organisations_or_another_channel_are_refused(written: Network, tmp_path: Path) -> None:
    fewer = copied(written, tmp_path / "fewer", organisations=written.config.organisations[:1])
    with pytest.raises(DevLedgerError, match="differ from the configuration"):
        await start(fewer)
    other = copied(written, tmp_path / "other")
    with pytest.raises(DevLedgerError, match="holds channel 'consortium'"):
        await start(other.model_copy(update={"ledger": other.ledger.model_copy(update={"channel": "elsewhere"})}))


async def test_two_ledgers_on_one_folder_are_refused(written: Network, tmp_path: Path) -> None:
    config = copied(written, tmp_path / "data")
    first = await start(config)
    try:
        with pytest.raises(DevLedgerError, match="in use by another ledger process"):
            await start(config)
    finally:
        await first.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_port_in_use_is_named_and_the_folder_is_free_again(written: Network, tmp_path: Path, host: str) -> None:
    """Also where only one of the addresses of "localhost" is taken."""
    config = copied(written, tmp_path / "data")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"{host}:{taken.getsockname()[1]}"
        busy = config.model_copy(update={"ledger": config.ledger.model_copy(update={"listen": listen})})
        with pytest.raises(DevLedgerError, match=f"^{listen} is in use by another process; stop that one or change") as caught:
            await start(busy)
        assert "\n" not in str(caught.value)
    await (await start(config)).stop()


async def test_missing_or_mixed_up_files_are_named(written: Network, tmp_path: Path) -> None:
    config = copied(written, tmp_path / "data")
    first, second = config.organisations
    for organisation, message in (
        (first.model_copy(update={"peer_certificate": tmp_path / "absent.pem"}), "absent.pem"),
        (first.model_copy(update={"peer_private_key": second.peer_private_key}), "is not the key of"),
        (first.model_copy(update={"ca": tmp_path / "absent-ca.pem"}), r"cannot read .*absent-ca\.pem"),
    ):
        with pytest.raises(DevLedgerError, match=message):
            await start(config.model_copy(update={"organisations": (organisation, second)}))
    mixed = config.ledger.model_copy(update={"tls_private_key": second.peer_private_key, "listen": f"localhost:{free_port()}"})
    with pytest.raises(DevLedgerError, match="cannot listen on"):
        await start(config.model_copy(update={"ledger": mixed}))
