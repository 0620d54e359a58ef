"""Evidence that one transaction stands in a ledger: a self-contained file, verified with nothing but the consortium's roots. Pure.

An evidence file is a signed statement (`fabric.statement`) whose content is

    channel, tx_id, code, position   which transaction, the validation code the prover computed, its place in the block
    configurations                   every configuration block up to the checkpoint, the channel's first block first
    block                            the transaction's block
    data_hashes                      of each block after it, up to the checkpoint's: the rest of their headers follows
    checkpoint                       a signed checkpoint of the last of these blocks
    made_at                          the prover's clock

Blocks are base64 `common.Block` messages with the orderers' signatures as only metadata: the other slots are each peer's own.
The verifier follows the configurations from a first block that it is told to trust, and from there trusts no one, with one
exception: no signature in a ledger covers a validation code, which takes the whole ledger to compute, so for the code the file
holds the word of its signer. That a majority of the organisations endorsed the result is shown without it.
"""

import base64
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography import x509
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from fabric.blocks import SIGNATURES, MalformedBlock, data_hash, header_hash, orderer_metadata
from fabric.channel import ChannelConfig, ChannelConfigError
from fabric.checkpoint import Checkpoint, open_checkpoint
from fabric.config_update import check_config_update
from fabric.crypto import IdentityError, SigningIdentity, fingerprint
from fabric.decoding import DecodeError, decode
from fabric.examination import ExaminedEnvelope, examine_block, examine_envelope
from fabric.msp import Member
from fabric.orderers import UnsignedBlock, orderers_of
from fabric.policies import PolicyError
from fabric.statement import SignedStatement, StatementError, open_statement, sign_statement
from fabric.transactions import EndorserTransaction

KIND = "consortium-evidence-1"


class EvidenceStep(IntEnum):
    """The steps of checking evidence, in order."""

    FORM = 1
    CONFIGURATION = 2
    BLOCK = 3
    TRANSACTION = 4
    HEADERS = 5
    CHECKPOINT = 6
    PROVER = 7


class EvidenceError(Exception):
    """Evidence does not prove what it says: the step it fails, and why."""

    def __init__(self, step: EvidenceStep, reason: str) -> None:
        super().__init__(f"the evidence fails step {int(step)} ({step.name.lower()}): {reason}")
        self.step = step
        self.reason = reason


@dataclass(frozen=True)
class Roots:
    """The root certificates (PEM) that each organisation is known to have, by MSP id: hospitals and others, and orderers."""

    application: Mapping[str, Sequence[bytes]] = field(repr=False)
    orderer: Mapping[str, Sequence[bytes]] = field(repr=False)

    def check(self, config: ChannelConfig) -> None:
        """Raise ChannelConfigError unless every organisation of a configuration is known, with no root but its known ones."""
        for known, msps in ((self.application, config.application), (self.orderer, config.orderer)):
            for msp in msps:
                if msp.mspid not in known:
                    raise ChannelConfigError(f"the given roots do not name {msp.mspid} in the place it has in the channel")
                if not _prints(msp.root_certs) <= _prints(known[msp.mspid]):
                    raise ChannelConfigError(f"the channel has a root certificate for {msp.mspid} that is not among the given ones")


@dataclass(frozen=True)
class Proven:
    """What evidence proves: the transaction, where it stands, and who stands for it. Hashes are bytes."""

    channel: str
    genesis_hash: bytes
    block: int
    block_hash: bytes
    position: int
    code: str
    transaction: EndorserTransaction = field(repr=False)
    creator: Member = field(repr=False)
    endorsers: tuple[Member, ...] = field(repr=False)
    orderers: tuple[Member, ...] = field(repr=False)
    checkpoint: Checkpoint
    prover: SignedStatement

    @property
    def endorsing(self) -> tuple[str, ...]:
        """The organisations whose peers endorsed, by MSP id."""
        return tuple(sorted({member.mspid for member in self.endorsers}))


@dataclass(frozen=True)
class Content:
    """The content of an evidence file, field by field as it stands there."""

    channel: str
    tx_id: str
    code: str
    position: int
    configurations: tuple[str, ...] = field(repr=False)
    block: str = field(repr=False)
    data_hashes: tuple[str, ...] = field(repr=False)
    checkpoint: str = field(repr=False)
    made_at: str


@dataclass(frozen=True)
class _Configured:
    """A configuration, the block that holds it, and that block's header hash."""

    number: int
    block_hash: bytes
    envelope: bytes
    config: ChannelConfig


def sign_evidence(identity: SigningIdentity, content: Content) -> bytes:
    """The bytes of an evidence file; `verify_evidence` says whether they prove anything."""
    return sign_statement(
        identity, KIND, {**vars(content), "configurations": list(content.configurations), "data_hashes": list(content.data_hashes)}
    )


def evidence_block(block: common_pb2.Block) -> str:
    """A block as evidence holds it. Nobody has to sign the first one, so it is held without signatures."""
    signatures = block.metadata.metadata[SIGNATURES] if block.header.number else b""
    kept = common_pb2.Block(header=block.header, data=block.data, metadata=common_pb2.BlockMetadata(metadata=[signatures]))
    kept.DiscardUnknownFields()
    return base64.b64encode(kept.SerializeToString()).decode()


def verify_evidence(data: bytes, *, genesis_hash: bytes | None = None, roots: Roots | None = None) -> Proven:
    """Check an evidence file against the hash of the channel's first block, the organisations' roots, or both.

    The hash fixes the channel's policies too; roots alone leave them to whoever made the first block, so a majority of all the
    organisations that `roots` names must have endorsed. Raises EvidenceError, and ValueError if neither is given.
    """
    if genesis_hash is None and roots is None:
        raise ValueError("evidence cannot be checked against nothing: give the first block's hash or the roots")
    statement, content, checkpoint = _open(data)
    configured = _configurations(content, genesis_hash, roots)
    block = _block(content.block, EvidenceStep.BLOCK)
    in_force = _in_force(configured, block)
    orderers = _orderers(block, in_force.config)
    transaction, creator, endorsers = _transaction(content, block, in_force.config, roots)
    _check_headers(block, content, configured, checkpoint)
    _check_checkpoint(checkpoint, content, configured)
    _check_prover(statement, content, configured[-1].config)
    return Proven(
        content.channel,
        configured[0].block_hash,
        block.header.number,
        header_hash(block.header),
        content.position,
        content.code,
        transaction,
        creator,
        endorsers,
        orderers,
        checkpoint,
        statement,
    )


def _open(data: bytes) -> tuple[SignedStatement, Content, Checkpoint]:
    try:
        statement = open_statement(data, KIND)
        content = decode(Content, statement.content, strict=True)
        return statement, content, open_checkpoint(content.checkpoint.encode())
    except (StatementError, DecodeError) as error:
        raise EvidenceError(EvidenceStep.FORM, str(error)) from error


def _configurations(content: Content, genesis_hash: bytes | None, roots: Roots | None) -> list[_Configured]:
    """Follow the channel's configuration from its first block to the checkpoint."""
    step = EvidenceStep.CONFIGURATION
    blocks = [_block(one, step) for one in content.configurations]
    if not blocks or blocks[0].header.number != 0 or blocks[0].header.previous_hash:
        raise EvidenceError(step, "the channel's first block is missing")
    if genesis_hash is not None and header_hash(blocks[0].header) != genesis_hash:
        raise EvidenceError(step, "the channel's first block is not the one with the given hash: this is another ledger")
    configured: list[_Configured] = []
    try:
        for block in blocks:
            configured.append(_configuration(block, configured[-1] if configured else None))
            if roots is not None:
                roots.check(configured[-1].config)
    except (ChannelConfigError, PolicyError, IdentityError, MalformedBlock) as error:
        raise EvidenceError(step, f"configuration {len(configured)}: {error}") from error
    if content.channel != configured[0].config.channel:
        raise EvidenceError(step, f"the configuration is of channel {configured[0].config.channel!r}, not of {content.channel!r}")
    return configured


def _configuration(block: common_pb2.Block, before: _Configured | None) -> _Configured:
    number = block.header.number
    if len(block.data.data) != 1:
        raise ChannelConfigError("a configuration must stand alone in its block")
    envelope = block.data.data[0]
    config = ChannelConfig.parse(envelope)
    if before is not None:
        if number <= before.number:
            raise ChannelConfigError(f"block {number} does not come after block {before.number}")
        _orderers(block, before.config)
        check_config_update(before.config, before.envelope, envelope)
        if orderer_metadata(block).last_config.index != number:
            raise ChannelConfigError(f"the orderers of block {number} did not sign it as a configuration")
    return _Configured(number, header_hash(block.header), envelope, config)


def _in_force(configured: Sequence[_Configured], block: common_pb2.Block) -> _Configured:
    """The configuration under which the transaction's block was made: the orderers signed which one it is."""
    before = [one for one in configured if one.number < block.header.number]
    try:
        signed = orderer_metadata(block).last_config.index
    except MalformedBlock as error:
        raise EvidenceError(EvidenceStep.BLOCK, str(error)) from error
    if not before or signed != before[-1].number:
        raise EvidenceError(EvidenceStep.BLOCK, f"it was made under the configuration of block {signed}, which is not the last one given")
    return before[-1]


def _orderers(block: common_pb2.Block, config: ChannelConfig) -> tuple[Member, ...]:
    try:
        signers = orderers_of(block, config, config.members, examine_block(block).signature_flaws)
    except (UnsignedBlock, PolicyError) as error:
        raise EvidenceError(EvidenceStep.BLOCK, f"block {block.header.number}: {error}") from error
    # A first block that only roots vouch for could hold a policy that nobody has to satisfy.
    if not {member.mspid for member in signers} & {msp.mspid for msp in config.orderer}:
        raise EvidenceError(EvidenceStep.BLOCK, f"block {block.header.number}: no organisation of the ordering service signed it")
    return tuple(signers)


def _transaction(
    content: Content,
    block: common_pb2.Block,
    config: ChannelConfig,
    roots: Roots | None,
) -> tuple[EndorserTransaction, Member, tuple[Member, ...]]:
    step = EvidenceStep.TRANSACTION
    if content.code not in transaction_pb2.TxValidationCode.keys():  # noqa: SIM118 - an enum wrapper, not a mapping
        raise EvidenceError(step, f"{content.code!r} is not a validation code")
    if not 0 <= content.position < len(block.data.data):
        raise EvidenceError(step, f"the block has no transaction {content.position}")
    examined = examine_envelope(block.data.data[content.position])
    transaction = examined.transaction
    if not isinstance(transaction, EndorserTransaction):
        raise EvidenceError(step, f"it is not a call of a contract: {examined.flaw.reason if examined.flaw else 'it is a configuration'}")
    if (transaction.tx_id, transaction.channel) != (content.tx_id, content.channel):
        raise EvidenceError(step, f"the block holds transaction {transaction.tx_id} of channel {transaction.channel!r} there")
    creator = _creator(transaction, examined, config)
    endorsers = _endorsers(transaction, examined, config)
    organisations = max(len(config.application), len(roots.application) if roots else 0)
    endorsing = len({member.mspid for member in endorsers})
    if content.code == "VALID" and endorsing <= organisations // 2:
        raise EvidenceError(
            step,
            f"{endorsing} of {organisations} organisations endorsed it, which is no majority; that a contract or a key asks for "
            "less, only the whole ledger can show",
        )
    return transaction, creator, endorsers


def _creator(transaction: EndorserTransaction, examined: ExaminedEnvelope, config: ChannelConfig) -> Member:
    try:
        creator = config.members.authenticate(transaction.creator, None)
    except IdentityError as error:
        raise EvidenceError(EvidenceStep.TRANSACTION, f"the creator: {error}") from error
    if examined.creator_flaw:
        raise EvidenceError(EvidenceStep.TRANSACTION, f"the creator: {examined.creator_flaw}")
    return creator


def _endorsers(transaction: EndorserTransaction, examined: ExaminedEnvelope, config: ChannelConfig) -> tuple[Member, ...]:
    """The peers of the channel's organisations whose endorsements are good; the others count for nothing."""
    members, organisations = config.members, {msp.mspid for msp in config.application}
    found: dict[bytes, Member] = {}
    for endorsement, flaw in zip(transaction.endorsements, examined.endorsement_flaws, strict=True):
        try:
            member = members.authenticate(endorsement.endorser, None)
        except IdentityError:
            continue
        if not flaw and member.role == "peer" and member.mspid in organisations:
            found[endorsement.endorser] = member
    return tuple(found.values())


def _check_headers(block: common_pb2.Block, content: Content, configured: Sequence[_Configured], checkpoint: Checkpoint) -> None:
    """Follow the headers from the transaction's block to the checkpoint's, past the configurations between them."""
    step = EvidenceStep.HEADERS
    expected = {one.number: one.block_hash for one in configured if one.number > block.header.number}
    header = block.header
    for text in content.data_hashes:
        try:
            following = common_pb2.BlockHeader(number=header.number + 1, previous_hash=header_hash(header), data_hash=bytes.fromhex(text))
        except ValueError as error:
            raise EvidenceError(step, f"the data hash of block {header.number + 1} cannot be read") from error
        header = following
        if expected.pop(header.number, header_hash(header)) != header_hash(header):
            raise EvidenceError(step, f"the configuration in block {header.number} is not of this chain")
    if expected:
        raise EvidenceError(step, f"the configuration in block {min(expected)} lies beyond the headers")
    if (header.number, header_hash(header)) != (checkpoint.number, checkpoint.block_hash):
        raise EvidenceError(step, f"they lead to block {header.number}, whose number or hash is not that of {checkpoint.said_by}")


def _check_checkpoint(checkpoint: Checkpoint, content: Content, configured: Sequence[_Configured]) -> None:
    if (checkpoint.channel, checkpoint.genesis_hash) != (content.channel, configured[0].block_hash):
        raise EvidenceError(EvidenceStep.CHECKPOINT, f"{checkpoint.said_by} is of another ledger")
    try:
        checkpoint.check_signer(configured[-1].config.members)
    except IdentityError as error:
        raise EvidenceError(EvidenceStep.CHECKPOINT, str(error)) from error


def _check_prover(statement: SignedStatement, content: Content, config: ChannelConfig) -> None:
    try:
        config.members.authenticate(statement.identity, _moment(content.made_at))
    except IdentityError as error:
        reason = f"{statement.signer} made the evidence, but is no member of the channel: {error}"
        raise EvidenceError(EvidenceStep.PROVER, reason) from error


def _moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise EvidenceError(EvidenceStep.PROVER, f"{text!r} is not a time") from error
    if moment.tzinfo is None:
        raise EvidenceError(EvidenceStep.PROVER, f"{text!r} has no time zone")
    return moment


def _block(text: str, step: EvidenceStep) -> common_pb2.Block:
    """A block of the evidence, in the one form that it can have, with the data that its header names."""
    try:
        block = common_pb2.Block.FromString(base64.b64decode(text, validate=True))
    except (ValueError, ProtobufDecodeError) as error:
        raise EvidenceError(step, "a block cannot be read") from error
    if len(block.metadata.metadata) != 1 or evidence_block(block) != text:
        raise EvidenceError(step, f"block {block.header.number} is not in the form that evidence holds blocks in")
    if not block.data.data or data_hash(block.data.data) != block.header.data_hash:
        raise EvidenceError(step, f"block {block.header.number} does not hold the data that its header names")
    return block


def _prints(certificates: Sequence[bytes]) -> set[str]:
    try:
        return {fingerprint(x509.load_pem_x509_certificate(pem)) for pem in certificates}  # authorities may have any kind of key
    except ValueError as error:
        raise ChannelConfigError(f"a root certificate cannot be read: {error}") from error
