"""What an organisation gives the others to be a member: its authorities' certificates, revocation lists and anchor peers. No secrets.

One JSON file, `organisation.json`, made by the organisation itself and read by whoever proposes it to the channel.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from pydantic import Field, ValidationError

from fabric.msp import Msp
from gateway.config import Endpoint, MspId
from gateway.errors import InputError
from gateway.toml_file import Section, first_problem

Pem = Annotated[str, Field(max_length=1_000_000)]


class Definition(Section):
    """An organisation as the channel is to know it."""

    mspid: MspId
    root_certificates: Annotated[tuple[Pem, ...], Field(min_length=1)]
    intermediate_certificates: tuple[Pem, ...] = ()
    tls_root_certificates: Annotated[tuple[Pem, ...], Field(min_length=1)]
    revocation_lists: tuple[Pem, ...] = ()
    anchor_peers: tuple[Endpoint, ...] = ()

    @property
    def msp(self) -> Msp:
        """With Fabric's four NodeOUs, bound to no one authority: a certificate keeps its role under the next authority too."""
        return Msp(
            self.mspid,
            _bytes(self.root_certificates),
            _bytes(self.intermediate_certificates),
            _bytes(self.tls_root_certificates),
            _bytes(self.revocation_lists),
        )

    @property
    def anchors(self) -> list[tuple[str, int]]:
        """Host and port of each anchor peer."""
        split = (endpoint.rpartition(":") for endpoint in self.anchor_peers)
        return [(host, int(port)) for host, _, port in split]

    def check(self, now: datetime) -> None:
        """Raise InputError for what Fabric would refuse, and for a revocation list that it would silently not apply."""
        authorities = [_authority(pem, now) for pem in (*self.root_certificates, *self.intermediate_certificates)]
        for pem in self.tls_root_certificates:
            _authority(pem, now)
        for pem in self.revocation_lists:
            _check_revocation_list(pem, authorities)


def define(
    mspid: str,
    *,
    authorities: Sequence[Path],
    intermediates: Sequence[Path],
    tls_authorities: Sequence[Path],
    revocation_lists: Sequence[Path],
    anchor_peers: Sequence[str],
    now: datetime,
) -> Definition:
    """Make a definition of PEM files, one certificate or list in each; raise InputError with one sentence for what cannot be used."""
    try:
        definition = Definition(
            mspid=mspid,
            root_certificates=_texts(authorities),
            intermediate_certificates=_texts(intermediates),
            tls_root_certificates=_texts(tls_authorities),
            revocation_lists=_texts(revocation_lists),
            anchor_peers=tuple(anchor_peers),
        )
    except ValidationError as error:
        raise InputError(first_problem(error)) from error
    definition.check(now)
    return definition


def read_definition(path: Path, now: datetime) -> Definition:
    """Read an `organisation.json`; raise InputError naming the file and what is wrong with it."""
    try:
        definition = Definition.model_validate_json(path.read_bytes())
        definition.check(now)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return definition


def describe_authority(pem: bytes | str) -> str:
    """An authority for people: whom it names, until when, and the fingerprint that is compared over the telephone."""
    certificate = x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    return f"{_name(certificate)}, until {certificate.not_valid_after_utc:%Y-%m-%d}, SHA-256 {fingerprint}"


def _texts(paths: Sequence[Path]) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="ascii") for path in paths)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError("a certificate or revocation list is not PEM text; convert it with openssl") from error


def _bytes(pems: Sequence[str]) -> tuple[bytes, ...]:
    # Sections strip what surrounds a text. With its line end again, PEM can be joined to a bundle.
    return tuple(f"{pem}\n".encode("ascii") for pem in pems)


def _authority(pem: str, now: datetime) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("utf-8"))
        extensions = certificate.extensions
    except ValueError as error:
        raise InputError(f"an authority's certificate cannot be read as PEM: {error}") from error
    name = _name(certificate)
    if "PRIVATE KEY" in pem:
        raise InputError(f"the file of {name} holds a private key too; give the certificate alone, and treat the key as lost")
    if pem.count("-----BEGIN") != 1:
        raise InputError(f"the file of {name} holds more than one certificate; give each in a file of its own")
    try:
        is_authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        raise InputError(f"{name} lacks the extension {error.oid._name}, which Fabric demands of an authority; issue it anew") from error
    if not is_authority:
        raise InputError(f"{name} is not a certificate authority; give the certificate of the authority that issued it")
    if now > certificate.not_valid_after_utc:
        raise InputError(f"{name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; leave it out or renew it")
    return certificate


def _check_revocation_list(pem: str, authorities: Sequence[x509.Certificate]) -> None:
    try:
        crl = x509.load_pem_x509_crl(pem.encode("utf-8"))
        identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except ValueError as error:
        raise InputError(f"a revocation list cannot be read as PEM: {error}") from error
    except x509.ExtensionNotFound as error:
        raise InputError(
            "a revocation list lacks the authority key identifier, without which Fabric would not apply it; make it with crl_extensions"
        ) from error
    if not any(_issued(crl, identifier, authority) for authority in authorities):
        raise InputError("a revocation list was signed by none of the organisation's authorities; give the authority's own")


def _issued(crl: x509.CertificateRevocationList, identifier: bytes | None, authority: x509.Certificate) -> bool:
    own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    try:
        return own == identifier and crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type] # other kinds raise TypeError
    except (TypeError, InvalidSignature):
        return False


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"certificate {certificate.serial_number}"
