"""Signed statements: canonical JSON that a member of the channel signs, and that anybody who knows the member's MSP can check.

A statement file is one canonical JSON object `{"certificate","content","kind","mspid","signature"}` and a newline: the PEM
certificate, what is stated, the kind of statement, and the base64 low-S signature over the canonical JSON of the other four.
The file has exactly one byte form, so that a changed byte is either another object, and unsigned, or not a statement at all.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from fabric_protos.msp import identities_pb2

from fabric import canonical
from fabric.crypto import IdentityError, SigningIdentity, load_certificate, verify_signature
from fabric.msp import common_name

_KEYS = {"certificate", "content", "kind", "mspid", "signature"}


class StatementError(ValueError):
    """Bytes are not a statement that its signer made in this form; the message says why."""


@dataclass(frozen=True)
class SignedStatement:
    """A statement whose signature matches the certificate in it. That the certificate is a member's is for the caller to check."""

    content: Mapping[str, Any]
    mspid: str
    certificate: x509.Certificate
    identity: bytes = field(repr=False)  # msp.SerializedIdentity
    data: bytes = field(repr=False)  # the statement file

    @property
    def signer(self) -> str:
        """The signer as people know it: common name and MSP id."""
        return f"{common_name(self.certificate)} of {self.mspid}"


def sign_statement(identity: SigningIdentity, kind: str, content: Mapping[str, Any]) -> bytes:
    """The bytes of a statement file; raise CanonicalError if `content` holds what canonical JSON cannot."""
    unsigned = {"certificate": identity.certificate_pem.decode(), "content": content, "kind": kind, "mspid": identity.mspid}
    signature = identity.sign(canonical.dumps(unsigned))
    return canonical.dumps({**unsigned, "signature": base64.b64encode(signature).decode()}) + b"\n"


def open_statement(data: bytes, kind: str) -> SignedStatement:
    """Read a statement of one kind and check its signature; raise StatementError."""
    try:
        value = canonical.loads(data)
        one_form = canonical.dumps(value) + b"\n" == data
    except (canonical.CanonicalError, ValueError) as error:  # ValueError: bytes that are not UTF-8, or half a surrogate pair
        raise StatementError(f"it cannot be read: {error}") from error
    if not isinstance(value, dict) or value.keys() != _KEYS or not isinstance(value["content"], dict):
        raise StatementError("it is not a signed statement")
    texts = [value[key] for key in ("certificate", "kind", "mspid", "signature")]
    if not one_form or not all(isinstance(text, str) for text in texts):
        raise StatementError("it is not in the form in which it was signed")
    if value["kind"] != kind:
        raise StatementError(f"it states {value['kind']!r}, where {kind!r} is needed")
    return _checked(value, data)


def _checked(value: dict[str, Any], data: bytes) -> SignedStatement:
    pem = value["certificate"].encode()
    unsigned = {key: part for key, part in value.items() if key != "signature"}
    try:
        certificate = load_certificate(pem)
        signature = base64.b64decode(value["signature"], validate=True)
        if base64.b64encode(signature).decode() != value["signature"]:  # its last digit has bits to spare
            raise IdentityError("it is not in the form in which it was made")
        verify_signature(certificate, canonical.dumps(unsigned), signature)
    except ValueError as error:  # IdentityError among them; base64 has several
        raise StatementError(f"its signature does not verify: {error}") from error
    identity = identities_pb2.SerializedIdentity(mspid=value["mspid"], id_bytes=pem).SerializeToString()
    return SignedStatement(value["content"], value["mspid"], certificate, identity, data)
