"""Which transactions of a block are valid, decided as a Fabric peer decides it.

Endorsements are judged alone, then duplicates, then each transaction's reads against the committed state and the writes of the
valid transactions before it in the block (`core/ledger/kvledger/txmgmt/validation` in Fabric's source).
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fabric_protos.peer.transaction_pb2 import TxValidationCode

from fabric.channel import ENDORSEMENT, ChannelConfig
from fabric.crypto import IdentityError, verify_signature
from fabric.devledger.store import StateReader
from fabric.msp import Member, MspRegistry
from fabric.rwset import RangeQuery, Read, Version, Write
from fabric.transactions import Endorsement, EndorserTransaction

VALID = int(TxValidationCode.Value("VALID"))
MVCC_READ_CONFLICT = int(TxValidationCode.Value("MVCC_READ_CONFLICT"))
PHANTOM_READ_CONFLICT = int(TxValidationCode.Value("PHANTOM_READ_CONFLICT"))
DUPLICATE_TXID = int(TxValidationCode.Value("DUPLICATE_TXID"))
ENDORSEMENT_POLICY_FAILURE = int(TxValidationCode.Value("ENDORSEMENT_POLICY_FAILURE"))


def endorsement_code(transaction: EndorserTransaction, channel: ChannelConfig, organisations: MspRegistry) -> int:
    """VALID if the endorsements satisfy the channel's endorsement policy, ENDORSEMENT_POLICY_FAILURE otherwise."""
    endorsers = [member for e in transaction.endorsements if (member := _endorser(e, transaction, organisations))]
    enough = channel.policies.satisfied(ENDORSEMENT, endorsers)
    return VALID if enough else ENDORSEMENT_POLICY_FAILURE


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
    _updates: dict[str, Version | None] = field(default_factory=dict)

    def judge(self, transaction: EndorserTransaction, endorsement: int, *, committed_before: bool) -> int:
        """Decide the next transaction's code and, if it is valid, let later ones see its writes."""
        code = self._code(transaction, endorsement, committed_before)
        if code == VALID:
            self._apply(transaction.writes)
        self.codes.append(code)
        return code

    def _code(self, transaction: EndorserTransaction, endorsement: int, committed_before: bool) -> int:
        if committed_before:
            return DUPLICATE_TXID
        if endorsement != VALID:
            return endorsement
        if transaction.tx_id in self._seen:
            return DUPLICATE_TXID
        self._seen.add(transaction.tx_id)
        if not all(self._is_current(read) for read in transaction.reads):
            return MVCC_READ_CONFLICT
        if not all(self._is_unchanged(query) for query in transaction.range_queries):
            return PHANTOM_READ_CONFLICT
        return VALID

    def _is_current(self, read: Read) -> bool:
        # A key this block has touched conflicts whatever was read: the reader cannot have seen the new version.
        return read.key not in self._updates and self.state.version(read.key) == read.version

    def _is_unchanged(self, query: RangeQuery) -> bool:
        return tuple(self._range(query.start, query.end)) == query.reads

    def _range(self, start: str, end: str) -> Iterator[Read]:
        committed = (Read(key, entry.version) for key, entry in self.state.range(start, end) if key not in self._updates)
        added = sorted(
            (Read(key, version) for key, version in self._updates.items() if version and key >= start and (not end or key < end)),
            key=lambda read: read.key,
        )
        return heapq.merge(committed, added, key=lambda read: read.key)

    def _apply(self, writes: Sequence[Write]) -> None:
        version = Version(self.number, len(self.codes))
        for write in writes:
            self._updates[write.key] = None if write.value is None else version
