"""Who calls: MSP id from the peer, roles from the certificate's NodeOU and from the registry."""

import functools
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from fabric.contract.access import ADMIN, ANYONE
from fabric.contract.errors import ContractError
from fabric.contract.records import Identity
from fabric.contract.state import State
from fabric.contract.stub import Stub
from fabric.crypto import fingerprint


@dataclass(frozen=True)
class Call:
    """One authenticated call: the state it works on, who makes it, and the roles that holds."""

    state: State
    mspid: str
    fingerprint: str
    roles: frozenset[str]


def identify(stub: Stub, state: State) -> Call:
    """Roles of the caller. The registry is asked under the caller's own MSP id, so one MSP can give no role in another."""
    name, units = _certificate(stub.certificate_pem)
    identity: Identity | None = state.get("identity", stub.mspid, name)
    registered = {identity["role"]} if identity is not None and not identity["revoked"] else set()
    return Call(state, stub.mspid, name, frozenset({ANYONE} | registered | ({ADMIN} & units)))


def check(call: Call, function: str, allowed: frozenset[str]) -> None:
    """Refuse with DENIED unless the caller has one of the roles to which the function is allowed."""
    if not allowed & call.roles:
        raise ContractError(
            "DENIED",
            f"{function} is for {' or '.join(sorted(allowed))}; this certificate of {call.mspid} is not registered as one: "
            "ask your organisation's admin to register it",
        )


@functools.lru_cache(maxsize=4096)
def _certificate(pem: bytes) -> tuple[str, frozenset[str]]:
    """Fingerprint and organisational units. Cached: parsing costs more than most calls."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ContractError("DENIED", "the caller's certificate cannot be read; use an X.509 certificate in PEM") from error
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return fingerprint(certificate), frozenset(str(unit.value) for unit in units)
