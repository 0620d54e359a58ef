"""Membership service providers: which certificates speak for an organisation, and in which role (Fabric's NodeOU rules)."""

import datetime
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from fabric_protos.msp import identities_pb2, msp_config_pb2
from google.protobuf.message import DecodeError

from fabric.crypto import IdentityError, load_certificate

Role = Literal["admin", "peer", "client", "orderer", "member"]
NODE_OUS: tuple[tuple[str, Role], ...] = (("client", "client"), ("peer", "peer"), ("admin", "admin"), ("orderer", "orderer"))

# What parsing an untrusted certificate raises, here or when one of its fields is first looked at.
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_FABRIC_MSP = 0
_MAX_CHAIN = 10  # certificates from leaf to root; real consortia use two or three


@dataclass(frozen=True)
class Member:
    """An identity whose certificate was checked against its organisation's MSP."""

    mspid: str
    certificate: x509.Certificate
    role: Role

    @property
    def name(self) -> str:
        """For people: the certificate's common name, and the organisation."""
        return f"{common_name(self.certificate)} of {self.mspid}"

    def __hash__(self) -> int:
        """Without the certificate's own hash, which digests all of its bytes every time."""
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.mspid, self.role, self.certificate.serial_number))


@dataclass(frozen=True)
class Msp:
    """One organisation's membership rules, as a channel configuration holds them. Certificates and CRLs are PEM bytes.

    `node_ous` maps organisational units to roles; empty means that the organisation does not use NodeOUs, and then every
    certificate is a plain member except those listed in `admins`. `unit_issuers` names for some of the units the one authority whose
    certificates may carry it.
    """

    mspid: str
    root_certs: tuple[bytes, ...] = field(repr=False)
    intermediate_certs: tuple[bytes, ...] = field(default=(), repr=False)
    tls_root_certs: tuple[bytes, ...] = field(default=(), repr=False)
    crls: tuple[bytes, ...] = field(default=(), repr=False)
    admins: tuple[bytes, ...] = field(default=(), repr=False)
    node_ous: tuple[tuple[str, Role], ...] = NODE_OUS
    unit_issuers: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    _checked: dict[bytes, Member] = field(default_factory=dict, init=False, repr=False, compare=False)
    _revoked: dict[bytes, frozenset[int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def to_config(self) -> bytes:
        """`msp.MSPConfig` bytes, the value a channel configuration keeps under the organisation's key "MSP"."""
        config = msp_config_pb2.FabricMSPConfig(
            name=self.mspid,
            root_certs=self.root_certs,
            intermediate_certs=self.intermediate_certs,
            admins=self.admins,
            revocation_list=self.crls,
            tls_root_certs=self.tls_root_certs,
            crypto_config=msp_config_pb2.FabricCryptoConfig(signature_hash_family="SHA2", identity_identifier_hash_function="SHA256"),
        )
        if self.node_ous:
            issuers = dict(self.unit_issuers)
            units = {f"{role}_ou_identifier": _unit(name, issuers.get(name, b"")) for name, role in self.node_ous}
            config.fabric_node_ous.CopyFrom(msp_config_pb2.FabricNodeOUs(enable=True, **units))
        data: bytes = msp_config_pb2.MSPConfig(type=_FABRIC_MSP, config=config.SerializeToString()).SerializeToString()
        return data

    @classmethod
    def from_config(cls, data: bytes) -> "Msp":
        """Parse `msp.MSPConfig` bytes; raise IdentityError if they are not the definition of an X.509 MSP."""
        try:
            outer = msp_config_pb2.MSPConfig.FromString(data)
            config = msp_config_pb2.FabricMSPConfig.FromString(outer.config)
        except DecodeError as error:
            raise IdentityError(f"not an MSP definition: {error}") from error
        if outer.type != _FABRIC_MSP or not config.name or not config.root_certs:
            raise IdentityError(f"MSP {config.name!r} is not an X.509 MSP with a name and a root certificate")
        return cls(
            config.name,
            tuple(config.root_certs),
            tuple(config.intermediate_certs),
            tuple(config.tls_root_certs),
            tuple(config.revocation_list),
            tuple(config.admins),
            _node_ous(config.fabric_node_ous),
            _unit_issuers(config.fabric_node_ous),
        )

    def member(self, certificate_pem: bytes, at: datetime.datetime | None) -> Member:
        """Check a certificate against this MSP and return who it is.

        `at` (timezone-aware) is the moment at which the certificate must be in its validity period. None leaves the period
        unjudged, as a Fabric peer does when it validates a block: admission judges it, and history stays valid after expiry.
        Raises IdentityError: not a certificate, no chain to the roots, revoked, no single role, expired or not yet valid.
        """
        member = self._checked.get(certificate_pem)
        if member is None:
            try:
                member = self._check(load_certificate(certificate_pem), certificate_pem)
            except IdentityError:
                raise
            except _UNREADABLE as error:
                raise IdentityError(f"a certificate of {self.mspid} cannot be read: {error}") from error
            self._checked[certificate_pem] = member
        if at is not None:
            _check_period(member.certificate, at)
        return member

    def _check(self, certificate: x509.Certificate, pem: bytes) -> Member:
        authorities = [_authority(pem) for pem in (*self.intermediate_certs, *self.root_certs)]
        if _is_authority(certificate):
            raise IdentityError(f"{_name(certificate)} is a certificate authority, which cannot act as an identity")
        issuer = direct = self._issuer(certificate, authorities)
        for _ in range(_MAX_CHAIN):
            if self._is_root(issuer):
                return Member(self.mspid, certificate, self._role(certificate, pem, direct))
            issuer = self._issuer(issuer, authorities)
        raise IdentityError(f"{_name(certificate)} has no chain to a root of {self.mspid} within {_MAX_CHAIN} certificates")

    def _issuer(self, certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> x509.Certificate:
        for authority in authorities:
            if _issued(certificate, authority):
                self._refuse_revoked(certificate, authority)
                return authority
        raise IdentityError(f"{_name(certificate)} was not issued by a certificate authority of {self.mspid}")

    def _is_root(self, authority: x509.Certificate) -> bool:
        return any(authority == _authority(pem) for pem in self.root_certs)

    def _refuse_revoked(self, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        for pem in self.crls:
            if pem not in self._revoked:
                self._revoked[pem] = _serials(pem)
            if certificate.serial_number in self._revoked[pem] and _crl_of(pem, issuer):
                raise IdentityError(f"{_name(certificate)} was revoked by {self.mspid}")

    def _role(self, certificate: x509.Certificate, pem: bytes, issuer: x509.Certificate) -> Role:
        if pem in self.admins:
            return "admin"
        if not self.node_ous:
            return "member"
        units = {unit.value for unit in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)}
        for name, authority in self.unit_issuers:
            if name in units and _authority(authority) != issuer:
                raise IdentityError(
                    f"{_name(certificate)} carries the unit {name}, which {self.mspid} gives to another authority's certificates"
                )
        roles = [role for name, role in self.node_ous if name in units]
        if len(roles) != 1:
            raise IdentityError(f"{_name(certificate)} must carry exactly one of the units {', '.join(name for name, _ in self.node_ous)}")
        return roles[0]


class MspRegistry:
    """The MSPs of a channel by id; turns Fabric's creator and endorser bytes into checked members."""

    def __init__(self, msps: Mapping[str, Msp]) -> None:
        self.msps = dict(msps)

    def authenticate(self, serialized_identity: bytes, at: datetime.datetime | None) -> Member:
        """Check `msp.SerializedIdentity` bytes; raise IdentityError as `Msp.member` does, or for an unknown organisation."""
        try:
            identity = identities_pb2.SerializedIdentity.FromString(serialized_identity)
        except DecodeError as error:
            raise IdentityError(f"not a serialised identity: {error}") from error
        if identity.mspid not in self.msps:
            raise IdentityError(f"{identity.mspid!r} is not an organisation of this channel")
        return self.msps[identity.mspid].member(identity.id_bytes, at)


def common_name(certificate: x509.Certificate) -> str:
    """Whom a certificate names, for people."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "an unnamed identity"


def _unit(name: str, issuer: bytes) -> msp_config_pb2.FabricOUIdentifier:
    return msp_config_pb2.FabricOUIdentifier(organizational_unit_identifier=name, certificate=issuer)


def _node_ous(config: msp_config_pb2.FabricNodeOUs) -> tuple[tuple[str, Role], ...]:
    if not config.enable:
        return ()
    units: list[tuple[str, Role]] = [
        (config.client_ou_identifier.organizational_unit_identifier, "client"),
        (config.peer_ou_identifier.organizational_unit_identifier, "peer"),
        (config.admin_ou_identifier.organizational_unit_identifier, "admin"),
        (config.orderer_ou_identifier.organizational_unit_identifier, "orderer"),
    ]
    return tuple((name, role) for name, role in units if name)


def _unit_issuers(config: msp_config_pb2.FabricNodeOUs) -> tuple[tuple[str, bytes], ...]:
    if not config.enable:
        return ()
    units = (config.client_ou_identifier, config.peer_ou_identifier, config.admin_ou_identifier, config.orderer_ou_identifier)
    return tuple((unit.organizational_unit_identifier, unit.certificate) for unit in units if unit.certificate)


def _authority(pem: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityError(f"an MSP's authority is not a PEM certificate: {error}") from error
    if not _is_authority(certificate):
        raise IdentityError(f"{_name(certificate)} stands among an MSP's authorities but is not a certificate authority")
    return certificate


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _serials(crl_pem: bytes) -> frozenset[int]:
    return frozenset(entry.serial_number for entry in _crl(crl_pem))


def _crl_of(crl_pem: bytes, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return False
    return _crl(crl_pem).is_signature_valid(key)


def _crl(pem: bytes) -> x509.CertificateRevocationList:
    try:
        return x509.load_pem_x509_crl(pem)
    except ValueError as error:
        raise IdentityError(f"an MSP's revocation list is not PEM: {error}") from error


def _check_period(certificate: x509.Certificate, at: datetime.datetime) -> None:
    if at < certificate.not_valid_before_utc:
        raise IdentityError(f"{_name(certificate)} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC")
    if at > certificate.not_valid_after_utc:
        raise IdentityError(f"{_name(certificate)} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC")


def _name(certificate: x509.Certificate) -> str:
    return f"certificate {certificate.subject.rfc4514_string() or certificate.serial_number}"
