"""Blocks recorded from real Fabric networks (see vectors/README.md): three organisations, one Raft orderer, hostile transactions.

They hold what the embedded ledger never writes: lifecycle transactions with private data, commit hashes, configuration updates,
Merkle summaries of range queries, and one transaction for each way of being invalid. The codes are the peers' own.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2, configtx_pb2

from fabric.blocks import COMMIT_HASH, LAST_CONFIG, TRANSACTIONS_FILTER
from fabric.channel import ChannelConfig, ChannelConfigError
from fabric.config_update import check_config_update
from fabric.transactions import EndorserTransaction, parse_envelope
from fabric.verify import Step, VerificationError, verify_blocks
from gateway.auditor.export import read_blocks
from gateway.auditor.verify import verify_file
from tests.support.ledger_file import write_ledger

VECTORS = sorted((Path(__file__).parent / "vectors").glob("fabric-*.blocks.gz"))
CODES = {
    "VALID",
    "MVCC_READ_CONFLICT",
    "PHANTOM_READ_CONFLICT",
    "ENDORSEMENT_POLICY_FAILURE",
    "DUPLICATE_TXID",
    "INVALID_ENDORSER_TRANSACTION",
    "BAD_PROPOSAL_TXID",
    "BAD_RESPONSE_PAYLOAD",
    "BAD_RWSET",
    "INVALID_CHAINCODE",
    "INVALID_OTHER_REASON",
    "ILLEGAL_WRITESET",
    "BAD_COMMON_HEADER",
}


@pytest.fixture(scope="module", params=VECTORS, ids=lambda path: path.name.removesuffix(".blocks.gz"))
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[common_pb2.Block]:
    path = tmp_path_factory.mktemp("fabric") / "blocks"
    path.write_bytes(gzip.decompress(request.param.read_bytes()))
    return list(read_blocks(path))


@pytest.fixture
def blocks(recorded: list[common_pb2.Block]) -> list[common_pb2.Block]:
    return [common_pb2.Block.FromString(block.SerializeToString()) for block in recorded]


def config_blocks(blocks: list[common_pb2.Block]) -> list[int]:
    return [number for number, block in enumerate(blocks) if not isinstance(parse_envelope_or_none(block), EndorserTransaction | None)]


def parse_envelope_or_none(block: common_pb2.Block) -> object:
    try:
        return parse_envelope(block.data.data[0])
    except ValueError:
        return None


def test_there_are_vectors() -> None:
    assert VECTORS


def test_a_real_ledger_verifies_with_the_codes_its_peers_gave(recorded: list[common_pb2.Block], tmp_path: Path) -> None:
    ledger = verify_blocks(recorded)
    assert ledger.organisations == ("AlphaMSP", "BetaMSP", "GammaMSP")
    assert set(ledger.codes) == CODES
    assert verify_file(write_ledger(tmp_path / "blocks", recorded)).verified


def test_the_configuration_was_updated_on_the_way(recorded: list[common_pb2.Block]) -> None:
    configs = [ChannelConfig.parse(recorded[number].data.data[0]) for number in config_blocks(recorded)]
    assert [config.sequence for config in configs] == [0, 1, 2]
    assert all(config.consensus == "etcdraft" for config in configs)
    assert configs[-1].application_groups == {name: name for name in ("AlphaMSP", "BetaMSP", "GammaMSP")}


def _without_signatures(update: configtx_pb2.ConfigUpdateEnvelope) -> None:
    del update.signatures[:]


def _one_signature(update: configtx_pb2.ConfigUpdateEnvelope) -> None:
    del update.signatures[1:]


def _other_channel(update: configtx_pb2.ConfigUpdateEnvelope) -> None:
    changed = configtx_pb2.ConfigUpdate.FromString(update.config_update)
    changed.channel_id = "another"
    update.config_update = changed.SerializeToString()


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (_without_signatures, "not signed as its policy"),
        (_one_signature, "not signed as its policy"),
        (_other_channel, "for channel"),
    ],
)
def test_an_update_needs_its_signatures(
    recorded: list[common_pb2.Block],
    tamper: Callable[[configtx_pb2.ConfigUpdateEnvelope], None],
    reason: str,
) -> None:
    before, after = (recorded[number].data.data[0] for number in config_blocks(recorded)[1:3])
    config = ChannelConfig.parse(before)
    check_config_update(config, before, after)
    with pytest.raises(ChannelConfigError, match=reason):
        check_config_update(config, before, edited(after, tamper))


def test_an_update_must_give_the_configuration_it_comes_with(recorded: list[common_pb2.Block]) -> None:
    before, after = (recorded[number].data.data[0] for number in config_blocks(recorded)[1:3])

    def smuggle(config: configtx_pb2.ConfigEnvelope) -> None:
        config.config.channel_group.groups["Application"].groups["AlphaMSP"].values["MSP"].value = b""

    with pytest.raises(ChannelConfigError, match="does not give the new configuration"):
        check_config_update(ChannelConfig.parse(before), before, edited_config(after, smuggle))
    with pytest.raises(ChannelConfigError, match="does not follow"):
        check_config_update(ChannelConfig.parse(after), after, after)


def edited(envelope_bytes: bytes, change: Callable[[configtx_pb2.ConfigUpdateEnvelope], None]) -> bytes:
    def inner(config: configtx_pb2.ConfigEnvelope) -> None:
        payload = common_pb2.Payload.FromString(config.last_update.payload)
        update = configtx_pb2.ConfigUpdateEnvelope.FromString(payload.data)
        change(update)
        payload.data = update.SerializeToString()
        config.last_update.payload = payload.SerializeToString()

    return edited_config(envelope_bytes, inner)


def edited_config(envelope_bytes: bytes, change: Callable[[configtx_pb2.ConfigEnvelope], None]) -> bytes:
    envelope = common_pb2.Envelope.FromString(envelope_bytes)
    payload = common_pb2.Payload.FromString(envelope.payload)
    config = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    change(config)
    payload.data = config.SerializeToString()
    envelope.payload = payload.SerializeToString()
    return bytes(envelope.SerializeToString())


def test_a_commit_hash_cannot_be_changed_or_left_out(blocks: list[common_pb2.Block]) -> None:
    slots = blocks[5].metadata.metadata
    for changed in (b"", slots[COMMIT_HASH][:-1] + bytes([slots[COMMIT_HASH][-1] ^ 1])):
        slots[COMMIT_HASH] = changed
        with pytest.raises(VerificationError) as caught:
            verify_blocks(blocks)
        assert (caught.value.block_number, caught.value.step) == (5, Step.METADATA)


def test_the_last_configuration_cannot_be_misstated(blocks: list[common_pb2.Block]) -> None:
    number = config_blocks(blocks)[1]
    blocks[number].metadata.metadata[LAST_CONFIG] = b""
    verify_blocks(blocks)  # the slot may stay empty, as the signed one says the same
    value = common_pb2.LastConfig(index=number - 1).SerializeToString()
    blocks[number].metadata.metadata[LAST_CONFIG] = common_pb2.Metadata(value=value).SerializeToString()
    with pytest.raises(VerificationError) as caught:
        verify_blocks(blocks)
    assert (caught.value.block_number, caught.value.step) == (number, Step.METADATA)


def test_no_code_of_a_real_ledger_can_be_changed(recorded: list[common_pb2.Block]) -> None:
    for number in range(1, len(recorded), 3):  # each costs a verification from the start
        block = common_pb2.Block.FromString(recorded[number].SerializeToString())
        codes = bytearray(block.metadata.metadata[TRANSACTIONS_FILTER])
        codes[0] = 4 if codes[0] == 0 else 0
        block.metadata.metadata[TRANSACTIONS_FILTER] = bytes(codes)
        with pytest.raises(VerificationError) as caught:
            verify_blocks([*recorded[:number], block])
        assert (caught.value.block_number, caught.value.step) == (number, Step.TRANSACTIONS)
