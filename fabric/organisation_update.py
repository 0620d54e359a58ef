"""An organisation added to a channel's configuration, or its certificate authorities and revocation lists exchanged."""

from collections.abc import Iterator, Sequence

from fabric_protos.common import configtx_pb2

from fabric.channel import ChannelConfigError, application_organisation
from fabric.msp import Msp


def with_organisation(channel: configtx_pb2.ConfigGroup, msp: Msp, anchor_peers: Sequence[tuple[str, int]]) -> configtx_pb2.ConfigGroup:
    """A copy of the channel group with one more organisation under Application; raise ChannelConfigError if it belongs already."""
    after = _copy(channel)
    if list(_groups_of(after, msp.mspid)):
        raise ChannelConfigError(f"{msp.mspid} belongs to the channel already")
    after.groups["Application"].groups[msp.mspid].CopyFrom(application_organisation(msp, anchor_peers))
    return after


def with_msp(channel: configtx_pb2.ConfigGroup, msp: Msp, anchor_peers: Sequence[tuple[str, int]]) -> configtx_pb2.ConfigGroup:
    """A copy of the channel group in which the organisation's MSP is the given one, wherever it belongs: Application, Orderer or both.

    Its anchor peers are replaced where some are given. Raises ChannelConfigError if the organisation does not belong to the channel.
    """
    after = _copy(channel)
    groups = list(_groups_of(after, msp.mspid))
    if not groups:
        raise ChannelConfigError(f"{msp.mspid} does not belong to the channel")
    for part, organisation in groups:
        organisation.values["MSP"].value = msp.to_config()
        if part == "Application" and anchor_peers:
            organisation.values["AnchorPeers"].CopyFrom(application_organisation(msp, anchor_peers).values["AnchorPeers"])
    return after


def _groups_of(channel: configtx_pb2.ConfigGroup, mspid: str) -> Iterator[tuple[str, configtx_pb2.ConfigGroup]]:
    for part in ("Application", "Orderer"):
        for organisation in channel.groups[part].groups.values():
            if Msp.from_config(organisation.values["MSP"].value).mspid == mspid:
                yield part, organisation


def _copy(group: configtx_pb2.ConfigGroup) -> configtx_pb2.ConfigGroup:
    copy = configtx_pb2.ConfigGroup()
    copy.CopyFrom(group)
    return copy
