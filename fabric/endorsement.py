"""Which endorsements a transaction needs: chaincode, collection and key-level policies, as Fabric's validation applies them."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from fabric_protos.common import policies_pb2
from fabric_protos.peer import collection_pb2, policy_pb2, transaction_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2
from google.protobuf.message import DecodeError

from fabric.channel import ENDORSEMENT, LIFECYCLE_ENDORSEMENT, ChannelConfig
from fabric.msp import Member
from fabric.policies import PolicyError, signature_policy_satisfied
from fabric.rwset import NamespaceRwset
from fabric.worldstate import Key, Space

LIFECYCLE = "_lifecycle"

_IMPLICIT = "_implicit_org_"  # prefix of the private collection that every organisation has in every chaincode
_POLICIES, _DECISIONS = 1024, 4096  # that are kept: the same few signers satisfy the same few policies all the time


class UndefinedChaincode(ValueError):  # noqa: N818 - says what the chaincode is
    """No committed definition of the chaincode exists on this channel."""


class CommittedState(Protocol):
    """What the policies of a block are read from: the state before it."""

    def holds(self, namespace: str) -> bool:
        """Whether a name space was ever written in."""

    def value(self, namespace: str, key: str) -> bytes | None: ...

    def validation_parameter(self, space: Space, key: Key) -> bytes:
        """The key's own endorsement policy; b"" where it has none."""


class EndorsementRules:
    """The policies in force for one block: from the channel configuration and from the state before the block."""

    def __init__(self, config: ChannelConfig, state: CommittedState) -> None:
        self._config = config
        self._state = state

    def failures(self, chaincode: str, rwsets: Sequence[NamespaceRwset], signers: Sequence[Member]) -> dict[int, str]:
        """The validation codes a peer may give for policies that do not hold, with the reason; empty if all hold.

        There can be several: a peer stops at the first name space that fails, and takes them in no fixed order.
        """
        written = {rwset.namespace: keys for rwset in rwsets if (keys := list(_written_keys(rwset)))}
        signed = tuple(signers)
        found: dict[int, str] = {}
        for namespace in sorted({chaincode, *written}):
            try:
                reason = self._unmet(namespace, written.get(namespace, ()), signed)
            except UndefinedChaincode as error:
                found[int(transaction_pb2.INVALID_CHAINCODE)] = str(error)
                continue
            except PolicyError as error:
                reason = str(error)
            if reason:
                found[int(transaction_pb2.ENDORSEMENT_POLICY_FAILURE)] = reason
        return found

    def _unmet(self, namespace: str, written: Iterable[tuple[Space, Key]], signers: tuple[Member, ...]) -> str:
        of_chaincode = self._chaincode_policy(namespace)
        needed = {self._key_policy(space, key) or of_chaincode: space for space, key in written}
        for policy, space in (needed or {of_chaincode: Space(namespace)}).items():
            if not self._satisfied(policy, signers):
                return f"the endorsers do not satisfy the endorsement policy of what is written in {'/'.join(filter(None, space))}"
        return ""

    def _key_policy(self, space: Space, key: Key) -> bytes:
        """The policy of the key itself, else of its collection; b"" where the chaincode's holds."""
        own = self._state.validation_parameter(space, key)
        if own:
            return _signature_policy(own)
        return self._collection_policy(space) if space.collection else b""

    def _satisfied(self, application_policy: bytes, signers: tuple[Member, ...]) -> bool:
        reference = _referred_to(application_policy)
        if reference is None:
            return _signed_by_enough(application_policy, signers)
        return self._config.policies.satisfied(reference, signers)

    def _chaincode_policy(self, namespace: str) -> bytes:
        if namespace == LIFECYCLE:
            return _reference(LIFECYCLE_ENDORSEMENT)
        if not self._state.holds(LIFECYCLE):
            # A ledger without lifecycle records is an embedded one, whose only chaincode has the channel's default policy.
            return _reference(ENDORSEMENT)
        data = self._definition(namespace, "ValidationInfo")
        return bytes(chaincode_definition_pb2.ChaincodeValidationInfo.FromString(data).validation_parameter)

    def _collection_policy(self, space: Space) -> bytes:
        """The collection's own endorsement policy; b"" where it has none and the chaincode's holds."""
        if space.collection.startswith(_IMPLICIT):
            mspid = space.collection.removeprefix(_IMPLICIT)
            return _reference(f"/Channel/Application/{self._config.application_groups.get(mspid, '')}/Endorsement")
        data = self._definition(space.namespace, "Collections")
        for collection in collection_pb2.CollectionConfigPackage.FromString(data).config:
            static = collection.static_collection_config
            if static.name == space.collection:
                return static.endorsement_policy.SerializeToString() if static.HasField("endorsement_policy") else b""
        raise PolicyError(f"{space.namespace} has no collection {space.collection!r}")

    def _definition(self, chaincode: str, field: str) -> bytes:
        data = self._state.value(LIFECYCLE, f"namespaces/fields/{chaincode}/{field}")
        if data is None:
            raise UndefinedChaincode(f"chaincode {chaincode!r} is not defined on this channel")
        return bytes(db_pb2.StateData.FromString(data).Bytes)


@functools.lru_cache(maxsize=_POLICIES)
def _referred_to(application_policy: bytes) -> str | None:
    """The channel's policy to which an endorsement policy refers; None where it is a signature policy itself."""
    policy = _application_policy(application_policy)
    return None if policy.WhichOneof("Type") == "signature_policy" else str(policy.channel_config_policy_reference)


@functools.lru_cache(maxsize=_DECISIONS)
def _signed_by_enough(application_policy: bytes, signers: tuple[Member, ...]) -> bool:
    return signature_policy_satisfied(_application_policy(application_policy).signature_policy, signers)


def _application_policy(data: bytes) -> policy_pb2.ApplicationPolicy:
    try:
        return policy_pb2.ApplicationPolicy.FromString(data)
    except DecodeError as error:
        raise PolicyError("an endorsement policy cannot be read") from error


@functools.lru_cache(maxsize=_POLICIES)
def _signature_policy(data: bytes) -> bytes:
    try:
        envelope = policies_pb2.SignaturePolicyEnvelope.FromString(data)
    except DecodeError as error:
        raise PolicyError("a key's endorsement policy cannot be read") from error
    policy: bytes = policy_pb2.ApplicationPolicy(signature_policy=envelope).SerializeToString()
    return policy


@functools.lru_cache(maxsize=_POLICIES)
def _reference(path: str) -> bytes:
    data: bytes = policy_pb2.ApplicationPolicy(channel_config_policy_reference=path).SerializeToString()
    return data


def _written_keys(rwset: NamespaceRwset) -> Iterator[tuple[Space, Key]]:
    public = Space(rwset.namespace)
    yield from ((public, write.key) for write in rwset.writes)
    yield from ((public, entry.key) for entry in rwset.metadata_writes)
    for collection in rwset.collections:
        private = Space(rwset.namespace, collection.collection)
        yield from ((private, hashed.key_hash) for hashed in collection.writes)
        yield from ((private, entry.key) for entry in collection.metadata_writes)
