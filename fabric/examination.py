"""What a block's bytes alone say: its transactions parsed, and which signatures match the certificates they come with.

Nothing here needs the channel's configuration or the blocks before, so that blocks may be examined in any order and in other
processes. Whether a certificate belongs to a member, and what follows from order, is for `fabric.validation` and `fabric.verify`.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptography import x509
from fabric_protos.common import common_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import transaction_pb2
from google.protobuf.message import DecodeError

from fabric.blocks import MalformedBlock, block_signatures
from fabric.crypto import IdentityError, load_certificate, sha256, verify_digest
from fabric.transactions import (
    ConfigTransaction,
    EndorserTransaction,
    Headers,
    MalformedTransaction,
    SignedPayload,
    check_tx_id,
    open_envelope,
    parse_payload,
    proposal_hash,
)

_CERTIFICATES = 1024  # parsed ones that are kept; consortia have dozens of signers


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why bytes are not a transaction that can take effect, and the `TxValidationCode` a peer gives for it."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ExaminedEnvelope:
    """One envelope. `headers` is None where not even they can be read; `transaction` is None where `flaw` says why.

    `creator_flaw` and `endorsement_flaws` (one an endorsement) say why a signature does not match; "" where it does.
    """

    headers: Headers | None
    transaction: EndorserTransaction | ConfigTransaction | None
    flaw: Flaw | None
    creator_flaw: str = ""
    endorsement_flaws: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExaminedBlock:
    """One block: its envelopes, and the flaws of the orderers' signatures that come with a certificate ("" where one matches).

    `signature_flaws` holds None for a signature that only the channel's configuration can tell the signer of.
    """

    envelopes: tuple[ExaminedEnvelope, ...]
    signature_flaws: tuple[str | None, ...]


class SignatureCheck(NamedTuple):
    """A signature to check, small enough to send to another process: the signer's `msp.SerializedIdentity` and a SHA-256 digest."""

    identity: bytes
    digest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ReadEnvelope:
    """An envelope parsed, and the checks of its signatures: the creator's, then one an endorsement."""

    headers: Headers | None
    transaction: EndorserTransaction | ConfigTransaction | None
    flaw: Flaw | None
    checks: tuple[SignatureCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """A block parsed, and the checks of its orderers' signatures; None as in `ExaminedBlock.signature_flaws`."""

    envelopes: tuple[ReadEnvelope, ...]
    signatures: tuple[SignatureCheck | None, ...]

    @property
    def checks(self) -> list[SignatureCheck]:
        """Every signature to check: most of what verifying the block costs."""
        found = [check for envelope in self.envelopes for check in envelope.checks]
        return found + [check for check in self.signatures if check is not None]

    def examined(self, flaws: Iterable[str]) -> ExaminedBlock:
        """The block with what came of its `checks`, one flaw for each ("" where the signature matches)."""
        found = iter(flaws)
        envelopes = tuple(_examined(envelope, [next(found) for _ in envelope.checks]) for envelope in self.envelopes)
        return ExaminedBlock(envelopes, tuple(None if check is None else next(found) for check in self.signatures))


def examine_block(block: common_pb2.Block) -> ExaminedBlock:
    """Read a block and check the signatures in it."""
    read = read_block(block)
    return read.examined(signature_flaw(check) for check in read.checks)


def examine_envelope(data: bytes) -> ExaminedEnvelope:
    """Read an envelope and check the signatures in it against the certificates beside them."""
    read = _read_envelope(data)
    return _examined(read, [signature_flaw(check) for check in read.checks])


def read_block(block: common_pb2.Block) -> ReadBlock:
    """Parse a block's transactions and list its signatures, without checking any."""
    try:
        signatures = block_signatures(block)
    except MalformedBlock:
        signatures = []  # the verifier meets the same error and names it
    return ReadBlock(
        tuple(_read_envelope(data) for data in block.data.data),
        tuple(None if one.consenter is not None else check_of(one.creator, one.signed_bytes, one.signature) for one in signatures),
    )


def check_of(serialized_identity: bytes, message: bytes, signature: bytes) -> SignatureCheck:
    """The check that `signature` is one of `message` by the key in an identity's certificate."""
    return SignatureCheck(_same(serialized_identity), sha256(message), signature)


def signature_flaw(check: SignatureCheck) -> str:
    """Why a signature does not match the certificate it comes with; "" if it does."""
    try:
        verify_digest(_certificate(check.identity), check.digest, check.signature)
    except IdentityError as error:
        return str(error)
    return ""


@functools.lru_cache(maxsize=_CERTIFICATES)
def _same(serialized_identity: bytes) -> bytes:
    """One object for equal bytes: sent to another process, it travels once for many signatures."""
    return serialized_identity


@functools.lru_cache(maxsize=_CERTIFICATES)
def _certificate(serialized_identity: bytes) -> x509.Certificate:
    try:
        return load_certificate(identities_pb2.SerializedIdentity.FromString(serialized_identity).id_bytes)
    except DecodeError as error:
        raise IdentityError(f"not a serialised identity: {error}") from error


def _read_envelope(data: bytes) -> ReadEnvelope:
    try:
        opened = open_envelope(data)
    except MalformedTransaction as error:
        return ReadEnvelope(None, None, Flaw(error.code, str(error)))
    creator = check_of(opened.headers.creator, opened.payload, opened.signature)
    try:
        transaction = _transaction(opened)
    except MalformedTransaction as error:
        return ReadEnvelope(opened.headers, None, Flaw(error.code, str(error)), (creator,))
    return ReadEnvelope(opened.headers, transaction, None, (creator, *_endorsement_checks(transaction)))


def _transaction(opened: SignedPayload) -> EndorserTransaction | ConfigTransaction:
    if opened.headers.type == common_pb2.ENDORSER_TRANSACTION:
        check_tx_id(opened.headers)
    transaction = parse_payload(opened)
    if not isinstance(transaction, EndorserTransaction):
        return transaction
    if transaction.proposal_hash != proposal_hash(transaction.headers, transaction.proposal_payload):
        raise MalformedTransaction(transaction_pb2.INVALID_ENDORSER_TRANSACTION, "the proposal hash does not match")
    return transaction


def _endorsement_checks(transaction: EndorserTransaction | ConfigTransaction) -> Iterator[SignatureCheck]:
    if isinstance(transaction, EndorserTransaction):
        response = transaction.proposal_response_payload
        yield from (check_of(one.endorser, response + one.endorser, one.signature) for one in transaction.endorsements)


def _examined(read: ReadEnvelope, flaws: Sequence[str]) -> ExaminedEnvelope:
    return ExaminedEnvelope(read.headers, read.transaction, read.flaw, flaws[0] if flaws else "", tuple(flaws[1:]))
