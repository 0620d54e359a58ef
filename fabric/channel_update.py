"""Channel configuration updates: computed from two configurations, signed by administrators one after the other, handed in by one.

An update travels between administrators as the file that Fabric's own `peer channel signconfigtx` and `peer channel update` take:
a `common.Envelope` of the type CONFIG_UPDATE.
"""

import datetime
from dataclasses import dataclass, replace
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError

from fabric.channel import ChannelConfigError
from fabric.crypto import SigningIdentity

_KINDS = ("values", "policies", "groups")


@dataclass(frozen=True)
class ChannelUpdate:
    """An update of a channel's configuration with the signatures gathered so far (`common.ConfigSignature` bytes)."""

    channel: str
    config_update: bytes
    signatures: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> "ChannelUpdate":
        """Read the file's bytes; raise ChannelConfigError if they are no configuration update."""
        try:
            payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(data).payload)
            header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
            signed = configtx_pb2.ConfigUpdateEnvelope.FromString(payload.data)
        except DecodeError as error:
            raise ChannelConfigError("it is no channel configuration update") from error
        if header.type != common_pb2.CONFIG_UPDATE or not signed.config_update:
            raise ChannelConfigError("it is no channel configuration update")
        return cls(header.channel_id, signed.config_update, tuple(each.SerializeToString() for each in signed.signatures))

    def to_bytes(self) -> bytes:
        """The file's bytes. The envelope itself is signed only when the update is handed in."""
        envelope: bytes = common_pb2.Envelope(payload=self._payload(b"", None)).SerializeToString()
        return envelope

    def signed_by(self, identity: SigningIdentity, nonce: bytes) -> "ChannelUpdate":
        """With one more signature; one of the same certificate that is there already counts once."""
        header = common_pb2.SignatureHeader(creator=identity.serialized, nonce=nonce).SerializeToString()
        signature = configtx_pb2.ConfigSignature(signature_header=header, signature=identity.sign(header + self.config_update))
        return replace(self, signatures=(*self.signatures, signature.SerializeToString()))

    def merged(self, other: "ChannelUpdate") -> "ChannelUpdate":
        """With the signatures of another copy too; raise ChannelConfigError if that is another update."""
        if (other.channel, other.config_update) != (self.channel, self.config_update):
            raise ChannelConfigError("the files hold different updates; have the administrators sign copies of one file")
        return replace(self, signatures=tuple(dict.fromkeys((*self.signatures, *other.signatures))))

    def transaction(self, identity: SigningIdentity, nonce: bytes, *, timestamp: datetime.datetime) -> bytes:
        """`common.Envelope` bytes for the ordering service, signed by who hands it in."""
        creator = common_pb2.SignatureHeader(creator=identity.serialized, nonce=nonce).SerializeToString()
        payload = self._payload(creator, timestamp)
        envelope: bytes = common_pb2.Envelope(payload=payload, signature=identity.sign(payload)).SerializeToString()
        return envelope

    @property
    def message(self) -> configtx_pb2.ConfigUpdateEnvelope:
        """`common.ConfigUpdateEnvelope`, the update with its signatures."""
        signatures = [configtx_pb2.ConfigSignature.FromString(each) for each in self.signatures]
        return configtx_pb2.ConfigUpdateEnvelope(config_update=self.config_update, signatures=signatures)

    def _payload(self, signature_header: bytes, timestamp: datetime.datetime | None) -> bytes:
        channel_header = common_pb2.ChannelHeader(type=common_pb2.CONFIG_UPDATE, channel_id=self.channel)
        if timestamp is not None:
            channel_header.timestamp.FromDatetime(timestamp)
        header = common_pb2.Header(channel_header=channel_header.SerializeToString(), signature_header=signature_header)
        payload: bytes = common_pb2.Payload(header=header, data=self.message.SerializeToString()).SerializeToString()
        return payload


def compute_update(channel: str, before: configtx_pb2.ConfigGroup, after: configtx_pb2.ConfigGroup) -> ChannelUpdate:
    """The update that turns one channel group into another, as `configtxlator compute_update` computes it; versions in `after` are ignored.

    Raises ChannelConfigError if both are the same.
    """
    read, write, changed = _difference(before, after)
    if not changed:
        raise ChannelConfigError("the channel's configuration says this already; there is nothing to update")
    update = configtx_pb2.ConfigUpdate(channel_id=channel, read_set=read, write_set=write)
    return ChannelUpdate(channel, update.SerializeToString(deterministic=True))


def _difference(
    before: configtx_pb2.ConfigGroup, after: configtx_pb2.ConfigGroup
) -> tuple[configtx_pb2.ConfigGroup, configtx_pb2.ConfigGroup, bool]:
    """Read set and write set of a group, and whether anything in it changes.

    Only what changes is listed, with its version raised by one. A group that gains or loses members changes itself: then it lists all
    it has, what stays by its version alone.
    """
    read, write, same = (configtx_pb2.ConfigGroup(version=before.version) for _ in range(3))
    for kind in ("values", "policies"):
        _compare(getattr(before, kind), getattr(after, kind), getattr(write, kind), getattr(same, kind))
    for name, group in after.groups.items():
        existing = before.groups[name] if name in before.groups else configtx_pb2.ConfigGroup()
        child_read, child_write, changed = _difference(existing, group)
        if name not in before.groups:
            child_write.version, child_write.mod_policy = 0, group.mod_policy
            write.groups[name].CopyFrom(child_write)
        elif changed:
            read.groups[name].CopyFrom(child_read)
            write.groups[name].CopyFrom(child_write)
        else:
            same.groups[name].version = existing.version
    if before.mod_policy == after.mod_policy and all(set(getattr(before, kind)) == set(getattr(after, kind)) for kind in _KINDS):
        return read, write, any(len(getattr(write, kind)) for kind in _KINDS)
    write.version, write.mod_policy = before.version + 1, after.mod_policy
    for kind in _KINDS:
        for name, entry in getattr(same, kind).items():
            for members in (getattr(read, kind), getattr(write, kind)):
                members[name].CopyFrom(entry)
    return read, write, True


def _compare(before: Any, after: Any, changed: Any, same: Any) -> None:
    """Sort a group's new values or policies (protobuf maps of one type) into those that are changed and those that stay."""
    for name, entry in after.items():
        if name in before and _content(before[name]) == _content(entry):
            same[name].version = before[name].version
        else:
            changed[name].CopyFrom(entry)
            changed[name].version = before[name].version + 1 if name in before else 0


def _content(entry: Any) -> Any:
    content = type(entry)()
    content.CopyFrom(entry)
    content.version = 0
    return content
