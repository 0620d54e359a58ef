"""Checkpoints: a block's hash kept where the ledger's operators cannot change it, plain or signed by a member of the channel.

A signed checkpoint is a statement (`fabric.statement`) of channel, height, first and last block hash. Its signer is checked
against the channel's own MSPs when verification reaches the block, so that nobody outside can raise a false alarm.
"""

import datetime
from dataclasses import dataclass

from fabric.crypto import IdentityError, SigningIdentity
from fabric.decoding import DecodeError, decode
from fabric.msp import MspRegistry
from fabric.statement import SignedStatement, StatementError, open_statement, sign_statement

KIND = "consortium-checkpoint-1"

_HASH_BYTES = 32


@dataclass(frozen=True)
class Checkpoint:
    """Block `number` of the ledger has `block_hash`. Without a `statement`, whoever gives the checkpoint vouches for it."""

    number: int
    block_hash: bytes
    channel: str = ""
    genesis_hash: bytes = b""
    made_at: datetime.datetime | None = None
    statement: SignedStatement | None = None

    @property
    def height(self) -> int:
        return self.number + 1

    @property
    def signer(self) -> str:
        """Who signed it, for people; empty where nobody did."""
        return self.statement.signer if self.statement else ""

    @property
    def said_by(self) -> str:
        """For sentences: whose checkpoint it is."""
        return f"the checkpoint of {self.signer}" if self.statement else "the checkpoint"

    def check_signer(self, members: MspRegistry) -> None:
        """Raise IdentityError unless the signer was a member when the checkpoint says it was made."""
        if self.statement is None:
            return
        try:
            members.authenticate(self.statement.identity, self.made_at)
        except IdentityError as error:
            raise IdentityError(
                f"{self.said_by} cannot be relied upon, for this ledger does not know its signer ({error}): it was made by a stranger, "
                "or this is not the ledger it was made of"
            ) from error


@dataclass(frozen=True)
class _Content:
    channel: str
    height: int
    genesis_hash: str
    block_hash: str
    made_at: str


def sign_checkpoint(
    identity: SigningIdentity,
    *,
    channel: str,
    height: int,
    genesis_hash: bytes,
    block_hash: bytes,
    made_at: datetime.datetime,
) -> bytes:
    """The bytes of a checkpoint file. `block_hash` is that of the last of `height` blocks; `made_at` has a time zone."""
    return sign_statement(
        identity,
        KIND,
        {
            "channel": channel,
            "height": height,
            "genesis_hash": genesis_hash.hex(),
            "block_hash": block_hash.hex(),
            "made_at": made_at.astimezone(datetime.UTC).isoformat(timespec="seconds"),
        },
    )


def open_checkpoint(data: bytes) -> Checkpoint:
    """Read a checkpoint file and check its signature; raise StatementError. The signer's membership is left to `check_signer`."""
    statement = open_statement(data, KIND)
    try:
        content = decode(_Content, statement.content, strict=True)
        made_at = datetime.datetime.fromisoformat(content.made_at)
        hashes = bytes.fromhex(content.genesis_hash), bytes.fromhex(content.block_hash)
    except (DecodeError, ValueError) as error:
        raise StatementError(f"what it states is not a checkpoint: {error}") from error
    if content.height < 1 or made_at.tzinfo is None or any(len(one) != _HASH_BYTES for one in hashes):
        raise StatementError("what it states is not a checkpoint: a height, a time with its zone, and two SHA-256 hashes are needed")
    return Checkpoint(content.height - 1, hashes[1], content.channel, hashes[0], made_at, statement)
