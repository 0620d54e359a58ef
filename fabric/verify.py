"""Verification of a ledger from its blocks alone: no peer, gateway or hospital is trusted. Pure; run by the auditor.

Each block passes the steps of `Step` in order; the first that fails names the block. Every byte of a block is either covered
by a hash or signature, or is recomputed and compared, so that no changed byte goes unseen. What the blocks alone cannot show
is that the whole chain was exchanged or cut short: for that, give checkpoints kept elsewhere.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.blocks import (
    COMMIT_HASH,
    LAST_CONFIG,
    METADATA_SLOTS,
    ORDERER,
    SIGNATURES,
    TRANSACTIONS_FILTER,
    MalformedBlock,
    block_signatures,
    data_hash,
    header_hash,
    orderer_metadata,
    transaction_codes,
)
from fabric.channel import ChannelConfig, ChannelConfigError
from fabric.checkpoint import Checkpoint
from fabric.commit_hash import commit_hash
from fabric.config_update import check_config_update
from fabric.crypto import IdentityError
from fabric.examination import ExaminedBlock, examine_block
from fabric.msp import MspRegistry
from fabric.orderers import UnsignedBlock, check_form, orderers_of
from fabric.policies import PolicyError
from fabric.transactions import ConfigTransaction
from fabric.validation import Judge, Judged, KnownIds, KnownTransactions, in_order
from fabric.worldstate import StateInMemory, Updates, WorldState


class Step(IntEnum):
    """The steps of verification, in order."""

    FILE = 0
    ENCODING = 1
    NUMBER = 2
    PREVIOUS_HASH = 3
    DATA_HASH = 4
    ORDERER_SIGNATURES = 5
    CONFIGURATION = 6
    TRANSACTIONS = 7
    METADATA = 8
    CHECKPOINT = 9


class VerificationError(Exception):
    """A ledger does not verify: the first bad block, the step it fails, and why."""

    def __init__(self, block_number: int, step: Step, reason: str) -> None:
        super().__init__(f"block {block_number} fails step {int(step)} ({step.name.lower().replace('_', ' ')}): {reason}")
        self.block_number = block_number
        self.step = step
        self.reason = reason


@dataclass(frozen=True)
class VerifiedBlock:
    """A block that passed every step, with its transactions as judged."""

    number: int
    transactions: tuple[Judged, ...]


@dataclass(frozen=True)
class VerifiedLedger:
    """A ledger whose every block verified. `codes` counts transactions by validation code; `creators` by MSP id."""

    channel: str
    height: int
    last_hash: bytes
    genesis_hash: bytes
    organisations: tuple[str, ...]
    transactions: int
    codes: Mapping[str, int]
    creators: Mapping[str, int]
    state: WorldState = field(repr=False)

    @property
    def valid(self) -> int:
        return self.codes.get("VALID", 0)

    @property
    def invalid(self) -> int:
        return self.transactions - self.valid


@dataclass(frozen=True)
class Position:
    """How far a verifier has come: with the state and the known transaction ids, all that it takes to go on after block `height` - 1.

    Integers and text, for files: hashes are hex, `configuration` is the base64 of the configuration transaction's envelope.
    """

    height: int
    last_hash: str
    genesis_hash: str
    commit_hash: str
    keeps_commit_hashes: bool
    configuration: str
    configuration_block: int
    codes: dict[str, int]
    creators: dict[str, int]


class Verifier:
    """Verifies blocks one after the other. Memory grows with what `state` keeps of each key, and `known` of each transaction's id.

    Both are empty and belong to the verifier; without them it keeps all in memory.
    """

    def __init__(
        self, *, checkpoints: Sequence[Checkpoint] = (), known: KnownTransactions | None = None, state: WorldState | None = None
    ) -> None:
        self.state = StateInMemory() if state is None else state
        self.height = 0
        self.members = MspRegistry({})
        self._checkpoints = sorted(checkpoints, key=lambda checkpoint: checkpoint.number, reverse=True)  # the next one last
        self._known = KnownIds() if known is None else known
        self._codes: Counter[str] = Counter()
        self._creators: Counter[str] = Counter()
        self._last_hash = self._genesis_hash = self._commit_hash = b""
        self._keeps_commit_hashes = False
        self._last_config = 0
        self._agreed: int | None = None
        self._config: ChannelConfig | None = None
        self._config_envelope = b""

    @classmethod
    def resumed(
        cls, position: Position, state: WorldState, *, checkpoints: Sequence[Checkpoint] = (), known: KnownTransactions
    ) -> "Verifier":
        """A verifier that has come to `position`, whoever vouches for that and for what belongs to it.

        Raises ValueError for what is no position, VerificationError for a checkpoint that lies before it.
        """
        verifier = cls(checkpoints=checkpoints, known=known, state=state)
        verifier.height = position.height
        verifier._last_hash, verifier._genesis_hash = bytes.fromhex(position.last_hash), bytes.fromhex(position.genesis_hash)
        verifier._commit_hash, verifier._keeps_commit_hashes = bytes.fromhex(position.commit_hash), position.keeps_commit_hashes
        verifier._codes, verifier._creators = Counter(position.codes), Counter(position.creators)
        verifier._configure(position.configuration_block, base64.b64decode(position.configuration, validate=True))
        verifier._compare(position.height - 1, verifier._last_hash)
        if verifier._checkpoints and verifier._checkpoints[-1].number < position.height:
            earlier = verifier._checkpoints[-1]
            reason = f"{earlier.said_by} is of block {earlier.number}, which was verified before: begin with the first block to compare it"
            raise VerificationError(earlier.number, Step.CHECKPOINT, reason)
        return verifier

    @property
    def position(self) -> Position:
        """Where this verifier stands; there must have been a block."""
        return Position(
            self.height,
            self._last_hash.hex(),
            self._genesis_hash.hex(),
            self._commit_hash.hex(),
            self._keeps_commit_hashes,
            base64.b64encode(self._config_envelope).decode(),
            self._last_config,
            dict(self._codes),
            dict(self._creators),
        )

    def recognise(self, block: common_pb2.Block) -> None:
        """Raise VerificationError unless `block` is the last one that was verified: for a ledger that is read again from there."""
        if (block.header.number, header_hash(block.header)) != (self.height - 1, self._last_hash):
            reason = "it is not the block that was verified when the audit last ended: the ledger was forked, or is another one"
            raise VerificationError(self.height - 1, Step.CHECKPOINT, reason)

    def accept(self, block: common_pb2.Block, examined: ExaminedBlock | None = None) -> VerifiedBlock:
        """Verify the next block; raise VerificationError. After an error the verifier must not be used again.

        `examined` is what `examine_block` gives for this very block, for callers that let other processes do that part.
        """
        number = self.height
        _check_encoding(number, block)
        if block.header.number != number:
            raise VerificationError(number, Step.NUMBER, f"its header has number {block.header.number}")
        if block.header.previous_hash != self._last_hash:
            raise VerificationError(number, Step.PREVIOUS_HASH, "it does not name the hash of the block before")
        if not block.data.data or data_hash(block.data.data) != block.header.data_hash:
            raise VerificationError(number, Step.DATA_HASH, "its transactions do not have the hash that its header names")
        if number == 0:
            self._start(block)
        examined = examined or examine_block(block)
        self._check_signatures(block, examined)
        judged, updates = self._judge(block, examined)
        self._check_metadata(block, judged, updates)
        return self._take(block, judged, updates)

    def result(self) -> VerifiedLedger:
        """The summary after the last block; raise VerificationError if a checkpoint lies beyond it or there was no block."""
        if self._config is None:
            raise VerificationError(0, Step.NUMBER, "the ledger is empty")
        if self._checkpoints:
            missing = self._checkpoints[-1]
            self._check_origin(missing, self._genesis_hash)
            raise VerificationError(
                self.height,
                Step.CHECKPOINT,
                f"the ledger ends before it, but {missing.said_by} is of block {missing.number}: "
                "the ledger was rolled back, or this is an older copy of it",
            )
        return self.summary()

    def summary(self) -> VerifiedLedger:
        """What the blocks so far amount to, without judging whether they are all."""
        organisations = tuple(sorted(msp.mspid for msp in self._config.application)) if self._config else ()
        return VerifiedLedger(
            self._config.channel if self._config else "",
            self.height,
            self._last_hash,
            self._genesis_hash,
            organisations,
            self._codes.total(),
            dict(self._codes),
            dict(self._creators),
            self.state,
        )

    def _start(self, block: common_pb2.Block) -> None:
        if len(block.data.data) != 1:
            raise VerificationError(0, Step.CONFIGURATION, "the first block must hold the channel's configuration and nothing else")
        self._configure(0, block.data.data[0])

    def _configure(self, number: int, envelope: bytes) -> None:
        try:
            config = ChannelConfig.parse(envelope)
            if self._config is not None:
                check_config_update(self._config, self._config_envelope, envelope)
        except (ChannelConfigError, PolicyError) as error:
            raise VerificationError(number, Step.CONFIGURATION, str(error)) from error
        self._config, self._config_envelope, self.members, self._last_config = config, envelope, config.members, number

    def _check_signatures(self, block: common_pb2.Block, examined: ExaminedBlock) -> None:
        number = self.height
        try:
            # Nobody has to sign the first block: who trusts it, trusts it as a checkpoint. If somebody did, it must be good.
            if number > 0 or _signed(block):
                orderers_of(block, self._current, self.members, examined.signature_flaws)
        except UnsignedBlock as error:
            raise VerificationError(number, Step.ORDERER_SIGNATURES, str(error)) from error
        except PolicyError as error:
            raise VerificationError(number, Step.CONFIGURATION, str(error)) from error

    @property
    def _current(self) -> ChannelConfig:
        assert self._config is not None  # the first block sets it before anything asks
        return self._config

    def _judge(self, block: common_pb2.Block, examined: ExaminedBlock) -> tuple[list[Judged], Updates]:
        if self.height == 0:
            return [Judged(int(transaction_pb2.VALID), "")], Updates(self.state)
        judge = Judge(self._current, self.members, self.state, self._known)
        judged, updates = in_order([judge.envelope(one) for one in examined.envelopes], self.height, self.state)
        recorded = transaction_codes(block)
        if len(recorded) != len(judged):
            reason = f"it records {len(recorded)} validation codes for {len(judged)} transactions"
            raise VerificationError(self.height, Step.TRANSACTIONS, reason)
        for position, (one, code) in enumerate(zip(judged, recorded, strict=True)):
            if code != one.code and code not in one.also:
                raise VerificationError(self.height, Step.TRANSACTIONS, _difference(position, one, code))
        return [one if one.code == code else replace(one, code=code) for one, code in zip(judged, recorded, strict=True)], updates

    def _check_metadata(self, block: common_pb2.Block, judged: Sequence[Judged], updates: Updates) -> None:
        """Compare what no orderer signs (each peer fills it in) with what follows from the rest."""
        number, slots = self.height, block.metadata.metadata
        changes_config = number > 0 and any(one.valid and isinstance(one.transaction, ConfigTransaction) for one in judged)
        if changes_config:
            if len(judged) != 1:
                raise VerificationError(number, Step.CONFIGURATION, "a configuration must stand alone in its block")
            self._configure(number, block.data.data[0])
        signed = orderer_metadata(block)
        if signed.last_config.index != self._last_config:
            raise VerificationError(number, Step.METADATA, f"it names block {signed.last_config.index} as the last configuration")
        last_config = common_pb2.LastConfig(index=self._last_config).SerializeToString()
        allowed = {
            LAST_CONFIG: {b"", common_pb2.Metadata(value=last_config).SerializeToString()},
            ORDERER: {b"", signed.consenter_metadata},
            COMMIT_HASH: self._allowed_commit_hashes(slots[COMMIT_HASH], judged, updates),
        }
        if number == 0:
            allowed |= {TRANSACTIONS_FILTER: {b"", b"\x00"}, SIGNATURES: _genesis_signatures(block)}
        for slot, values in allowed.items():
            if slots[slot] not in values:
                raise VerificationError(number, Step.METADATA, f"metadata slot {slot} is not what follows from the blocks")

    def _allowed_commit_hashes(self, recorded: bytes, judged: Sequence[Judged], updates: Updates) -> set[bytes]:
        """An embedded ledger keeps none; a Fabric peer keeps one in every block but the first."""
        if self.height == 1:
            self._keeps_commit_hashes = bool(recorded)
        if not self._keeps_commit_hashes:
            return {b""}
        self._commit_hash = commit_hash([one.code for one in judged], updates, self._commit_hash)
        return {common_pb2.Metadata(value=self._commit_hash).SerializeToString()}

    def _take(self, block: common_pb2.Block, judged: Sequence[Judged], updates: Updates) -> VerifiedBlock:
        number, block_hash = self.height, header_hash(block.header)
        self._genesis_hash = self._genesis_hash or block_hash
        self._compare(number, block_hash)
        self.state.commit(updates)
        self._known.add(one.tx_id for one in judged)
        self._codes.update(transaction_pb2.TxValidationCode.Name(one.code) for one in judged)
        self._creators.update(one.creator.mspid for one in judged if one.creator)
        self._last_hash = block_hash
        self.height += 1
        return VerifiedBlock(number, tuple(judged))

    def _compare(self, number: int, block_hash: bytes) -> None:
        """Hold the block against the checkpoints of its number."""
        while self._checkpoints and self._checkpoints[-1].number == number:
            checkpoint = self._checkpoints.pop()
            self._check_origin(checkpoint, self._genesis_hash)
            if checkpoint.block_hash != block_hash:
                agreed = "" if self._agreed is None else f" after block {self._agreed}"
                reason = f"its hash is not that of {checkpoint.said_by}: the ledger was forked{agreed}"
                raise VerificationError(number, Step.CHECKPOINT, reason)
            self._agreed = number

    def _check_origin(self, checkpoint: Checkpoint, genesis_hash: bytes) -> None:
        """Whether a checkpoint is a member's, and of this channel."""
        try:
            checkpoint.check_signer(self.members)
        except IdentityError as error:
            raise VerificationError(min(checkpoint.number, self.height), Step.CHECKPOINT, str(error)) from error
        if checkpoint.channel not in ("", self._current.channel):
            reason = f"{checkpoint.said_by} is of channel {checkpoint.channel!r}, not of {self._current.channel!r}"
            raise VerificationError(0, Step.CHECKPOINT, reason)
        if checkpoint.genesis_hash not in (b"", genesis_hash):
            reason = f"its hash is not the one that {checkpoint.said_by} names: the ledger was made anew"
            raise VerificationError(0, Step.CHECKPOINT, reason)


def verify_blocks(blocks: Iterable[common_pb2.Block], *, checkpoints: Sequence[Checkpoint] = ()) -> VerifiedLedger:
    """Verify a whole ledger from its first block on; raise VerificationError for the first bad block."""
    verifier = Verifier(checkpoints=checkpoints)
    for block in blocks:
        verifier.accept(block)
    return verifier.result()


def _check_encoding(number: int, block: common_pb2.Block) -> None:
    clean = common_pb2.Block()
    clean.CopyFrom(block)
    clean.DiscardUnknownFields()
    if clean.SerializeToString() != block.SerializeToString():
        raise VerificationError(number, Step.ENCODING, "it holds fields that a block does not have")
    if len(block.metadata.metadata) != METADATA_SLOTS:
        raise VerificationError(number, Step.ENCODING, f"it has {len(block.metadata.metadata)} metadata slots, not {METADATA_SLOTS}")


def _signed(block: common_pb2.Block) -> bool:
    try:
        check_form(block)
        return bool(block_signatures(block))
    except MalformedBlock as error:
        raise UnsignedBlock(str(error)) from error


def _genesis_signatures(block: common_pb2.Block) -> set[bytes]:
    """A first block is signed (then the signature was checked), or holds the plain record that it is the last configuration."""
    slot: bytes = block.metadata.metadata[SIGNATURES]
    value = common_pb2.OrdererBlockMetadata(last_config=common_pb2.LastConfig()).SerializeToString()
    return {slot} if block_signatures(block) else {b"", common_pb2.Metadata(value=value).SerializeToString()}


def _difference(position: int, judged: Judged, recorded: int) -> str:
    try:
        name = transaction_pb2.TxValidationCode.Name(recorded)
    except ValueError:
        name = str(recorded)
    should = transaction_pb2.TxValidationCode.Name(judged.code)
    why = f" ({judged.reason})" if judged.reason else ""
    return f"transaction {position} ({judged.tx_id[:16] or 'no id'}) is recorded as {name} but is {should}{why}"
