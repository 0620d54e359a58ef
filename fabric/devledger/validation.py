"""Which transactions of a block are valid, decided as a Fabric peer decides it.

Endorsements are judged against the policies of the committed state (`core/common/validation/statebased` in Fabric's source), then
duplicates, then each transaction's reads against the committed state and the writes of the valid transactions before it in the
block (`core/ledger/kvledger/txmgmt/validation`).
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from fabric_protos.peer.transaction_pb2 import TxValidationCode

from fabric.crypto import IdentityError, verify_signature
from fabric.devledger.store import StateReader
from fabric.endorsement import EndorsementRules
from fabric.msp import Member, MspRegistry
from fabric.rwset import RangeQuery, Read, Version
from fabric.transactions import Endorsement, EndorserTransaction
from fabric.worldstate import Key, Space

VALID = int(TxValidationCode.Value("VALID"))
MVCC_READ_CONFLICT = int(TxValidationCode.Value("MVCC_READ_CONFLICT"))
PHANTOM_READ_CONFLICT = int(TxValidationCode.Value("PHANTOM_READ_CONFLICT"))
DUPLICATE_TXID = int(TxValidationCode.Value("DUPLICATE_TXID"))
ENDORSEMENT_POLICY_FAILURE = int(TxValidationCode.Value("ENDORSEMENT_POLICY_FAILURE"))

_LEAST = "\x00"  # what is appended to a key to get the next one in order


class KeyPolicies:
    """The embedded ledger's state as endorsement policies are read from it: one chaincode, public keys only, no lifecycle.

    `policy` tells a key's own endorsement policy, as `StateReader.policy` does.
    """

    def __init__(self, policy: Callable[[str], bytes], chaincode: str) -> None:
        self._policy, self._chaincode = policy, chaincode

    def holds(self, namespace: str) -> bool:
        return namespace == self._chaincode

    def value(self, namespace: str, key: str) -> bytes | None:
        return None  # definitions of chaincode and collections, which stand in no state here

    def validation_parameter(self, space: Space, key: Key) -> bytes:
        return self._policy(str(key)) if self.holds(space.namespace) else b""


def endorsement_code(transaction: EndorserTransaction, endorsers: Sequence[Member], rules: EndorsementRules) -> int:
    """VALID if the endorsers satisfy the policies of all that is written, ENDORSEMENT_POLICY_FAILURE otherwise."""
    failures = rules.failures(transaction.chaincode, transaction.rwsets, endorsers)
    return ENDORSEMENT_POLICY_FAILURE if failures else VALID


def endorsers(transaction: EndorserTransaction, organisations: MspRegistry) -> tuple[Member, ...]:
    """Whose peers endorsed, each with a signature that is good."""
    return tuple(member for e in transaction.endorsements if (member := _endorser(e, transaction, organisations)))


def _endorser(endorsement: Endorsement, transaction: EndorserTransaction, organisations: MspRegistry) -> Member | None:
    """Who endorsed. A bad endorsement counts for nobody and spoils nothing, as in Fabric's policy evaluation."""
    try:
        # No moment of validity: a certificate that expires between endorsement and commit does not undo the endorsement.
        member = organisations.authenticate(endorsement.endorser, None)
        verify_signature(member.certificate, transaction.proposal_response_payload + endorsement.endorser, endorsement.signature)
    except IdentityError:
        return None
    return member


@dataclass
class PendingBlock:
    """The transactions of one block as they are judged in order: codes so far, and what the valid ones write."""

    state: StateReader
    number: int
    codes: list[int] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _new_policies: set[str] = field(default_factory=set)
    _updates: dict[str, Version | None] = field(default_factory=dict)

    def judge(self, transaction: EndorserTransaction, endorsement: int, *, committed_before: bool) -> int:
        """Decide the next transaction's code and, if it is valid, let later ones see its writes."""
        code = self._code(transaction, endorsement, committed_before)
        if code == VALID:
            self._apply(transaction)
        self.codes.append(code)
        return code

    def _code(self, transaction: EndorserTransaction, endorsement: int, committed_before: bool) -> int:
        if committed_before:
            return DUPLICATE_TXID
        if endorsement != VALID:
            return endorsement
        if not self._has_known_policies(transaction):
            return ENDORSEMENT_POLICY_FAILURE
        self._new_policies.update(key for key, _ in transaction.policies)
        if transaction.tx_id in self._seen:
            return DUPLICATE_TXID
        self._seen.add(transaction.tx_id)
        if not all(self._is_current(read) for read in transaction.reads):
            return MVCC_READ_CONFLICT
        if not all(self._is_unchanged(query) for query in transaction.range_queries):
            return PHANTOM_READ_CONFLICT
        return VALID

    def _has_known_policies(self, transaction: EndorserTransaction) -> bool:
        # Whether the transaction that changes a policy is itself valid in the end is not known yet when endorsements are judged.
        written = {write.key for write in transaction.writes} | {key for key, _ in transaction.policies}
        return not written & self._new_policies

    def _is_current(self, read: Read) -> bool:
        # A key this block has touched conflicts whatever was read: the reader cannot have seen the new version.
        return read.key not in self._updates and self.state.version(read.key) == read.version

    def _is_unchanged(self, query: RangeQuery) -> bool:
        # A reader that stopped early has the last key that it saw for an end, so that key belongs to the range.
        end = query.end if query.exhausted or not query.end else query.end + _LEAST
        return tuple(self._range(query.start, end)) == query.reads

    def _range(self, start: str, end: str) -> Iterator[Read]:
        committed = (Read(key, entry.version) for key, entry in self.state.range(start, end) if key not in self._updates)
        added = sorted(
            (Read(key, version) for key, version in self._updates.items() if version and key >= start and (not end or key < end)),
            key=lambda read: read.key,
        )
        return heapq.merge(committed, added, key=lambda read: read.key)

    def _apply(self, transaction: EndorserTransaction) -> None:
        version = Version(self.number, len(self.codes))
        for write in transaction.writes:
            self._updates[write.key] = None if write.value is None else version
        for key, _ in transaction.policies:
            # A policy makes no key, and a deletion takes the policy with it.
            if self._updates.get(key) or (key not in self._updates and self.state.version(key)):
                self._updates[key] = version
