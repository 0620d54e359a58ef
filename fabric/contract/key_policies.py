"""Endorsement policies of single keys: what only one hospital may change takes that hospital's own peer.

Fabric judges a key that has a policy by this policy alone, no longer by the contract's. So it asks for a majority, too: else a
hospital could endorse a change of its own budget all by itself.
"""

import functools
from collections.abc import Sequence

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2

# With fewer, a majority could be the owner alone; their keys stay under the contract's policy, and no task begins with fewer.
FEWEST_HOSPITALS = 3


def owner_policy(owner: str, hospitals: Sequence[str]) -> bytes:
    """`common.SignaturePolicyEnvelope` bytes: a peer of `owner`, and peers of as many others as make a majority of `hospitals` with it.

    b"", for no policy, where `owner` is no hospital, or there are too few of them. The same set of hospitals gives the
    same bytes.
    """
    if owner not in hospitals or len(set(hospitals)) < FEWEST_HOSPITALS:
        return b""
    return _owner_policy(owner, tuple(sorted(set(hospitals) - {owner})))


@functools.lru_cache(maxsize=4096)
def _owner_policy(owner: str, others: tuple[str, ...]) -> bytes:
    # One signature counts for one principal, so the owner's cannot count among the others as well.
    majority = (len(others) + 1) // 2 + 1
    rule = _at_least(2, [_signed_by(0), _at_least(majority - 1, [_signed_by(number) for number in range(1, len(others) + 1)])])
    envelope = policies_pb2.SignaturePolicyEnvelope(rule=rule, identities=[_peer(mspid) for mspid in (owner, *others)])
    policy: bytes = envelope.SerializeToString(deterministic=True)
    return policy


def _at_least(number: int, rules: Sequence[policies_pb2.SignaturePolicy]) -> policies_pb2.SignaturePolicy:
    return policies_pb2.SignaturePolicy(n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=number, rules=rules))


def _signed_by(position: int) -> policies_pb2.SignaturePolicy:
    return policies_pb2.SignaturePolicy(signed_by=position)


def _peer(mspid: str) -> msp_principal_pb2.MSPPrincipal:
    role = msp_principal_pb2.MSPRole(msp_identifier=mspid, role=msp_principal_pb2.MSPRole.PEER)
    return msp_principal_pb2.MSPPrincipal(
        principal_classification=msp_principal_pb2.MSPPrincipal.ROLE, principal=role.SerializeToString(deterministic=True)
    )
