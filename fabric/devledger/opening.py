"""Opening a ledger: its first block from the configuration, or the check that what lies on disk is whole and is this channel's."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2
from google.protobuf.message import DecodeError

from fabric.blocks import MalformedBlock, block_signatures, build_block, data_hash, header_hash, transaction_codes
from fabric.channel import ChannelConfig, ChannelConfigError, genesis_envelope
from fabric.crypto import IdentityError, SigningIdentity, verify_signature
from fabric.devledger.config import LedgerConfig
from fabric.devledger.errors import DevLedgerError
from fabric.devledger.store import Store, TransactionRecord
from fabric.lifecycle import NAMESPACE
from fabric.msp import Msp
from fabric.rwset import Version
from fabric.transactions import EndorserTransaction, MalformedTransaction, parse_envelope


class _Damaged(Exception):  # noqa: N818 - a finding about data, turned into DevLedgerError where the folder is known
    """What is wrong with the stored chain."""


def open_channel(store: Store, config: LedgerConfig, orderer: SigningIdentity, now: datetime) -> ChannelConfig:
    """Write the first block into an empty store, or check an existing one; return the channel's configuration.

    Raises DevLedgerError if the data is damaged or belongs to a channel with another name or other organisations.
    """
    application, ordering = _application(config), _ordering(config)
    if store.height == 0:
        _write_genesis(store, config, application, ordering, orderer, now)
    try:
        channel = ChannelConfig.parse(_block(store, 0).data.data[0])
        _check_tip(store, channel)
    except (_Damaged, ChannelConfigError, MalformedBlock, MalformedTransaction, IdentityError, IndexError) as error:
        raise DevLedgerError(f"the ledger in {config.ledger.data} is damaged: {error}; restore the folder from a copy") from error
    if channel.channel != config.ledger.channel or {*channel.application, *channel.orderer} != {*application, *ordering}:
        raise DevLedgerError(
            f"{config.ledger.data} holds channel {channel.channel!r} with organisations or authorities that differ from the "
            "configuration; restore the configuration it was made with or choose another data folder"
        )
    return channel


def _application(config: LedgerConfig) -> list[Msp]:
    return [Msp(o.mspid, (_read(o.ca),), tls_root_certs=(_read(o.tls_ca),)) for o in config.organisations]


def _ordering(config: LedgerConfig) -> list[Msp]:
    return [Msp(config.orderer.mspid, (_read(config.orderer.ca),))]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DevLedgerError(f"cannot read {path}: {error.strerror}") from error


def _write_genesis(
    store: Store, config: LedgerConfig, application: Sequence[Msp], ordering: Sequence[Msp], orderer: SigningIdentity, now: datetime
) -> None:
    envelope = genesis_envelope(
        config.ledger.channel, application, ordering, orderer, secrets.token_bytes(24), timestamp=now, endpoints=(config.ledger.listen,)
    )
    block = build_block(0, b"", [envelope], [transaction_pb2.VALID], orderer, 0, secrets.token_bytes(24))
    store.append(0, block.SerializeToString(), [TransactionRecord(parse_envelope(envelope).tx_id, transaction_pb2.VALID)])


def _check_tip(store: Store, channel: ChannelConfig) -> None:
    """The newest block is signed, joined to the one before, indexed, and its writes are the state's."""
    number = store.height - 1
    tip = _block(store, number)
    if tip.header.number != number or tip.header.data_hash != data_hash(tip.data.data):
        raise _Damaged(f"block {number} does not hold the data that its header names")
    if number and tip.header.previous_hash != header_hash(_block(store, number - 1).header):
        raise _Damaged(f"block {number} does not follow block {number - 1}")
    for signature in block_signatures(tip):
        verify_signature(channel.members.authenticate(signature.creator, None).certificate, signature.signed_bytes, signature.signature)
    transactions = [parse_envelope(data) for data in tip.data.data]
    for transaction in transactions:
        if store.transaction(transaction.tx_id) is None:
            raise _Damaged(f"transaction {transaction.tx_id} of block {number} is not in the index")
    last_writes: dict[str, tuple[Version, bytes | None]] = {}
    for position, (transaction, code) in enumerate(zip(transactions, transaction_codes(tip), strict=True)):
        if code == transaction_pb2.VALID and isinstance(transaction, EndorserTransaction) and transaction.chaincode != NAMESPACE:
            for key, _ in transaction.policies:
                last_writes.pop(key, None)  # a policy alone moves the version and says nothing of the value
            last_writes.update({write.key: (Version(number, position), write.value) for write in transaction.writes})
    _check_state(store, last_writes)


def _check_state(store: Store, last_writes: dict[str, tuple[Version, bytes | None]]) -> None:
    with store.snapshot() as state:
        for key, (version, value) in last_writes.items():
            entry = state.get(key)
            found = (entry.version, entry.value) if entry else None
            if found != (None if value is None else (version, value)):
                raise _Damaged(f"the state of key {key!r} is not what block {version.block} wrote")


def _block(store: Store, number: int) -> common_pb2.Block:
    data = store.block(number)
    if data is None:
        raise _Damaged(f"block {number} is missing")
    try:
        return common_pb2.Block.FromString(data)
    except DecodeError as error:
        raise _Damaged(f"block {number} cannot be read") from error
