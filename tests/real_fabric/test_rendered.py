"""What is shipped for real machines, as far as Fabric's own programs can judge it without containers: channel profile and updates."""

import shutil
import subprocess
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2, configtx_pb2
from hypothesis import HealthCheck, assume, given, settings

from fabric.channel import ChannelConfig, OrdererAddress, orderer_addresses
from fabric.channel_update import compute_update
from fabric.devpki import Organisation
from gateway.network.channel_profile import PROFILE
from gateway.network.description import CHANNEL, Description, MemberPorts, OrdererPorts
from gateway.network.home import open_home
from gateway.network.msp_folders import ORGANISATION, msp_files
from gateway.network.render import render
from tests.support.config_groups import config_groups, without_versions
from tests.support.hospital_ca import HospitalCa

pytestmark = pytest.mark.fabric


@pytest.mark.parametrize(("consensus", "count"), [("raft", 3), ("bft", 4)])
def test_the_rendered_profile_makes_the_first_block(fabric_home: Path, tmp_path: Path, consensus: str, count: int) -> None:
    home = open_home(fabric_home)
    if consensus == "bft" and home.version < (3, 0):
        pytest.skip("BFT ordering came with Fabric 3.0; FABRIC_HOME is older")
    ports = {"peer": 7051, "peer_chaincode": 7052, "service": 9999}
    members = tuple(MemberPorts(mspid=f"H{each}MSP", host=f"peer.h{each}.example", **ports) for each in "ab")
    orderers = tuple(OrdererPorts(host=f"o{number}.example", listen=7050, admin=7053) for number in range(1, count + 1))
    description = Description.model_validate(
        {"consensus": consensus, "orderer_mspid": "OMSP", "orderers": orderers, "members": members, "pki": "pki"}
    )
    render(description, "compose", tmp_path)
    channel = tmp_path / "channel"
    # What the founders send to the one who makes the first block: public certificates only.
    for mspid in ("OMSP", *(member.mspid for member in members)):
        ca = HospitalCa(mspid, tmp_path / mspid)
        for target, source in msp_files(ca.organisation, None).items():
            _copy(source, channel / "msp" / mspid / ORGANISATION / target)
        for number, orderer in enumerate(orderers if mspid == "OMSP" else (), 1):
            ca.issue(f"orderer-{number}", "orderer", orderer.host)
            files = ca.organisation.files(f"orderer-{number}")
            sent = Organisation(mspid, channel / "pki" / mspid).files(f"orderer-{number}")
            _copy(files.tls_certificate, sent.tls_certificate)
            _copy(files.certificate, sent.certificate)
    block = tmp_path / "genesis.block"
    words = ["-configPath", channel, "-profile", PROFILE, "-channelID", CHANNEL, "-outputBlock", block]
    done = subprocess.run([home.program("configtxgen"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    envelope = common_pb2.Block.FromString(block.read_bytes()).data.data[0]
    config = ChannelConfig.parse(envelope)
    assert {msp.mspid for msp in config.application} == {member.mspid for member in members}
    assert orderer_addresses(envelope) == tuple(OrdererAddress(f"{each.host}:7050", "OMSP") for each in orderers)


# Each example starts a program, which takes what it takes.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(before=config_groups(), after=config_groups())
def test_updates_are_computed_as_configtxlator_computes_them(
    fabric_home: Path, tmp_path: Path, before: configtx_pb2.ConfigGroup, after: configtx_pb2.ConfigGroup
) -> None:
    program = fabric_home / "bin" / "configtxlator"
    if not program.exists():
        pytest.skip(f"{program} is missing; it is not needed otherwise")
    assume(without_versions(before) != without_versions(after))
    for name, group in (("before", before), ("after", after)):
        (tmp_path / name).write_bytes(configtx_pb2.Config(channel_group=group).SerializeToString())
    files = ["--original", tmp_path / "before", "--updated", tmp_path / "after", "--output", tmp_path / "update"]
    subprocess.run([program, "compute_update", "--channel_id", CHANNEL, *files], capture_output=True, check=True)
    official = configtx_pb2.ConfigUpdate.FromString((tmp_path / "update").read_bytes())
    assert configtx_pb2.ConfigUpdate.FromString(compute_update(CHANNEL, before, after).config_update) == official


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
