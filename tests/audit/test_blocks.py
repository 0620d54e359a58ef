"""Block hashes against independent oracles: an ASN.1 library's encoding and plain SHA-256; envelopes that are hostile bytes."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from fabric_protos.common import common_pb2
from hypothesis import given
from hypothesis import strategies as st

from fabric.blocks import (
    MalformedBlock,
    block_signatures,
    build_block,
    data_hash,
    header_bytes,
    header_hash,
    orderer_metadata,
    transaction_codes,
)
from fabric.channel import ChannelConfig, ChannelConfigError
from fabric.rwset import Version
from fabric.transactions import ConfigTransaction, EndorserTransaction, MalformedTransaction, parse_envelope, parse_proposal
from tests.support.chain import CHANNEL, NOW, Consortium


@given(number=st.integers(0, 2**64 - 1), previous=st.binary(max_size=300), data=st.binary(max_size=40))
def test_header_bytes_are_der(number: int, previous: bytes, data: bytes) -> None:
    encoded = header_bytes(common_pb2.BlockHeader(number=number, previous_hash=previous, data_hash=data))
    tag, body, rest = _read_der(encoded)
    assert (tag, rest) == (0x30, b"")
    integer_tag, integer, body = _read_der(body)
    # A DSA signature is a DER sequence of two integers: the library's own encoding of the number stands first in it.
    assert _read_der(_read_der(encode_dss_signature(number, 0))[1])[:2] == (integer_tag, integer)
    assert _read_der(body)[:2] == (0x04, previous)
    assert _read_der(_read_der(body)[2]) == (0x04, data, b"")


def _read_der(data: bytes) -> tuple[int, bytes, bytes]:
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
        assert length >= 0x80
        assert data[2] != 0
    return data[0], data[start : start + length], data[start + length :]


def test_a_built_block_names_what_it_holds() -> None:
    chain = Consortium()
    orderer = chain.orderer.orderer
    block = build_block(7, b"p" * 32, [b"one", b"two"], [0, 11], orderer, 3, b"n" * 24)
    assert block.header.data_hash == data_hash([b"one", b"two"]) == hashlib.sha256(b"onetwo").digest()
    assert transaction_codes(block) == (0, 11)
    assert orderer_metadata(block).last_config.index == 3
    (signature,) = block_signatures(block)
    assert signature.creator == orderer.serialized
    assert signature.signed_bytes.endswith(header_bytes(block.header))
    assert header_hash(block.header) == hashlib.sha256(header_bytes(block.header)).digest()
    with pytest.raises(ValueError, match="validation codes"):
        build_block(7, b"", [b"one"], [], orderer, 0, b"")


def test_metadata_that_cannot_be_read_is_one_error() -> None:
    block = common_pb2.Block()
    with pytest.raises(MalformedBlock, match="missing"):
        block_signatures(block)
    block.metadata.metadata.append(b"\xff")
    with pytest.raises(MalformedBlock, match="not a Metadata"):
        block_signatures(block)
    assert transaction_codes(block) == ()


def test_a_transaction_is_read_as_it_was_built() -> None:
    chain = Consortium()
    transaction = parse_envelope(
        chain.transaction(b"put", b"x", reads=[("a", (1, 2)), ("b", None)], writes=[("a", b"v"), ("b", None)], event=("done", b"payload"))
    )
    assert isinstance(transaction, EndorserTransaction)
    assert (transaction.function, transaction.args, transaction.channel) == ("put", (b"put", b"x"), CHANNEL)
    assert [(read.key, read.version) for read in transaction.reads] == [("a", Version(1, 2)), ("b", None)]
    assert [(write.key, write.value) for write in transaction.writes] == [("a", b"v"), ("b", None)]
    assert transaction.event is not None
    assert (transaction.event.name, transaction.event.payload, transaction.event.tx_id) == ("done", b"payload", transaction.tx_id)
    assert (transaction.timestamp, len(transaction.endorsements)) == (NOW, 2)


def test_the_first_block_holds_the_configuration() -> None:
    chain = Consortium()
    envelope = chain.blocks[0].data.data[0]
    assert isinstance(parse_envelope(envelope), ConfigTransaction)
    config = ChannelConfig.parse(envelope)
    assert (config.channel, config.sequence) == (CHANNEL, 0)
    assert config.application == tuple(hospital.msp for hospital in chain.hospitals)
    assert config.orderer == (chain.orderer.msp,)
    with pytest.raises(ChannelConfigError, match="not a channel configuration"):
        ChannelConfig.parse(chain.transaction())


@given(st.binary(max_size=200))
def test_random_bytes_are_one_error(data: bytes) -> None:
    for parse in (parse_envelope, parse_proposal):
        with pytest.raises(MalformedTransaction):
            parse(data)
    with pytest.raises(ChannelConfigError):
        ChannelConfig.parse(data)


_ENVELOPE = Consortium().transaction(writes=[("k", b"v")], event=("e", b"p"))


@given(position=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_a_damaged_envelope_is_read_or_refused(position: float, mask: int) -> None:
    damaged = bytearray(_ENVELOPE)
    damaged[int(position * len(damaged))] ^= mask
    try:
        transaction = parse_envelope(bytes(damaged))
    except MalformedTransaction:
        return
    assert isinstance(transaction, EndorserTransaction | ConfigTransaction)
