"""Certificate authorities and certificates for development and trials.

One organisation is one folder:

    <org>/ca/ca-key.pem, tlsca-key.pem      the two authorities' private keys (mode 0600)
    <org>/msp/ca.pem, tlsca.pem             their certificates: all that others need of the organisation
    <org>/<name>/cert.pem, key.pem          an identity; its NodeOU (admin, peer, client, orderer) is the subject's OU
    <org>/<name>/tls-cert.pem, tls-key.pem  its TLS certificate, for a server and for a client, on localhost and 127.0.0.1

Keys are ECDSA P-256. A production deployment brings certificates of its own authority and never runs this.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fabric.crypto import SigningIdentity, load_signing_identity

NodeOu = Literal["admin", "peer", "client", "orderer"]

DEFAULT_IDENTITIES: Mapping[str, NodeOu] = MappingProxyType({"admin": "admin", "peer": "peer"})
AUTHORITY_LIFETIME = timedelta(days=3650)
IDENTITY_LIFETIME = timedelta(days=365)
CLOCK_SKEW = timedelta(minutes=5)
RESERVED_FOLDERS = frozenset({"ca", "msp"})


class DevPkiError(ValueError):
    """An organisation or identity cannot be created; the message says why."""


@dataclass(frozen=True)
class IdentityFiles:
    """Where one identity's four PEM files lie."""

    certificate: Path
    private_key: Path
    tls_certificate: Path
    tls_private_key: Path


@dataclass(frozen=True)
class Organisation:
    """An organisation's folder, in the layout of this module."""

    mspid: str
    folder: Path

    @property
    def ca(self) -> Path:
        """Certificate of the authority that issues identities."""
        return self.folder / "msp" / "ca.pem"

    @property
    def tls_ca(self) -> Path:
        """Certificate of the authority that issues TLS certificates."""
        return self.folder / "msp" / "tlsca.pem"

    @property
    def ca_key(self) -> Path:
        return self.folder / "ca" / "ca-key.pem"

    @property
    def tls_ca_key(self) -> Path:
        return self.folder / "ca" / "tlsca-key.pem"

    def files(self, name: str) -> IdentityFiles:
        folder = self.folder / name
        return IdentityFiles(folder / "cert.pem", folder / "key.pem", folder / "tls-cert.pem", folder / "tls-key.pem")

    def identity(self, name: str) -> SigningIdentity:
        """Load an identity to sign with; raise IdentityError if it was never issued."""
        files = self.files(name)
        return load_signing_identity(self.mspid, files.certificate, files.private_key)


def create_organisation(
    folder: Path, mspid: str, *, identities: Mapping[str, NodeOu] = DEFAULT_IDENTITIES, now: datetime | None = None
) -> Organisation:
    """Make an organisation's two authorities and its first identities (name to NodeOU) in `folder`.

    Raises DevPkiError if `folder` already holds an organisation: keys are never overwritten.
    """
    organisation = Organisation(mspid, folder)
    if organisation.ca.exists():
        raise DevPkiError(f"{folder} already holds an organisation; choose another folder or remove it first")
    start = _utc(now)
    _create_authority(f"{mspid} development CA", organisation.ca, organisation.ca_key, start)
    _create_authority(f"{mspid} development TLS CA", organisation.tls_ca, organisation.tls_ca_key, start)
    for name, ou in identities.items():
        issue_identity(organisation, name, ou, now=start)
    return organisation


def issue_identity(
    organisation: Organisation, name: str, ou: NodeOu, *, now: datetime | None = None, lifetime: timedelta = IDENTITY_LIFETIME
) -> IdentityFiles:
    """Issue the identity `name` and its TLS certificate, valid from `now` (less clock skew) for `lifetime`.

    Raises DevPkiError if the name is taken or is not a plain file name.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name) or name in RESERVED_FOLDERS:
        raise DevPkiError(f"identity name {name!r} must be lower-case letters, digits, dots, dashes or underscores, and not 'ca' or 'msp'")
    files, start = organisation.files(name), _utc(now)
    if files.certificate.exists():
        raise DevPkiError(f"{files.certificate} exists already; choose another name for the identity")
    period = (start - CLOCK_SKEW, start + lifetime)
    _issue(
        _subject(organisation.mspid, f"{name}.{organisation.mspid}", ou),
        organisation.ca,
        organisation.ca_key,
        files.certificate,
        files.private_key,
        period,
        _identity_extensions(),
    )
    _issue(
        _subject(organisation.mspid, f"{name}.{organisation.mspid}", "tls"),
        organisation.tls_ca,
        organisation.tls_ca_key,
        files.tls_certificate,
        files.tls_private_key,
        period,
        _tls_extensions(name),
    )
    return files


def _utc(now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)).astimezone(UTC)


def _subject(organisation: str, common_name: str, ou: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ou),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _create_authority(common_name: str, certificate: Path, private_key: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    _write_pair(builder.sign(key, hashes.SHA256()), key, certificate, private_key)


Extensions = list[tuple[x509.ExtensionType, bool]]


def _identity_extensions() -> Extensions:
    return [(x509.BasicConstraints(ca=False, path_length=None), True), (_key_usage(signs_certificates=False), True)]


def _tls_extensions(name: str) -> Extensions:
    hosts: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.DNSName(name.replace("_", "-")),
    ]
    return [
        *_identity_extensions(),
        (x509.SubjectAlternativeName(hosts), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    ]


def _issue(
    subject: x509.Name,
    ca: Path,
    ca_key: Path,
    certificate: Path,
    private_key: Path,
    period: tuple[datetime, datetime],
    extensions: Extensions,
) -> None:
    issuer, key = x509.load_pem_x509_certificate(ca.read_bytes()), ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(period[0])
        .not_valid_after(period[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(_authority_key(ca_key).public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    _write_pair(builder.sign(_authority_key(ca_key), hashes.SHA256()), key, certificate, private_key)


def _authority_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DevPkiError(f"{path} is not an ECDSA key; this module makes no other kind")
    return key


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, certificate_path: Path, key_path: Path) -> None:
    for path in (certificate_path, key_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # Opened with its final mode: a key must never be readable by others, not even for a moment.
    with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
