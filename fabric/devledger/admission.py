"""The door for signed transactions: what an orderer checks, and what a validating peer checks of a transaction by itself.

Only transactions that the validation of a block can judge pass: a valid creator, a proper id, one chaincode, public keys only.
Bad endorsements do pass, because in Fabric they are recorded as invalid in the block; see `validation`.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.channel import ChannelConfig
from fabric.crypto import verify_signature
from fabric.devledger.ledger import BATCH, Submission
from fabric.devledger.own_transactions import Endorsed, OwnTransactions
from fabric.devledger.validation import endorsers
from fabric.msp import MspRegistry
from fabric.rwset import VALIDATION_PARAMETER, NamespaceRwset
from fabric.transactions import EndorserTransaction, MalformedTransaction, check_tx_id, parse_envelope, proposal_hash


class Admission:
    """Checks envelopes for one channel and its one chaincode; `clock` tells when certificates must be valid.

    `own` are the transactions that were assembled and endorsed in this process, and need no second look.
    """

    def __init__(self, channel: ChannelConfig, chaincode: str, clock: Callable[[], datetime], own: OwnTransactions) -> None:
        self._channel, self._chaincode, self._clock, self._own = channel, chaincode, clock, own
        self._organisations = MspRegistry({msp.mspid: msp for msp in channel.application})

    def accept(self, payload: bytes, signature: bytes) -> Submission:
        """Parse and check an envelope's two parts; anything else in it, which nobody signed, reaches no block.

        Raises MalformedTransaction if they are not a transaction of this chaincode, IdentityError if the creator is not a
        member of the channel whose certificate is valid now and whose signature is good.
        """
        envelope: bytes = common_pb2.Envelope(payload=payload, signature=signature).SerializeToString()
        if len(envelope) > BATCH.absolute_max_bytes:
            raise MalformedTransaction(transaction_pb2.INVALID_OTHER_REASON, f"the transaction exceeds {BATCH.absolute_max_bytes} bytes")
        endorsed = self._endorsed_here(payload, signature) or self._read(envelope)
        transaction = endorsed.transaction
        self._check_headers(transaction)
        self._check_effects(transaction)
        member = self._organisations.authenticate(transaction.creator, self._clock())
        verify_signature(member.certificate, transaction.payload, transaction.signature)
        return Submission(transaction, endorsed.endorsers, envelope)

    def _endorsed_here(self, payload: bytes, signature: bytes) -> Endorsed | None:
        own = self._own.take(payload)
        return None if own is None else Endorsed(replace(own.transaction, signature=signature), own.endorsers)

    def _read(self, envelope: bytes) -> Endorsed:
        transaction = parse_envelope(envelope)
        if not isinstance(transaction, EndorserTransaction):
            raise MalformedTransaction(transaction_pb2.UNSUPPORTED_TX_PAYLOAD, "the channel's configuration cannot be changed here")
        return Endorsed(transaction, endorsers(transaction, self._organisations))

    def _check_headers(self, transaction: EndorserTransaction) -> None:
        headers = transaction.headers
        if headers.channel != self._channel.channel:
            raise MalformedTransaction(transaction_pb2.TARGET_CHAIN_NOT_FOUND, f"channel {headers.channel!r} is not here")
        if headers.epoch != 0 or not headers.nonce:
            raise MalformedTransaction(transaction_pb2.BAD_COMMON_HEADER, "the epoch is not 0 or the nonce is empty")
        check_tx_id(headers)
        if transaction.proposal_hash != proposal_hash(headers, transaction.proposal_payload):
            raise MalformedTransaction(transaction_pb2.INVALID_ENDORSER_TRANSACTION, "the proposal hash does not match")

    def _check_effects(self, transaction: EndorserTransaction) -> None:
        names = {transaction.headers.chaincode, transaction.chaincode}
        names |= {transaction.event.chaincode} if transaction.event else set()
        if names != {self._chaincode} or not transaction.chaincode_version:
            raise MalformedTransaction(transaction_pb2.INVALID_CHAINCODE, f"the transaction is not one of chaincode {self._chaincode}")
        if len(transaction.rwsets) != 1 or not _is_public(transaction.rwsets[0], self._chaincode):
            reason = "the transaction touches more than the chaincode's public keys and their policies"
            raise MalformedTransaction(transaction_pb2.ILLEGAL_WRITESET, reason)


def _is_public(rwset: NamespaceRwset, chaincode: str) -> bool:
    metadata = {name for write in rwset.metadata_writes for name, _ in write.entries}
    return rwset.namespace == chaincode and metadata <= {VALIDATION_PARAMETER} and not rwset.collections
