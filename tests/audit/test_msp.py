"""Membership: who is accepted in which role, and that anything else is one specific error."""

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from fabric_protos.msp import identities_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.crypto import IdentityError, SigningIdentity
from fabric.msp import Msp, MspRegistry
from tests.support.chain import NOW, Authority, authority, identity

DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority("ca.alpha")


@pytest.fixture(scope="module")
def client(ca: Authority) -> SigningIdentity:
    return identity("AlphaMSP", "client", ["client"], ca)


def msp(ca: Authority, **fields: tuple[bytes, ...]) -> Msp:
    return Msp("AlphaMSP", (ca.pem,), **fields)


def revocation_list(ca: Authority, *revoked: SigningIdentity) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.subject).last_update(NOW).next_update(NOW + DAY)
    for one in revoked:
        serial = x509.load_pem_x509_certificate(one.certificate_pem).serial_number
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build())
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("role", ["client", "peer", "admin", "orderer"])
def test_the_organisational_unit_gives_the_role(ca: Authority, role: str) -> None:
    member = msp(ca).member(identity("AlphaMSP", "somebody", ["hospital", role], ca).certificate_pem, NOW)
    assert (member.mspid, member.role) == ("AlphaMSP", role)


@pytest.mark.parametrize("units", [[], ["hospital"], ["client", "peer"]])
def test_exactly_one_role_is_needed(ca: Authority, units: list[str]) -> None:
    with pytest.raises(IdentityError, match="exactly one of the units"):
        msp(ca).member(identity("AlphaMSP", "somebody", units, ca).certificate_pem, NOW)


def test_without_node_ous_only_listed_admins_are_admins(ca: Authority, client: SigningIdentity) -> None:
    other = identity("AlphaMSP", "other", ["admin"], ca)
    plain = Msp("AlphaMSP", (ca.pem,), admins=(client.certificate_pem,), node_ous=())
    assert plain.member(client.certificate_pem, NOW).role == "admin"
    assert plain.member(other.certificate_pem, NOW).role == "member"


def test_the_period_is_judged_only_where_a_moment_is_given(ca: Authority) -> None:
    short = identity("AlphaMSP", "short", ["client"], ca, start=NOW, days=1)
    rules = msp(ca)
    assert rules.member(short.certificate_pem, NOW).role == "client"
    assert rules.member(short.certificate_pem, None).role == "client"
    with pytest.raises(IdentityError, match="expired on 2026-03-02"):
        rules.member(short.certificate_pem, NOW + 2 * DAY)
    with pytest.raises(IdentityError, match="not valid before 2026-03-01"):
        rules.member(short.certificate_pem, NOW - DAY)


def test_a_certificate_of_another_authority_is_refused_even_with_the_same_name(ca: Authority) -> None:
    impostor = authority("ca.alpha")
    with pytest.raises(IdentityError, match="was not issued by"):
        msp(ca).member(identity("AlphaMSP", "client", ["client"], impostor).certificate_pem, NOW)


def test_a_chain_over_an_intermediate_authority(ca: Authority) -> None:
    between = authority("ica.alpha", ca)
    client = identity("AlphaMSP", "client", ["client"], between)
    assert msp(ca, intermediate_certs=(between.pem,)).member(client.certificate_pem, NOW).role == "client"
    with pytest.raises(IdentityError, match="was not issued by"):
        msp(ca).member(client.certificate_pem, NOW)
    orphaned = Msp("AlphaMSP", (authority("another").pem,), (between.pem,))
    with pytest.raises(IdentityError, match="was not issued by"):
        orphaned.member(client.certificate_pem, NOW)


def test_a_member_cannot_issue_certificates(ca: Authority, client: SigningIdentity) -> None:
    issuer = Authority(x509.load_pem_x509_certificate(client.certificate_pem), client.private_key)
    with pytest.raises(IdentityError, match="was not issued by"):
        msp(ca).member(identity("AlphaMSP", "child", ["admin"], issuer).certificate_pem, NOW)


def test_an_authority_is_not_an_identity(ca: Authority) -> None:
    with pytest.raises(IdentityError, match="certificate authority"):
        msp(ca).member(ca.pem, NOW)


def test_revocation(ca: Authority, client: SigningIdentity) -> None:
    other = identity("AlphaMSP", "other", ["client"], ca)
    revoking = msp(ca, crls=(revocation_list(ca, client),))
    assert revoking.member(other.certificate_pem, NOW).role == "client"
    with pytest.raises(IdentityError, match="was revoked"):
        revoking.member(client.certificate_pem, NOW)
    # A list that the issuer did not sign revokes nothing.
    assert msp(ca, crls=(revocation_list(authority("ca.alpha"), client),)).member(client.certificate_pem, NOW).role == "client"


def test_the_channel_configuration_form_is_read_back(ca: Authority, client: SigningIdentity) -> None:
    intermediate, tls = (authority("ica.alpha", ca).pem,), (authority("tls.alpha").pem,)
    rules = Msp("AlphaMSP", (ca.pem,), intermediate, tls, (revocation_list(ca),), (client.certificate_pem,))
    assert Msp.from_config(rules.to_config()) == rules
    plain = Msp("AlphaMSP", (ca.pem,), node_ous=())
    assert Msp.from_config(plain.to_config()) == plain


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x08\x01"])
def test_other_bytes_are_no_msp(data: bytes) -> None:
    with pytest.raises(IdentityError):
        Msp.from_config(data)


def test_the_registry_asks_the_msp_that_the_identity_names(ca: Authority, client: SigningIdentity) -> None:
    beta = authority("ca.beta")
    registry = MspRegistry({"AlphaMSP": msp(ca), "BetaMSP": Msp("BetaMSP", (beta.pem,))})
    assert registry.authenticate(client.serialized, NOW).mspid == "AlphaMSP"
    for claimed in ("BetaMSP", "GammaMSP"):
        forged = identities_pb2.SerializedIdentity(mspid=claimed, id_bytes=client.certificate_pem).SerializeToString()
        with pytest.raises(IdentityError):
            registry.authenticate(forged, NOW)
    with pytest.raises(IdentityError, match="not a serialised identity"):
        registry.authenticate(b"\xff", NOW)


@settings(max_examples=300, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), replacement=st.binary(max_size=3))
def test_no_certificate_bytes_do_more_than_raise(ca: Authority, client: SigningIdentity, position: float, replacement: bytes) -> None:
    der = x509.load_pem_x509_certificate(client.certificate_pem).public_bytes(serialization.Encoding.DER)
    offset = int(position * len(der))
    pem = _pem(der[:offset] + replacement + der[offset + 1 :])
    try:
        member = msp(ca).member(pem, NOW)
    except IdentityError:
        return
    assert member.certificate.public_bytes(serialization.Encoding.DER) == der


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def test_a_unit_that_is_bound_to_an_authority_counts_only_in_its_certificates(ca: Authority, client: SigningIdentity) -> None:
    """As in an MSP folder whose config.yaml names a certificate for each unit."""
    later = authority("ca.alpha.later")
    renewed = identity("AlphaMSP", "client", ["client"], later)
    admin = identity("AlphaMSP", "admin", ["admin"], later)
    bound = Msp.from_config(Msp("AlphaMSP", (ca.pem, later.pem), unit_issuers=(("client", ca.pem),)).to_config())
    assert bound.unit_issuers == (("client", ca.pem),)
    assert bound.member(client.certificate_pem, NOW).role == "client"
    assert bound.member(admin.certificate_pem, NOW).role == "admin"
    with pytest.raises(IdentityError, match="carries the unit client, which AlphaMSP gives to another authority's certificates"):
        bound.member(renewed.certificate_pem, NOW)
    free = Msp("AlphaMSP", (ca.pem, later.pem))
    assert {free.member(each.certificate_pem, NOW).role for each in (client, renewed)} == {"client"}
