"""Fabric's block format: header hash, data hash, orderer signatures and the metadata slots.

Header bytes are ASN.1 DER `SEQUENCE { INTEGER number, OCTET STRING previous_hash, OCTET STRING data_hash }`, hashed with
SHA-256. An orderer signs the metadata value, its signature header and the header bytes, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError

from fabric.crypto import SigningIdentity, sha256

SIGNATURES, LAST_CONFIG, TRANSACTIONS_FILTER, ORDERER, COMMIT_HASH = range(5)
METADATA_SLOTS = 5


class MalformedBlock(ValueError):  # noqa: N818 - says what the bytes are
    """Bytes that should be a block or a part of one are not; the message says which part."""


@dataclass(frozen=True)
class BlockSignature:
    """One orderer's signature. `creator` is empty where a BFT orderer names itself by `consenter` id instead."""

    creator: bytes
    signed_bytes: bytes
    signature: bytes
    consenter: int | None = None


def header_bytes(header: common_pb2.BlockHeader) -> bytes:
    """DER of the header: what is hashed and what orderers sign."""
    number = header.number.to_bytes(header.number.bit_length() // 8 + 1, "big")
    return _der(0x30, _der(0x02, number) + _der(0x04, header.previous_hash) + _der(0x04, header.data_hash))


def header_hash(header: common_pb2.BlockHeader) -> bytes:
    """SHA-256 of the header's DER: the next block's `previous_hash`."""
    return sha256(header_bytes(header))


def data_hash(data: Sequence[bytes]) -> bytes:
    """SHA-256 over the concatenated envelopes, as Fabric computes it."""
    return sha256(b"".join(data))


def build_block(
    number: int,
    previous_hash: bytes,
    envelopes: Sequence[bytes],
    codes: Sequence[int],
    sign_with: SigningIdentity,
    last_config: int,
    nonce: bytes,
) -> common_pb2.Block:
    """A block signed by one orderer. `codes` are `TxValidationCode` values, one an envelope; `last_config` is a block number."""
    if len(codes) != len(envelopes):
        raise ValueError(f"{len(envelopes)} envelopes need as many validation codes, not {len(codes)}")
    block = common_pb2.Block()
    block.header.number = number
    block.header.previous_hash = previous_hash
    block.header.data_hash = data_hash(envelopes)
    block.data.data.extend(envelopes)
    value = common_pb2.OrdererBlockMetadata(last_config=common_pb2.LastConfig(index=last_config)).SerializeToString()
    signature_header = common_pb2.SignatureHeader(creator=sign_with.serialized, nonce=nonce).SerializeToString()
    signature = common_pb2.MetadataSignature(
        signature_header=signature_header, signature=sign_with.sign(value + signature_header + header_bytes(block.header))
    )
    signed = common_pb2.Metadata(value=value, signatures=[signature])
    block.metadata.metadata.extend([signed.SerializeToString(), b"", bytes(codes), b"", b""])
    return block


def signature_metadata(block: common_pb2.Block) -> common_pb2.Metadata:
    """The metadata slot that holds the orderers' signatures; raise MalformedBlock if it cannot be read."""
    return metadata_message(block, SIGNATURES)


def metadata_message(block: common_pb2.Block, slot: int) -> common_pb2.Metadata:
    """The `common.Metadata` message in a metadata slot; raise MalformedBlock if it is missing or not one."""
    if len(block.metadata.metadata) <= slot:
        raise MalformedBlock(f"metadata slot {slot} is missing")
    try:
        return common_pb2.Metadata.FromString(block.metadata.metadata[slot])
    except DecodeError as error:
        raise MalformedBlock(f"metadata slot {slot} is not a Metadata message") from error


def orderer_metadata(block: common_pb2.Block) -> common_pb2.OrdererBlockMetadata:
    """What the orderers signed beside the header: the last configuration block and the consenters' own record."""
    try:
        return common_pb2.OrdererBlockMetadata.FromString(signature_metadata(block).value)
    except DecodeError as error:
        raise MalformedBlock("the signed metadata value is not an OrdererBlockMetadata message") from error


def block_signatures(block: common_pb2.Block) -> list[BlockSignature]:
    """The orderers' signatures with the exact bytes each of them covers; raise MalformedBlock if they cannot be read."""
    metadata = signature_metadata(block)
    header = header_bytes(block.header)
    return [_signature(signature, metadata.value, header) for signature in metadata.signatures]


def transaction_codes(block: common_pb2.Block) -> tuple[int, ...]:
    """The recorded `TxValidationCode` of each transaction; empty where no peer has validated the block yet."""
    metadata = block.metadata.metadata
    return tuple(metadata[TRANSACTIONS_FILTER]) if len(metadata) > TRANSACTIONS_FILTER else ()


def _signature(signature: common_pb2.MetadataSignature, value: bytes, header: bytes) -> BlockSignature:
    try:
        if signature.signature_header:
            creator = common_pb2.SignatureHeader.FromString(signature.signature_header).creator
            return BlockSignature(creator, value + signature.signature_header + header, signature.signature)
        identifier = common_pb2.IdentifierHeader.FromString(signature.identifier_header).identifier
    except DecodeError as error:
        raise MalformedBlock("the header of an orderer's signature cannot be read") from error
    return BlockSignature(b"", value + signature.identifier_header + header, signature.signature, identifier)


def _der(tag: int, body: bytes) -> bytes:
    length = len(body)
    if length < 0x80:
        return bytes([tag, length]) + body
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + body
