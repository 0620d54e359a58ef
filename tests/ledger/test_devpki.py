"""Development certificates: what Fabric's MSP rules and TLS demand of them, and that keys stay private."""

import datetime
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fabric.crypto import IdentityError
from fabric.devpki import DevPkiError, NodeOu, Organisation, create_organisation, issue_identity
from fabric.msp import Msp

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
IDENTITIES: dict[str, NodeOu] = {"admin": "admin", "peer": "peer", "gateway": "client", "orderer": "orderer"}


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Organisation:
    return create_organisation(tmp_path_factory.mktemp("alpha"), "AlphaMSP", identities=IDENTITIES, now=NOW)


@pytest.mark.parametrize(("name", "role"), IDENTITIES.items())
def test_every_identity_is_a_member_in_its_role(alpha: Organisation, name: str, role: str) -> None:
    msp = Msp("AlphaMSP", (alpha.ca.read_bytes(),))
    member = msp.member(alpha.files(name).certificate.read_bytes(), NOW)
    assert (member.mspid, member.role) == ("AlphaMSP", role)


def test_a_certificate_of_the_tls_authority_is_no_identity(alpha: Organisation) -> None:
    with pytest.raises(IdentityError, match="not issued"):
        Msp("AlphaMSP", (alpha.ca.read_bytes(),)).member(alpha.files("gateway").tls_certificate.read_bytes(), NOW)


def test_keys_are_readable_by_their_owner_only(alpha: Organisation) -> None:
    keys = list(alpha.folder.rglob("*key.pem"))
    assert len(keys) == 2 + 2 * len(IDENTITIES)
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_tls_certificates_serve_and_call_on_this_machine(alpha: Organisation) -> None:
    certificate = x509.load_pem_x509_certificate(alpha.files("gateway").tls_certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert usages == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    files = alpha.files("gateway")
    ssl.create_default_context(cafile=alpha.tls_ca).load_cert_chain(files.tls_certificate, files.tls_private_key)


def test_authorities_carry_what_fabric_asks_of_them(alpha: Organisation) -> None:
    for path in (alpha.ca, alpha.tls_ca):
        extensions = x509.load_pem_x509_certificate(path.read_bytes()).extensions
        assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_an_identity_can_be_added_with_a_lifetime_of_its_own(tmp_path: Path) -> None:
    organisation = create_organisation(tmp_path / "beta", "BetaMSP", now=NOW)
    issue_identity(organisation, "researcher", "client", now=NOW, lifetime=datetime.timedelta(days=1))
    msp = Msp("BetaMSP", (organisation.ca.read_bytes(),))
    pem = organisation.identity("researcher").certificate_pem
    assert msp.member(pem, NOW).role == "client"
    with pytest.raises(IdentityError, match="expired"):
        msp.member(pem, NOW + datetime.timedelta(days=2))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    organisation = create_organisation(tmp_path / "beta", "BetaMSP", now=NOW)
    before = organisation.files("admin").private_key.read_bytes()
    with pytest.raises(DevPkiError, match="already holds an organisation"):
        create_organisation(tmp_path / "beta", "BetaMSP", now=NOW)
    with pytest.raises(DevPkiError, match="exists already"):
        issue_identity(organisation, "admin", "admin", now=NOW)
    assert organisation.files("admin").private_key.read_bytes() == before


@pytest.mark.parametrize("name", ["", "..", "a/b", "msp", "ca", "Admin", "a\x00b", "x" * 65])
def test_names_that_are_no_plain_folder_are_refused(alpha: Organisation, name: str) -> None:
    with pytest.raises(DevPkiError, match="identity name"):
        issue_identity(alpha, name, "client", now=NOW)
