"""Which version of the contract is in force, as the embedded ledger records it in its blocks and holds to it."""

from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.crypto import load_signing_identity
from fabric.devledger.config import LedgerConfig
from fabric.devledger.errors import DevLedgerError
from fabric.devledger.opening import open_channel
from fabric.devledger.server import start
from fabric.devledger.store import open_store
from fabric.lifecycle import NAMESPACE, Definition, MalformedDefinition, read_definition
from fabric.transactions import EndorserTransaction, parse_envelope
from fabric.verify import VerifiedLedger, verify_blocks
from tests.support import key_value_contract
from tests.support.chain import NOW
from tests.support.ledger import prepare, running
from tests.support.raw_client import raw_client


@pytest.fixture
def config(tmp_path: Path) -> LedgerConfig:
    return prepare(tmp_path, mspids=("AlphaMSP", "BetaMSP", "GammaMSP")).config


def verified(config: LedgerConfig) -> VerifiedLedger:
    store = open_store(config.ledger.data)
    ledger = verify_blocks(common_pb2.Block.FromString(store.block(number)) for number in range(store.height))
    store.close()
    return ledger


def in_force(config: LedgerConfig) -> Definition | None:
    ledger = verified(config)
    return read_definition(config.ledger.chaincode, lambda key: ledger.state.value(NAMESPACE, key))


async def open_under(config: LedgerConfig, rules: str) -> int:
    """Start and stop the ledger; returns its height in between."""
    ledger = await start(config, rules=rules)
    height = ledger.height
    await ledger.stop()
    return height


async def test_each_version_is_defined_once(config: LedgerConfig) -> None:
    heights = [await open_under(config, rules) for rules in ("1.0", "1.0", "1.2", "1.2", "1.10")]
    assert heights == [2, 2, 3, 3, 4]
    assert in_force(config) == Definition("consortium", "1.10", 3)


@pytest.mark.parametrize("rules", ["1.9", "0.99", "1.0"])
async def test_a_contract_that_is_too_old_for_the_ledger_is_refused(config: LedgerConfig, rules: str) -> None:
    await open_under(config, "1.10")
    with pytest.raises(DevLedgerError, match=rf"^the ledger is under contract 1\.10, .* contract is {rules}, .* is 1\.10 or later$"):
        await start(config, rules=rules)
    assert await open_under(config, "1.10") == 2  # and nothing was written


async def test_a_ledger_made_before_there_were_definitions_gets_its_first(config: LedgerConfig) -> None:
    store = open_store(config.ledger.data)
    open_channel(store, config, load_signing_identity("OrdererMSP", config.orderer.certificate, config.orderer.private_key), NOW)
    store.close()
    assert in_force(config) is None
    assert await open_under(config, "1.1") == 2
    assert in_force(config) == Definition("consortium", "1.1", 1)


async def test_transactions_name_the_version_that_endorsed_them(tmp_path: Path) -> None:
    network = prepare(tmp_path, mspids=("AlphaMSP",))
    for rules in ("1.1", "1.2"):
        async with (
            running(network, contract=key_value_contract.invoke, rules=rules),
            raw_client(network, network.identity("AlphaMSP")) as client,
        ):
            _, code, number = await client.submit(b"put", b"k", rules.encode())
            assert code == transaction_pb2.VALID
        store = open_store(network.config.ledger.data)
        transaction = parse_envelope(common_pb2.Block.FromString(store.block(number)).data.data[0])
        store.close()
        assert isinstance(transaction, EndorserTransaction)
        assert transaction.chaincode_version == rules


async def test_every_organisation_endorses_a_definition(config: LedgerConfig) -> None:
    await open_under(config, "1.1")
    store = open_store(config.ledger.data)
    transaction = parse_envelope(common_pb2.Block.FromString(store.block(1)).data.data[0])
    store.close()
    assert isinstance(transaction, EndorserTransaction)
    assert transaction.chaincode == NAMESPACE
    assert len(transaction.endorsements) == 3


def test_a_definition_is_read_as_it_was_written() -> None:
    definition = Definition("consortium", "1.12", 34)
    state = {write.key: write.value for write in definition.rwset.writes}
    assert read_definition("consortium", state.get) == definition
    assert read_definition("another", state.get) is None
    state["namespaces/fields/consortium/Sequence"] = b"\xff"
    with pytest.raises(MalformedDefinition, match="consortium cannot be read"):
        read_definition("consortium", state.get)
