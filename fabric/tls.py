"""TLS certificates that may be renewed while a server runs."""

from collections.abc import Callable
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from fabric.crypto import IdentityError


@dataclass(frozen=True)
class TlsIdentity:
    """A TLS certificate with its key, both PEM: shown to servers as a client and to clients as a server."""

    certificate_pem: bytes
    private_key_pem: bytes

    def __post_init__(self) -> None:
        """Raise IdentityError unless they belong together: gRPC would say so only to whoever connects."""
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_pem)
            key = serialization.load_pem_private_key(self.private_key_pem, password=None)
            matching = key.public_key() == certificate.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise IdentityError(f"the TLS certificate or its private key is not PEM that can be used: {error}") from error
        if not matching:
            raise IdentityError("the TLS private key is not the key of the TLS certificate")


@dataclass(frozen=True)
class MutualTls:
    """A server's own certificate and key, and the PEM of the authorities whose client certificates are let in."""

    own: TlsIdentity
    client_ca: bytes


def server_credentials(current: Callable[[], MutualTls]) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate; `current` is asked at every new connection, from gRPC's threads."""
    shown = current()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        latest = current()
        if latest == shown:
            return None
        shown = latest
        return _configuration(latest)

    # The published types leave out that None is an answer: nothing changed.
    return grpc.dynamic_ssl_server_credentials(_configuration(shown), changed, require_client_authentication=True)  # type: ignore[arg-type]


def _configuration(tls: MutualTls) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.own.private_key_pem, tls.own.certificate_pem)], root_certificates=tls.client_ca)
