"""A network's folder, before anything of it runs."""

import json
import stat
from pathlib import Path

import pytest

from fabric.crypto import load_signing_identity
from fabric.devpki import create_organisation
from fabric.msp import Msp
from gateway.config import load_client_config
from gateway.connect import open_ledger
from gateway.errors import InputError
from gateway.network.channel_profile import PROFILE, configtx
from gateway.network.create import create
from gateway.network.description import DESCRIPTION, Network, Orderers, load, parse_orderers
from gateway.network.msp_folders import ORGANISATION

MSPIDS = ("Org1MSP", "Org2MSP", "Org3MSP")
RAFT = Orderers(consensus="raft", count=3)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return create(tmp_path / "net", MSPIDS, RAFT, client="client")


def test_what_was_made_is_what_is_read_again(network: Network) -> None:
    again = load(network.folder)
    assert again == network
    assert [member.mspid for member in again.members] == list(MSPIDS)
    assert [orderer.name for orderer in again.orderers] == ["orderer-1", "orderer-2", "orderer-3"]
    members = [port for member in again.members for port in (member.ports.peer, member.ports.peer_chaincode, member.ports.service)]
    orderers = [port for orderer in again.orderers for port in (orderer.ports.listen, orderer.ports.admin)]
    assert len({*members, *orderers}) == 15


def read_msp(mspid: str, folder: Path) -> Msp:
    """An MSP folder as Fabric reads it."""
    assert json.loads((folder / "config.yaml").read_text())["NodeOUs"]["Enable"]
    authorities, tls = ([path.read_bytes() for path in sorted((folder / kind).iterdir())] for kind in ("cacerts", "tlscacerts"))
    return Msp(mspid, tuple(authorities), tls_root_certs=tuple(tls))


@pytest.mark.parametrize(("name", "role"), [("peer", "peer"), ("admin", "admin")])
def test_msp_folders_hold_identities_of_their_organisation_in_their_role(network: Network, name: str, role: str) -> None:
    for member in network.members:
        folder = member.msp(name)
        identity = load_signing_identity(member.mspid, folder / "signcerts" / "cert.pem", folder / "keystore" / "key.pem")
        # Judged by the organisation's public folder, which is all that others have of it.
        assert read_msp(member.mspid, member.msp(ORGANISATION)).member(identity.certificate_pem, None).role == role
        assert stat.S_IMODE((folder / "keystore" / "key.pem").stat().st_mode) == 0o600
        assert not (member.msp(ORGANISATION) / "keystore").exists()


def test_every_orderer_has_an_identity_of_its_own(network: Network) -> None:
    msp = read_msp("OrdererMSP", network.orderer_msp(ORGANISATION))
    certificates = {(orderer.msp / "signcerts" / "cert.pem").read_bytes() for orderer in network.orderers}
    assert len(certificates) == 3
    assert {msp.member(certificate, None).role for certificate in certificates} == {"orderer"}


def test_each_client_finds_its_own_organisation_s_peer(network: Network) -> None:
    for member in network.members:
        for kind, ou in (("clients", "client"), ("admins", "admin")):
            config = load_client_config(network.folder / kind / f"{member.mspid}.toml")
            assert config.ledger.endpoint == member.endpoint
            assert config.ledger.tls_ca.read_bytes() == member.organisation.tls_ca.read_bytes()
            found = read_msp(member.mspid, member.msp(ORGANISATION)).member(config.identity.load().certificate_pem, None)
            assert found.role == ou


async def test_the_configurations_make_a_ledger_client(network: Network) -> None:
    await open_ledger(load_client_config(network.folder / "clients" / "Org1MSP.toml")).close()


def test_the_channel_wants_majorities(network: Network) -> None:
    channel = configtx(network)["Profiles"][PROFILE]
    majority = {"Type": "ImplicitMeta", "Rule": "MAJORITY Endorsement"}
    assert channel["Application"]["Policies"]["Endorsement"] == majority
    assert channel["Application"]["Policies"]["LifecycleEndorsement"] == majority
    rules = {each["ID"]: each["Policies"]["Endorsement"]["Rule"] for each in channel["Application"]["Organizations"]}
    assert rules == {mspid: f"OR('{mspid}.peer')" for mspid in MSPIDS}
    consenters = channel["Orderer"]["EtcdRaft"]["Consenters"]
    assert [each["Port"] for each in consenters] == [orderer.ports.listen for orderer in network.orderers]


def test_bft_orderers_are_known_by_number_and_identity(tmp_path: Path) -> None:
    network = create(tmp_path / "net", MSPIDS, Orderers(consensus="bft", count=4))
    channel = configtx(network)["Profiles"][PROFILE]
    assert (channel["Orderer"]["OrdererType"], channel["Capabilities"]) == ("BFT", {"V3_0": True})
    mapping = channel["Orderer"]["ConsenterMapping"]
    assert [each["ID"] for each in mapping] == [1, 2, 3, 4]
    assert len({Path(each["Identity"]).read_bytes() for each in mapping}) == 4


def test_certificates_that_are_there_are_kept(tmp_path: Path) -> None:
    hospital = create_organisation(tmp_path / "pki" / "north", "north", identities={"gateway": "client", "peer": "peer"})
    before = {name: hospital.files(name).certificate.read_bytes() for name in ("gateway", "peer")}
    network = create(tmp_path / "net", ["north"], RAFT, pki="../pki")
    assert network.member("north").organisation == hospital
    assert {name: hospital.files(name).certificate.read_bytes() for name in before} == before
    assert (network.member("north").msp("peer") / "signcerts" / "cert.pem").read_bytes() == before["peer"]


def test_nothing_is_made_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("keep me")
    with pytest.raises(InputError, match="is not empty and holds no network"):
        create(tmp_path, MSPIDS, RAFT)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("text", ["raft:3", "raft:1", "raft:5", "bft:4", "bft:7"])
def test_orderers_are_read(text: str) -> None:
    orderers = parse_orderers(text)
    assert f"{orderers.consensus}:{orderers.count}" == text


@pytest.mark.parametrize("text", ["", "raft", "raft:", "raft:2", "raft:03", "bft:3", "bft:5", "solo:1", "raft:-3", "raft:3 ", "raft:333"])
def test_other_orderers_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="write one of raft:1, raft:3, raft:5, bft:4, bft:7"):
        parse_orderers(text)


@pytest.mark.parametrize("text", ["", "[]", '{"consensus": "solo"}', '{"unknown": 1}'])
def test_a_damaged_description_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(InputError, match=DESCRIPTION):
        load(tmp_path)


def test_a_folder_without_network_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no network; make one with `consortium network up`"):
        load(tmp_path)
