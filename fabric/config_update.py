"""Whether a channel configuration update was allowed: signed as the changed elements demand, and giving the new configuration.

An update holds a read set (the versions it started from) and a write set. An element of the write set whose version differs
from the read set's is a change: it must raise the element's version by one and satisfy the element's modification policy in
the configuration before. Everything else must stay as it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError

from fabric.channel import ChannelConfig, ChannelConfigError, config_of
from fabric.crypto import IdentityError, verify_signature
from fabric.msp import Member

_Kind = Literal["group", "value", "policy"]
_Path: TypeAlias = tuple[_Kind, tuple[str, ...]]


@dataclass(frozen=True)
class Change:
    """One element that an update adds or changes, such as "group /Channel/Application".

    `policy` is the path of the policy that its signers must satisfy, "" for a new element: its group's change is judged instead.
    """

    element: str
    policy: str
    satisfied: bool


@dataclass(frozen=True)
class _Element:
    version: int
    mod_policy: str
    message: configtx_pb2.ConfigGroup | configtx_pb2.ConfigValue | configtx_pb2.ConfigPolicy


def check_config_update(before: ChannelConfig, before_envelope: bytes, after_envelope: bytes) -> None:
    """Raise ChannelConfigError unless the new configuration follows from the old one by an update its members signed."""
    envelope = config_of(after_envelope)
    after = envelope.config
    if after.sequence != before.sequence + 1:
        raise ChannelConfigError(f"configuration sequence {after.sequence} does not follow {before.sequence}")
    try:
        payload = common_pb2.Payload.FromString(envelope.last_update.payload)
        signed = configtx_pb2.ConfigUpdateEnvelope.FromString(payload.data)
    except DecodeError as error:
        raise ChannelConfigError("the configuration update cannot be read") from error
    old, new = _old_and_new(before, before_envelope, signed)
    for change in _judged(before, old, new, signers_of(before, signed)):
        if not change.satisfied:
            raise ChannelConfigError(f"the update of {change.element} is not signed as its policy {change.policy} demands")
    if _rebuild({**old, **new}, ()) != after.channel_group:
        raise ChannelConfigError("the update does not give the new configuration")


def proposed_changes(
    before: ChannelConfig, before_envelope: bytes, signed: configtx_pb2.ConfigUpdateEnvelope, signers: list[Member]
) -> tuple[Change, ...]:
    """What an update would change, and whether `signers` suffice for it; raise ChannelConfigError if it does not fit the configuration."""
    return tuple(_judged(before, *_old_and_new(before, before_envelope, signed), signers))


def signers_of(before: ChannelConfig, signed: configtx_pb2.ConfigUpdateEnvelope) -> list[Member]:
    """The members whose signatures under the update are good; one that does not verify counts for nothing."""
    signers = []
    for signature in signed.signatures:
        try:
            creator = common_pb2.SignatureHeader.FromString(signature.signature_header).creator
            member = before.members.authenticate(creator, None)
            verify_signature(member.certificate, signature.signature_header + signed.config_update, signature.signature)
        except (DecodeError, IdentityError):
            continue  # the policies decide whether the rest is enough
        signers.append(member)
    return signers


def _old_and_new(
    before: ChannelConfig, before_envelope: bytes, signed: configtx_pb2.ConfigUpdateEnvelope
) -> tuple[dict[_Path, _Element], dict[_Path, _Element]]:
    """The configuration's elements, and those that the update adds or changes."""
    try:
        update = configtx_pb2.ConfigUpdate.FromString(signed.config_update)
    except DecodeError as error:
        raise ChannelConfigError("the configuration update cannot be read") from error
    if update.channel_id != before.channel:
        raise ChannelConfigError(f"the update is for channel {update.channel_id!r}, not {before.channel!r}")
    old = dict(_elements(config_of(before_envelope).config.channel_group))
    return old, _changes(old, update)


def _elements(group: configtx_pb2.ConfigGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[_Path, _Element]]:
    yield ("group", path), _Element(group.version, group.mod_policy, group)
    for name, value in group.values.items():
        yield ("value", (*path, name)), _Element(value.version, value.mod_policy, value)
    for name, policy in group.policies.items():
        yield ("policy", (*path, name)), _Element(policy.version, policy.mod_policy, policy)
    for name, child in group.groups.items():
        yield from _elements(child, (*path, name))


def _changes(old: dict[_Path, _Element], update: configtx_pb2.ConfigUpdate) -> dict[_Path, _Element]:
    read = dict(_elements(update.read_set))
    for path, element in read.items():
        if path not in old or old[path].version != element.version:
            raise ChannelConfigError(f"the update started from another version of {_name(path)}")
    return {path: element for path, element in _elements(update.write_set) if path not in read or read[path].version != element.version}


def _judged(before: ChannelConfig, old: dict[_Path, _Element], new: dict[_Path, _Element], signers: list[Member]) -> Iterator[Change]:
    if not new:
        raise ChannelConfigError("the update changes nothing")
    for path, element in new.items():
        existing = old.get(path)
        if element.version != (existing.version + 1 if existing else 0):
            raise ChannelConfigError(f"the update sets {_name(path)} to version {element.version}, which does not follow")
        policy = _policy_path(path, existing.mod_policy) if existing else ""
        yield Change(_name(path), policy, not policy or before.policies.satisfied(policy, signers))


def _policy_path(path: _Path, mod_policy: str) -> str:
    if mod_policy.startswith("/"):
        return mod_policy
    kind, names = path
    return "/".join(("/Channel", *(names if kind == "group" else names[:-1]), mod_policy))


def _rebuild(elements: dict[_Path, _Element], path: tuple[str, ...]) -> configtx_pb2.ConfigGroup:
    """The group at `path` with the members it lists, each as `elements` has it."""
    listed = _element(elements, ("group", path)).message
    group = configtx_pb2.ConfigGroup(version=listed.version, mod_policy=listed.mod_policy)
    for name in listed.groups:
        group.groups[name].CopyFrom(_rebuild(elements, (*path, name)))
    for name in listed.values:
        group.values[name].CopyFrom(_element(elements, ("value", (*path, name))).message)
    for name in listed.policies:
        group.policies[name].CopyFrom(_element(elements, ("policy", (*path, name))).message)
    return group


def _element(elements: dict[_Path, _Element], path: _Path) -> _Element:
    if path not in elements:
        raise ChannelConfigError(f"the update lists {_name(path)} without defining it")
    return elements[path]


def _name(path: _Path) -> str:
    return f"{path[0]} {'/'.join(('/Channel', *path[1]))}"
