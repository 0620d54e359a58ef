"""SMART backend services: a signed JWT is exchanged for a short-lived token (https://hl7.org/fhir/smart-app-launch/backend-services.html)."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.errors import ConfigError
from gateway.fhir.errors import FhirServerError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME = timedelta(minutes=4)
"""The guide allows five minutes; one is left for clocks that differ."""

MARGIN = timedelta(seconds=30)
"""A token is not used for a request that begins this shortly before it expires."""

_SMALLEST_RSA_BITS = 2048
_P384_BYTES = 48

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def load_key(path: Path) -> SigningKey:
    """Read a PEM private key for RS384 or ES384; raise ConfigError naming the file otherwise."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is not an unencrypted PEM private key") from error
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _SMALLEST_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1):
        return key
    raise ConfigError(f"{path} is no key for RS384 or ES384; make one of RSA with {_SMALLEST_RSA_BITS} bits or more, or of P-384")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(content: dict[str, Any]) -> str:
    return _base64url(json.dumps(content, separators=(",", ":")).encode())


def _signature(key: SigningKey, message: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA384())
    # JWS wants the two numbers, not DER (RFC 7518, 3.4).
    numbers = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA384())))
    return b"".join(number.to_bytes(_P384_BYTES, "big") for number in numbers)


def _new_id() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Signer:
    """What a client shows to get a token."""

    client_id: str
    key_id: str
    key: SigningKey
    new_id: Callable[[], str] = _new_id
    """Gives each assertion an id of its own, so that a server can refuse it the second time."""

    def assertion(self, audience: str, now: datetime) -> str:
        """A JWT for the token endpoint `audience`, good once and for minutes."""
        header = {"alg": "RS384" if isinstance(self.key, rsa.RSAPrivateKey) else "ES384", "kid": self.key_id, "typ": "JWT"}
        expires = int((now + ASSERTION_LIFETIME).timestamp())
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": audience, "exp": expires, "jti": self.new_id()}
        signed = f"{_part(header)}.{_part(claims)}"
        return f"{signed}.{_base64url(_signature(self.key, signed.encode()))}"

    def form(self, audience: str, scope: str, now: datetime) -> dict[str, str]:
        """The fields that are posted to the token endpoint."""
        return {
            "grant_type": "client_credentials",
            "scope": scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion(audience, now),
        }


@dataclass(frozen=True)
class Token:
    """A bearer token; never shown, not even by repr."""

    value: str
    expires: datetime

    def __repr__(self) -> str:
        return f"Token(expires={self.expires.isoformat()})"

    def good(self, now: datetime) -> bool:
        """Whether a request that begins now may use it."""
        return now + MARGIN < self.expires


def parse_token(data: object, now: datetime) -> Token:
    """The token endpoint's answer; raise FhirServerError where it holds none."""
    fields = data if isinstance(data, dict) else {}
    value, seconds = fields.get("access_token"), fields.get("expires_in", 300)
    usable = isinstance(value, str) and 0 < len(value) <= 1 << 16 and value.isascii() and value.isprintable()
    if not usable or isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1 << 31:
        raise FhirServerError("the token endpoint gives no access_token with expires_in; ask who runs the FHIR server")
    if str(fields.get("token_type", "bearer")).lower() != "bearer":
        raise FhirServerError("the token endpoint gives a token that is no bearer token; ask who runs the FHIR server")
    return Token(str(value), now + timedelta(seconds=float(seconds)))


def token_endpoint(data: object) -> str:
    """The token endpoint that .well-known/smart-configuration names; raise FhirServerError where it names none."""
    found = data.get("token_endpoint") if isinstance(data, dict) else None
    if not isinstance(found, str):
        raise FhirServerError("the server's .well-known/smart-configuration names no token_endpoint; set [data.smart] token_url")
    return found
