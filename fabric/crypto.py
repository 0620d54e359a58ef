"""ECDSA P-256 as Fabric uses it: SHA-256, low-S signatures, identities serialised as MSP id and PEM certificate."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from fabric_protos.msp import identities_pb2

_OF_MESSAGE, _OF_DIGEST = ec.ECDSA(hashes.SHA256()), ec.ECDSA(Prehashed(hashes.SHA256()))
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class IdentityError(ValueError):
    """A certificate, key or signature cannot be used; the message says which and why."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def fingerprint(certificate: x509.Certificate) -> str:
    """Lower-case hex SHA-256 of the certificate's DER bytes: how the ledger names a certificate."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def load_certificate(pem: bytes) -> x509.Certificate:
    """Parse one PEM certificate with a P-256 key; raise IdentityError otherwise."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        public_key_of(certificate)
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise IdentityError(f"not a certificate this product can use: {error}") from error
    return certificate


def public_key_of(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the certificate's key is not ECDSA P-256, the only kind this product uses")
    return key


class PrivateKey(Protocol):
    """What signs: an `ec.EllipticCurvePrivateKey` of P-256 in memory, or a key that stays on a token (fabric.token_key)."""

    def sign(self, data: bytes, signature_algorithm: ec.ECDSA, /) -> bytes:
        """The DER signature over the SHA-256 of `data`, S low or high."""


@dataclass(frozen=True)
class SigningIdentity:
    """A certificate with its private key. Held by the process that signs with it, never serialised with the key."""

    mspid: str
    certificate_pem: bytes
    private_key: PrivateKey

    @property
    def serialized(self) -> bytes:
        """`msp.SerializedIdentity` bytes: the creator or endorser field of Fabric messages."""
        message: bytes = identities_pb2.SerializedIdentity(mspid=self.mspid, id_bytes=self.certificate_pem).SerializeToString()
        return message

    @property
    def fingerprint(self) -> str:
        return fingerprint(load_certificate(self.certificate_pem))

    def sign(self, message: bytes) -> bytes:
        """DER signature over SHA-256 of `message`, with low S (Fabric refuses the other form)."""
        r, s = decode_dss_signature(self.private_key.sign(message, _OF_MESSAGE))
        return encode_dss_signature(r, min(s, P256_ORDER - s))


def load_signing_identity(mspid: str, certificate: Path, private_key: Path) -> SigningIdentity:
    """Read an identity's PEM files; raise IdentityError naming the file if either is missing or they do not match."""
    try:
        pem, key_pem = certificate.read_bytes(), private_key.read_bytes()
    except OSError as error:
        raise IdentityError(f"cannot read {error.filename}: {error.strerror}") from error
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"{private_key} is not an unencrypted PEM private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != public_key_of(load_certificate(pem)):
        raise IdentityError(f"{private_key} is not the key of {certificate}")
    return SigningIdentity(mspid, pem, key)


def verify_signature(certificate: x509.Certificate, message: bytes, signature: bytes) -> None:
    """Raise IdentityError unless `signature` is a low-S ECDSA signature of `message` by the certificate's key."""
    verify_digest(certificate, sha256(message), signature)


def verify_digest(certificate: x509.Certificate, digest: bytes, signature: bytes) -> None:
    """`verify_signature` for a message of which only the SHA-256 digest is at hand."""
    try:
        _, s = decode_dss_signature(signature)
    except ValueError as error:
        raise IdentityError("the signature is not DER") from error
    if s > P256_ORDER // 2:
        raise IdentityError("the signature has a high S value, which Fabric refuses")
    try:
        public_key_of(certificate).verify(signature, digest, _OF_DIGEST)
    except InvalidSignature as error:
        raise IdentityError("the signature does not match") from error
