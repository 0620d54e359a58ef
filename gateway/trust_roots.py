"""Whose TLS certificates a gateway accepts: the roots that the channel's configuration names for each organisation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import Certificate

from fabric.client.gateway import Gateway
from fabric.crypto import IdentityError, load_certificate
from gateway.channel.current import read_channel


@dataclass(frozen=True)
class TrustRoots:
    """TLS root certificates by MSP id, in PEM, as the channel's configuration holds them."""

    by_mspid: Mapping[str, Sequence[bytes]]

    def pem(self, mspid: str) -> bytes:
        """The roots of one organisation; raise IdentityError where the channel does not know it."""
        roots = self.by_mspid.get(mspid)
        if not roots:
            raise IdentityError(f"the channel's configuration names no TLS root for {mspid}")
        return b"".join(roots)

    def all_pem(self) -> bytes:
        return b"".join(root for roots in self.by_mspid.values() for root in roots)

    def owner_of(self, certificate_pem: bytes, *, at: datetime) -> str:
        """MSP id of the organisation whose TLS root issued the certificate; raise IdentityError if none did or it is out of date."""
        certificate = load_certificate(certificate_pem)
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise IdentityError(f"the TLS certificate {certificate.subject.rfc4514_string()} is not valid now; renew it")
        for mspid, roots in self.by_mspid.items():
            if any(_issued(certificate, x509.load_pem_x509_certificate(root)) for root in roots):
                return mspid
        raise IdentityError(f"the TLS certificate {certificate.subject.rfc4514_string()} was issued by no organisation of the channel")


def _issued(certificate: Certificate, root: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


async def read_trust_roots(ledger: Gateway) -> TrustRoots:
    """Read every application organisation's TLS roots from the channel's configuration."""
    channel = (await read_channel(ledger)).config
    return TrustRoots({msp.mspid: msp.tls_root_certs for msp in channel.application})
