"""An organisation's definition: what Fabric would refuse, or silently not apply, is refused with a sentence."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fabric.crypto import IdentityError
from gateway.channel.definition import Definition, define, read_definition
from gateway.errors import InputError
from gateway.network.msp_folders import node_ous_config
from tests.support.hospital_ca import HospitalCa

NOW = datetime.now(UTC)


@pytest.fixture
def hospital(tmp_path: Path) -> HospitalCa:
    ca = HospitalCa("NorthMSP", tmp_path / "north")
    for name, unit in (("peer", "peer"), ("admin", "admin"), ("gateway", "client")):
        ca.issue(name, unit)
    return ca


def made(hospital: HospitalCa, **changes: object) -> Definition:
    given = {
        "authorities": [hospital.folder / "msp" / "ca.pem"],
        "intermediates": [],
        "tls_authorities": [hospital.folder / "msp" / "tlsca.pem"],
        "revocation_lists": [],
        "anchor_peers": ["peer.north.example:7051"],
        "now": NOW,
    }
    return define("NorthMSP", **{**given, **changes})  # type: ignore[arg-type] # each of its own type


def pem(hospital: HospitalCa, name: str) -> bytes:
    return hospital.organisation.files(name).certificate.read_bytes()


def test_what_is_written_is_read_again_and_holds_no_key(hospital: HospitalCa, tmp_path: Path) -> None:
    definition = made(hospital)
    (tmp_path / "organisation.json").write_text(definition.model_dump_json())
    assert read_definition(tmp_path / "organisation.json", NOW) == definition
    assert "PRIVATE" not in definition.model_dump_json()
    assert definition.anchors == [("peer.north.example", 7051)]


@pytest.mark.parametrize(("name", "role"), [("peer", "peer"), ("admin", "admin"), ("gateway", "client")])
def test_certificates_of_the_hospital_s_own_authority_have_their_roles(hospital: HospitalCa, name: str, role: str) -> None:
    assert made(hospital).msp.member(pem(hospital, name), NOW).role == role


def test_a_revoked_certificate_is_out_and_the_others_stay(hospital: HospitalCa) -> None:
    hospital.revoke(hospital.organisation.files("gateway").certificate)
    msp = made(hospital, revocation_lists=[hospital.folder / "msp" / "crl.pem"]).msp
    with pytest.raises(IdentityError, match="was revoked"):
        msp.member(pem(hospital, "gateway"), NOW)
    assert msp.member(pem(hospital, "admin"), NOW).role == "admin"


def test_during_a_rotation_both_authorities_count(hospital: HospitalCa) -> None:
    before = pem(hospital, "gateway")
    hospital.revoke(hospital.organisation.files("admin").certificate)
    hospital.rotate()
    hospital.issue("gateway", "client")
    both = [hospital.folder / "msp" / name for name in ("ca.pem", "ca-previous.pem")]
    msp = made(hospital, authorities=both, revocation_lists=[hospital.folder / "msp" / "crl-previous.pem"]).msp
    assert {msp.member(each, NOW).role for each in (before, pem(hospital, "gateway"))} == {"client"}
    with pytest.raises(IdentityError, match="was revoked"):
        msp.member(pem(hospital, "admin"), NOW)
    with pytest.raises(IdentityError, match="was not issued"):
        made(hospital).msp.member(before, NOW)
    hospital.revoke(hospital.organisation.files("gateway").certificate)
    assert made(hospital, revocation_lists=[hospital.folder / "msp" / "crl.pem"]).revocation_lists


def test_several_tls_authorities_can_be_joined_to_a_bundle(hospital: HospitalCa) -> None:
    both = made(hospital, tls_authorities=[hospital.organisation.tls_ca, hospital.organisation.ca]).msp.tls_root_certs
    assert len(x509.load_pem_x509_certificates(b"".join(both))) == 2


def test_an_administrator_gets_the_folder_that_fabric_s_own_command_reads(hospital: HospitalCa) -> None:
    folder = hospital.folder / "admin" / "msp"
    assert (folder / "keystore" / "key.pem").read_bytes() == hospital.organisation.files("admin").private_key.read_bytes()
    assert stat.S_IMODE((folder / "keystore" / "key.pem").stat().st_mode) == 0o600
    assert yaml.safe_load((folder / "config.yaml").read_text()) == json.loads(node_ous_config())
    assert not (hospital.folder / "peer" / "msp").exists()


def test_what_is_renewed_keeps_what_was_before(hospital: HospitalCa) -> None:
    before = pem(hospital, "peer")
    hospital.issue("peer", "peer")
    assert (hospital.folder / "peer" / "previous" / "cert.pem").read_bytes() == before != pem(hospital, "peer")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("init", "Again"), "holds an authority already"),
        (("issue", "ca", "client"), "not ca or msp"),
        (("issue", "../x", "client"), "not ca or msp"),
        (("issue", "x", "root"), "OU is admin, peer, client or orderer, not root"),
        (("revoke", "/dev/null"), "was not issued by this authority"),
        (("enrol",), "hospital-ca DIR issue"),
    ],
)
def test_the_script_says_what_is_wrong(hospital: HospitalCa, words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        hospital.run(*words)


def test_a_leaf_is_not_an_authority(hospital: HospitalCa) -> None:
    with pytest.raises(InputError, match="is not a certificate authority"):
        made(hospital, authorities=[hospital.organisation.files("peer").certificate])


def test_a_file_with_a_key_in_it_is_refused(hospital: HospitalCa, tmp_path: Path) -> None:
    (tmp_path / "both.pem").write_bytes(
        (hospital.folder / "msp" / "ca.pem").read_bytes() + (hospital.folder / "ca" / "ca-key.pem").read_bytes()
    )
    with pytest.raises(InputError, match="holds a private key too"):
        made(hospital, authorities=[tmp_path / "both.pem"])


def test_one_certificate_a_file(hospital: HospitalCa, tmp_path: Path) -> None:
    (tmp_path / "two.pem").write_bytes((hospital.folder / "msp" / "ca.pem").read_bytes() * 2)
    with pytest.raises(InputError, match="more than one certificate"):
        made(hospital, authorities=[tmp_path / "two.pem"])


def test_an_authority_that_has_expired_is_refused(hospital: HospitalCa) -> None:
    with pytest.raises(InputError, match="expired on"):
        made(hospital, now=NOW + timedelta(days=5000))


def test_a_list_of_another_authority_is_refused(hospital: HospitalCa, tmp_path: Path) -> None:
    other = HospitalCa("SouthMSP", tmp_path / "south")
    other.issue("x", "client")
    other.revoke(other.organisation.files("x").certificate)
    with pytest.raises(InputError, match="signed by none of the organisation's authorities"):
        made(hospital, revocation_lists=[other.folder / "msp" / "crl.pem"])


def test_a_list_that_fabric_would_not_apply_is_refused(hospital: HospitalCa, tmp_path: Path) -> None:
    """Fabric finds a list's authority by its key identifier alone."""
    key = serialization.load_pem_private_key(hospital.organisation.ca_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(hospital.organisation.ca.read_bytes()).subject
    plain = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(NOW).next_update(NOW + timedelta(days=1))
    (tmp_path / "crl.pem").write_bytes(plain.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    with pytest.raises(InputError, match="lacks the authority key identifier"):
        made(hospital, revocation_lists=[tmp_path / "crl.pem"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "organisation.json: "),
        ("{}", "mspid is missing"),
        ('{"mspid": "N", "root_certificates": [], "tls_root_certificates": ["x"]}', "root_certificates"),
        ('{"mspid": "N", "root_certificates": ["x"], "tls_root_certificates": ["x"]}', "cannot be read as PEM"),
        ('{"mspid": "N", "root_certificates": ["x"], "tls_root_certificates": ["x"], "keys": []}', "unknown key keys"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "organisation.json"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence) as refused:
        read_definition(path, NOW)
    assert "organisation.json" in str(refused.value)


def test_a_missing_file_is_named(hospital: HospitalCa, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*absent\.pem"):
        made(hospital, authorities=[tmp_path / "absent.pem"])
