"""Which version of the contract is in force on the embedded ledger, recorded in its blocks as Fabric's lifecycle records it.

Starting the ledger with a newer contract is the upgrade: a block with the new definition comes before anything the new rules decide.
"""

import os
import time
from collections.abc import Sequence

from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2
from google.protobuf.message import DecodeError

from fabric.blocks import build_block, header_hash
from fabric.channel import ChannelConfig
from fabric.client.proposal import build
from fabric.contract.release import rules_number
from fabric.crypto import SigningIdentity
from fabric.devledger.errors import DevLedgerError
from fabric.devledger.store import Store, TransactionRecord
from fabric.lifecycle import NAMESPACE, Definition, read_definition
from fabric.transactions import (
    Endorsement,
    EndorserTransaction,
    Response,
    build_payload,
    build_response_payload,
    parse_envelope,
    parse_proposal,
)

_NONCE_BYTES = 24


def put_in_force(
    store: Store, channel: ChannelConfig, chaincode: str, rules: str, *, peers: Sequence[SigningIdentity], orderer: SigningIdentity
) -> None:
    """Commit a definition of the contract's `rules` (MAJOR.MINOR), endorsed by every organisation, unless they are in force already.

    Raises DevLedgerError where later rules are: an earlier contract would not understand what these have written.
    """
    current = _current(store, chaincode)
    if current is not None and current.version == rules:
        return
    if current is not None and rules_number(current.version) > rules_number(rules):
        raise DevLedgerError(
            f"the ledger is under contract {current.version}, and this program's contract is {rules}, which cannot read all of it; "
            f"start a program whose contract is {current.version} or later"
        )
    definition = Definition(chaincode, rules, 1 if current is None else current.sequence + 1)
    envelope = _commit(definition, channel.channel, peers)
    number = store.height
    previous = header_hash(_block(store, number - 1).header)
    block = build_block(number, previous, [envelope], [transaction_pb2.VALID], orderer, 0, os.urandom(_NONCE_BYTES))
    # The name under which the index finds the definition again stands there like a transaction's id, and can be none.
    ids = (parse_envelope(envelope).tx_id, _index_name(definition.chaincode, definition.sequence))
    store.append(number, block.SerializeToString(), [TransactionRecord(name, transaction_pb2.VALID) for name in ids])


def _current(store: Store, chaincode: str) -> Definition | None:
    """The last definition, found by its sequence."""
    found, sequence = None, 1
    while (place := store.transaction(_index_name(chaincode, sequence))) is not None:
        found, sequence = place.block, sequence + 1
    if found is None:
        return None
    transaction = parse_envelope(_block(store, found).data.data[0])
    assert isinstance(transaction, EndorserTransaction)  # only `put_in_force` writes such names into the index
    written = {write.key: write.value for write in transaction.writes}
    return read_definition(chaincode, written.get)


def _index_name(chaincode: str, sequence: int) -> str:
    return f"{NAMESPACE}/{chaincode}/{sequence}"


def _commit(definition: Definition, channel: str, peers: Sequence[SigningIdentity]) -> bytes:
    """Envelope bytes of the transaction, as the first organisation submits it and all endorse it."""
    creator = peers[0]
    signed = build(creator, channel, NAMESPACE, definition.arguments, {}, nonce=os.urandom(_NONCE_BYTES), time_ns=time.time_ns()).signed
    proposal = parse_proposal(signed.proposal_bytes)
    response = build_response_payload(
        proposal, chaincode_version="syscc", rwsets=[definition.rwset], response=Response(200, "", b""), event=None
    )
    endorsements = [Endorsement(peer.serialized, peer.sign(response + peer.serialized)) for peer in peers]
    payload = build_payload(proposal, response, endorsements)
    envelope: bytes = common_pb2.Envelope(payload=payload, signature=creator.sign(payload)).SerializeToString()
    return envelope


def _block(store: Store, number: int) -> common_pb2.Block:
    data = store.block(number)
    try:
        if data is None:
            raise DevLedgerError(f"the ledger's data is damaged: block {number} is missing; restore the folder from a copy")
        return common_pb2.Block.FromString(data)
    except DecodeError as error:
        raise DevLedgerError(f"the ledger's data is damaged: block {number} cannot be read; restore the folder from a copy") from error
