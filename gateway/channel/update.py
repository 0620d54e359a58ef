"""An update of the channel's configuration on its way: proposed, judged, signed, handed in. Run by administrators.

Each step is one administrator's, on a machine of its own, with its own key; between them goes a file.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fabric_protos.common import configtx_pb2

from fabric.channel import ChannelConfigError, orderer_addresses
from fabric.channel_update import ChannelUpdate, compute_update
from fabric.client.broadcast import broadcast
from fabric.client.gateway import Gateway
from fabric.config_update import Change, proposed_changes, signers_of
from fabric.crypto import IdentityError, SigningIdentity
from fabric.msp import Member, Msp
from fabric.organisation_update import with_msp, with_organisation
from gateway.channel.current import CurrentChannel, read_channel
from gateway.channel.definition import Definition
from gateway.errors import InputError, Unavailable

_COMMIT_SECONDS = 60.0


@dataclass(frozen=True)
class Judgement:
    """What an update would change of the channel as it is, who signed it so far, and whether that is enough."""

    changes: tuple[Change, ...]
    organisations: tuple[Msp, ...]
    """The organisations it adds or changes, as they would be."""
    signers: tuple[Member, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Policies that the signatures do not satisfy yet."""
        return tuple(sorted({change.policy for change in self.changes if not change.satisfied}))


def propose(current: CurrentChannel, definition: Definition) -> ChannelUpdate:
    """The update that makes the channel know the organisation so: added if it is new, else with these authorities and lists.

    Raises InputError if the channel says so already.
    """
    known = definition.mspid in current.config.members.msps
    change = with_msp if known else with_organisation
    try:
        return compute_update(current.config.channel, current.group, change(current.group, definition.msp, definition.anchors))
    except ChannelConfigError as error:
        raise InputError(str(error)) from error


def judge(current: CurrentChannel, update: ChannelUpdate) -> Judgement:
    """Hold an update against the channel; raise InputError if it is another channel's, or the channel has changed since."""
    try:
        signers = signers_of(current.config, update.message)
        changes = proposed_changes(current.config, current.envelope, update.message, signers)
    except ChannelConfigError as error:
        raise InputError(f"the update does not fit the channel as it is: {error}; propose it anew") from error
    return Judgement(changes, _organisations(update), tuple(dict.fromkeys(signers)))


def sign(current: CurrentChannel, update: ChannelUpdate, identity: SigningIdentity) -> ChannelUpdate:
    """The update with the administrator's signature; raise InputError if that would count for nothing."""
    judge(current, update)
    try:
        member = current.config.members.authenticate(identity.serialized, datetime.now(UTC))
    except IdentityError as error:
        raise InputError(f"the channel does not know the signing identity: {error}") from error
    if member.role not in ("admin", "member"):
        raise InputError(f"{member.name} is a {member.role}; a channel update is signed by an administrator")
    return update.signed_by(identity, secrets.token_bytes(24))


async def submit(ledger: Gateway, update: ChannelUpdate, identity: SigningIdentity) -> int:
    """Hand the update in and return the number of the block that holds the new configuration, once the own peer has it.

    Raises InputError where signatures are missing; SubmitError or LedgerUnavailable from the ordering service; Unavailable if the block
    does not come.
    """
    current = await read_channel(ledger)
    if missing := judge(current, update).missing:
        raise InputError(f"signatures are missing for {', '.join(missing)}; have more administrators sign, and submit all their files")
    roots = {msp.mspid: b"".join(msp.tls_root_certs) for msp in current.config.orderer}
    orderers = [(address.endpoint, roots[address.mspid]) for address in orderer_addresses(current.envelope)]
    await broadcast(orderers, update.transaction(identity, secrets.token_bytes(24), timestamp=datetime.now(UTC)))
    try:
        return await asyncio.wait_for(_committed(ledger, current, update), _COMMIT_SECONDS)
    except TimeoutError as error:
        raise Unavailable(
            f"the ordering service took the update, and after {_COMMIT_SECONDS:.0f} s no block holds it; see `consortium channel show`"
        ) from error


def read_update(paths: Sequence[Path]) -> ChannelUpdate:
    """One update of several administrators' copies, with the signatures of all; raise InputError naming the file."""
    merged: ChannelUpdate | None = None
    for path in paths:
        try:
            update = ChannelUpdate.parse(path.read_bytes())
            merged = update if merged is None else merged.merged(update)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        except ChannelConfigError as error:
            raise InputError(f"{path}: {error}") from error
    assert merged is not None  # the command line asks for one file at least
    return merged


async def _committed(ledger: Gateway, before: CurrentChannel, update: ChannelUpdate) -> int:
    async for block in ledger.blocks(start=before.height, stop=None):
        if update.config_update in block.data.data[0]:
            return int(block.header.number)
    raise AssertionError("blocks without an end never end")


def _organisations(update: ChannelUpdate) -> tuple[Msp, ...]:
    """The MSPs that stand in the update's write set."""
    written = configtx_pb2.ConfigUpdate.FromString(update.config_update).write_set
    groups = [group for part in written.groups.values() for group in part.groups.values()]
    return tuple(Msp.from_config(group.values["MSP"].value) for group in groups if "MSP" in group.values and group.values["MSP"].value)
