"""Updates as they are computed, against those of Fabric's own tools in recorded blocks, and against what applying them gives."""

import gzip
import itertools
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2, configtx_pb2
from hypothesis import assume, given

from fabric.channel import ChannelConfig, ChannelConfigError, config_of
from fabric.channel_update import ChannelUpdate, compute_update
from fabric.config_update import proposed_changes, signers_of
from gateway.auditor.export import read_blocks
from tests.support.config_groups import config_groups, without_versions

VECTORS = sorted((Path(__file__).parents[1] / "audit" / "vectors").glob("fabric-*.blocks.gz"))
Group = configtx_pb2.ConfigGroup


def configurations(blocks: list[common_pb2.Block]) -> list[bytes]:
    """The envelopes of the channel's configurations, in order."""
    found = []
    for envelope in (block.data.data[0] for block in blocks):
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
        if common_pb2.ChannelHeader.FromString(payload.header.channel_header).type == common_pb2.CONFIG:
            found.append(envelope)
    return found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.name.removesuffix(".blocks.gz"))
def test_a_computed_update_changes_what_the_recorded_one_changed(vector: Path, tmp_path: Path) -> None:
    (tmp_path / "blocks").write_bytes(gzip.decompress(vector.read_bytes()))
    recorded = configurations(list(read_blocks(tmp_path / "blocks")))
    assert len(recorded) > 2
    # One of them raises a version and changes nothing, which no tool computes.
    changed = [pair for pair in itertools.pairwise(recorded) if without_versions(group(pair[0])) != without_versions(group(pair[1]))]
    assert changed
    for before, after in changed:
        config = ChannelConfig.parse(before)
        official = ChannelUpdate.parse(config_of(after).last_update.SerializeToString())
        own = compute_update(official.channel, group(before), group(after))
        signers = signers_of(config, official.message)
        assert signers
        changes = proposed_changes(config, before, official.message, signers)
        assert proposed_changes(config, before, own.message, signers) == changes
        assert all(change.satisfied for change in changes)
        assert not any(change.satisfied for change in proposed_changes(config, before, own.message, []) if change.policy)


def group(envelope: bytes) -> Group:
    return config_of(envelope).config.channel_group


def applied(before: Group, read: Group, write: Group) -> Group:
    """A group after an update: an independent reading of the rule. A raised version replaces what the group holds by what is listed."""
    after = Group()
    after.CopyFrom(before)
    if write.version != read.version:
        assert write.version == before.version + 1
        after.mod_policy = write.mod_policy
        for kind in ("values", "policies", "groups"):
            for name in list(getattr(after, kind)):
                if name not in getattr(write, kind):
                    del getattr(after, kind)[name]
    for kind in ("values", "policies"):
        for name, entry in getattr(write, kind).items():
            known, changed = getattr(before, kind), getattr(after, kind)
            if name not in known or entry.version != known[name].version:
                assert entry.version == (known[name].version + 1 if name in known else 0)
                changed[name].CopyFrom(entry)
    for name, child in write.groups.items():
        if name in before.groups:
            after.groups[name].CopyFrom(applied(before.groups[name], read.groups[name], child))
        else:
            assert child.version == 0
            after.groups[name].CopyFrom(child)
    return after


@given(config_groups(), config_groups())
def test_an_update_gives_what_it_was_computed_for(before: Group, after: Group) -> None:
    assume(without_versions(before) != without_versions(after))
    update = configtx_pb2.ConfigUpdate.FromString(compute_update("channel", before, after).config_update)
    assert update.read_set.version == before.version
    assert without_versions(applied(before, update.read_set, update.write_set)) == without_versions(after)


@given(config_groups())
def test_nothing_is_no_update(same: Group) -> None:
    with pytest.raises(ChannelConfigError, match="nothing to update"):
        compute_update("channel", same, without_versions(same))


def test_only_what_changes_is_listed() -> None:
    before = Group(version=1, mod_policy="Admins", values={"a": configtx_pb2.ConfigValue(version=4, value=b"1")})
    before.groups["Application"].values["kept"].value = b"k"
    after = Group()
    after.CopyFrom(before)
    after.values["a"].value = b"2"
    update = configtx_pb2.ConfigUpdate.FromString(compute_update("c", before, after).config_update)
    assert (update.read_set, update.write_set.version) == (Group(version=1), 1)
    assert {name: value.version for name, value in update.write_set.values.items()} == {"a": 5}
    assert not update.write_set.groups


@pytest.mark.parametrize("data", [b"", b"\xff", common_pb2.Envelope(payload=b"\x0a").SerializeToString(), b"\x0a\x00"])
def test_other_bytes_are_no_update(data: bytes) -> None:
    with pytest.raises(ChannelConfigError, match="no channel configuration update"):
        ChannelUpdate.parse(data)
