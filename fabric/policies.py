"""Fabric's policies: who must have signed. Signature policies (n out of) and implicit meta policies (ANY, ALL, MAJORITY)."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from fabric_protos.common import configtx_pb2, policies_pb2
from fabric_protos.msp import identities_pb2, msp_principal_pb2
from google.protobuf.message import DecodeError, Message

from fabric.crypto import IdentityError, load_certificate
from fabric.msp import Member

_M = TypeVar("_M", bound=Message)
_DECISIONS = 4096  # that are kept: the same few signers satisfy the same few policies all the time
_ROLES = {
    msp_principal_pb2.MSPRole.ADMIN: "admin",
    msp_principal_pb2.MSPRole.CLIENT: "client",
    msp_principal_pb2.MSPRole.PEER: "peer",
    msp_principal_pb2.MSPRole.ORDERER: "orderer",
}


class PolicyError(ValueError):
    """A policy cannot be read or does not exist; the message says which."""


@dataclass(frozen=True, eq=False)
class PolicyTree:
    """The policies of one configuration group and of the groups below it. Compared by identity, so that decisions can be kept."""

    policies: Mapping[str, policies_pb2.Policy] = field(repr=False)
    groups: Mapping[str, "PolicyTree"] = field(repr=False)

    @classmethod
    def parse(cls, group: configtx_pb2.ConfigGroup) -> "PolicyTree":
        return cls(
            {name: entry.policy for name, entry in group.policies.items()},
            {name: cls.parse(child) for name, child in group.groups.items()},
        )

    def satisfied(self, path: str, signers: Sequence[Member]) -> bool:
        """Whether `signers`, each with a verified signature, satisfy the policy at `path`, such as /Channel/Application/Writers.

        A policy that does not exist is never satisfied; one that cannot be read raises PolicyError.
        """
        return _decided(self, path, tuple(distinct(signers)))

    def _evaluate(self, name: str, signers: Sequence[Member]) -> bool:
        policy = self.policies.get(name)
        if policy is None:
            return False
        if policy.type == policies_pb2.Policy.SIGNATURE:
            return signature_policy_satisfied(_parse(policies_pb2.SignaturePolicyEnvelope(), policy.value, name), signers)
        if policy.type == policies_pb2.Policy.IMPLICIT_META:
            return self._implicit(_parse(policies_pb2.ImplicitMetaPolicy(), policy.value, name), signers)
        raise PolicyError(f"policy {name} has the unknown type {policy.type}")

    def _implicit(self, policy: policies_pb2.ImplicitMetaPolicy, signers: Sequence[Member]) -> bool:
        reached = sum(child._evaluate(policy.sub_policy, signers) for child in self.groups.values())
        children = len(self.groups)
        needed = {
            policies_pb2.ImplicitMetaPolicy.ANY: min(1, children),
            policies_pb2.ImplicitMetaPolicy.ALL: children,
            policies_pb2.ImplicitMetaPolicy.MAJORITY: children // 2 + 1 if children else 0,
        }
        if policy.rule not in needed:
            raise PolicyError(f"an implicit policy over {policy.sub_policy} has the unknown rule {policy.rule}")
        return reached >= needed[policy.rule]


@functools.lru_cache(maxsize=_DECISIONS)
def _decided(tree: PolicyTree, path: str, signers: tuple[Member, ...]) -> bool:
    parts = path.removeprefix("/Channel/").split("/")
    for name in parts[:-1]:
        if name not in tree.groups:
            return False
        tree = tree.groups[name]
    return tree._evaluate(parts[-1], signers)


def distinct(signers: Iterable[Member]) -> list[Member]:
    """The signers without repetitions of one certificate: a second signature by the same key counts for nothing."""
    return list(dict.fromkeys(signers))


def signature_policy_satisfied(policy: policies_pb2.SignaturePolicyEnvelope, signers: Sequence[Member]) -> bool:
    """Evaluate `n out of` rules as Fabric does: in order, each signer used for one principal at most."""
    return _rule(policy.rule, policy.identities, signers, [False] * len(signers))


def _rule(
    rule: policies_pb2.SignaturePolicy,
    principals: Sequence[msp_principal_pb2.MSPPrincipal],
    signers: Sequence[Member],
    used: list[bool],
) -> bool:
    if rule.WhichOneof("Type") == "n_out_of":
        reached = 0
        for part in rule.n_out_of.rules:
            attempt = list(used)
            if _rule(part, principals, signers, attempt):
                reached += 1
                used[:] = attempt
        return reached >= int(rule.n_out_of.n)
    if rule.WhichOneof("Type") != "signed_by" or not 0 <= rule.signed_by < len(principals):
        raise PolicyError("a signature policy names a principal that it does not define")
    for index, signer in enumerate(signers):
        if not used[index] and _is_principal(signer, principals[rule.signed_by]):
            used[index] = True
            return True
    return False


def _is_principal(signer: Member, principal: msp_principal_pb2.MSPPrincipal) -> bool:
    if principal.principal_classification == msp_principal_pb2.MSPPrincipal.ROLE:
        role = _parse(msp_principal_pb2.MSPRole(), principal.principal, "role")
        return bool(role.msp_identifier == signer.mspid and _ROLES.get(role.role, signer.role) == signer.role)
    if principal.principal_classification == msp_principal_pb2.MSPPrincipal.ORGANIZATION_UNIT:
        unit = _parse(msp_principal_pb2.OrganizationUnit(), principal.principal, "organisational unit")
        return unit.msp_identifier == signer.mspid and unit.organizational_unit_identifier in _units(signer.certificate)
    if principal.principal_classification == msp_principal_pb2.MSPPrincipal.IDENTITY:
        return _same_identity(_parse(identities_pb2.SerializedIdentity(), principal.principal, "identity"), signer)
    raise PolicyError(f"principals of the classification {principal.principal_classification} are not supported")


def _same_identity(identity: identities_pb2.SerializedIdentity, signer: Member) -> bool:
    try:
        certificate = load_certificate(identity.id_bytes)
    except IdentityError as error:
        raise PolicyError(f"a policy names an identity that cannot be read: {error}") from error
    encoding = serialization.Encoding.DER
    return identity.mspid == signer.mspid and certificate.public_bytes(encoding) == signer.certificate.public_bytes(encoding)


def _units(certificate: x509.Certificate) -> set[str | bytes]:
    return {unit.value for unit in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)}


def _parse(message: _M, data: bytes, name: str) -> _M:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise PolicyError(f"policy {name} cannot be read") from error
    return message
