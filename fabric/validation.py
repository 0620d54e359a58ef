"""What a peer decides about each transaction of a block: the validation codes, recomputed from the blocks alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.channel import ChannelConfig
from fabric.crypto import IdentityError
from fabric.endorsement import EndorsementRules
from fabric.examination import ExaminedEnvelope
from fabric.msp import Member, MspRegistry
from fabric.mvcc import conflict
from fabric.rwset import NamespaceRwset, Version
from fabric.transactions import (
    ConfigTransaction,
    EndorserTransaction,
    Headers,
    MalformedTransaction,
)
from fabric.worldstate import Key, Space, Updates, WorldState

_VALID = int(transaction_pb2.VALID)
_AFTER_DUPLICATE_CHECK = {
    transaction_pb2.BAD_RESPONSE_PAYLOAD,
    transaction_pb2.BAD_RWSET,
    transaction_pb2.INVALID_OTHER_REASON,
    transaction_pb2.ILLEGAL_WRITESET,
}


@dataclass(frozen=True)
class Judged:
    """A transaction with the code a peer gives it and why. `transaction` is None where the bytes could not be read."""

    code: int
    reason: str
    tx_id: str = ""
    also: frozenset[int] = frozenset()  # codes that a peer may give instead, where Fabric fixes no order among failures
    transaction: EndorserTransaction | ConfigTransaction | None = None
    creator: Member | None = None
    endorsers: tuple[Member, ...] = ()

    @property
    def valid(self) -> bool:
        return self.code == int(transaction_pb2.VALID)


class Judge:
    """Judges the transactions of one block against the configuration and the state before it. Certificate periods are left
    unjudged, as peers do: admission judges them, and old blocks stay valid after a certificate's expiry."""

    def __init__(self, config: ChannelConfig, members: MspRegistry, state: WorldState, known: "KnownTransactions") -> None:
        self._config = config
        self._members = members
        self._rules = EndorsementRules(config, state)
        self._known = known

    def envelope(self, examined: ExaminedEnvelope) -> Judged:
        """Everything a peer checks before the order in the block matters: form, creator, transaction id, endorsements."""
        headers = examined.headers
        if headers is None:
            assert examined.flaw is not None  # what cannot be read has a reason
            return Judged(examined.flaw.code, examined.flaw.reason)
        transaction: EndorserTransaction | ConfigTransaction | None = None
        creator: Member | None = None
        try:
            creator = self._creator(headers, examined.creator_flaw)
            transaction = self._transaction(headers, examined)
            if isinstance(transaction, ConfigTransaction):
                return Judged(_VALID, "", headers.tx_id, transaction=transaction, creator=creator)
            _check_chaincode(transaction)
        except MalformedTransaction as error:
            known = creator if transaction is not None else None
            return Judged(error.code, str(error), headers.tx_id, transaction=transaction, creator=known)
        endorsers = self.endorsers(transaction, examined.endorsement_flaws)
        failures = self._rules.failures(transaction.chaincode, transaction.rwsets, endorsers)
        code, reason = next(iter(failures.items()), (_VALID, ""))
        return Judged(code, reason, headers.tx_id, frozenset(failures), transaction, creator, tuple(endorsers))

    def endorsers(self, transaction: EndorserTransaction, flaws: Sequence[str]) -> list[Member]:
        """The distinct members whose endorsement signatures are good; the others count for nothing."""
        found: dict[bytes, Member] = {}
        for endorsement, flaw in zip(transaction.endorsements, flaws, strict=True):
            if flaw:
                continue
            try:
                member = self._members.authenticate(endorsement.endorser, None)
            except IdentityError:
                continue
            found.setdefault(endorsement.endorser, member)
        return list(found.values())

    def _creator(self, headers: Headers, flaw: str) -> Member:
        kinds = (common_pb2.ENDORSER_TRANSACTION, common_pb2.CONFIG, common_pb2.CONFIG_UPDATE)
        if headers.type not in kinds or headers.epoch != 0 or not headers.nonce or not headers.creator:
            raise MalformedTransaction(transaction_pb2.BAD_COMMON_HEADER, "the headers are not those of a transaction")
        try:
            creator = self._members.authenticate(headers.creator, None)
            if flaw:
                raise IdentityError(flaw)
        except IdentityError as error:
            raise MalformedTransaction(transaction_pb2.BAD_CREATOR_SIGNATURE, f"the creator: {error}") from error
        return creator

    def _transaction(self, headers: Headers, examined: ExaminedEnvelope) -> EndorserTransaction | ConfigTransaction:
        transaction, flaw = examined.transaction, examined.flaw
        if transaction is None:
            assert flaw is not None  # what is no transaction has a reason
            if flaw.code in _AFTER_DUPLICATE_CHECK:
                self._check_channel_and_duplicate(headers)
            raise MalformedTransaction(flaw.code, flaw.reason)
        if isinstance(transaction, EndorserTransaction):
            self._check_channel_and_duplicate(headers)
        elif transaction.channel != self._config.channel:
            raise MalformedTransaction(transaction_pb2.TARGET_CHAIN_NOT_FOUND, f"channel {transaction.channel!r} is not this one")
        return transaction

    def _check_channel_and_duplicate(self, headers: Headers) -> None:
        if headers.channel != self._config.channel:
            raise MalformedTransaction(transaction_pb2.TARGET_CHAIN_NOT_FOUND, f"channel {headers.channel!r} is not this one")
        if headers.tx_id in self._known:
            raise MalformedTransaction(transaction_pb2.DUPLICATE_TXID, "an earlier block holds this transaction id")


class KnownTransactions(Protocol):
    """The transaction ids of earlier blocks."""

    def __contains__(self, tx_id: str) -> bool: ...

    def add(self, tx_ids: Iterable[str]) -> None: ...


class KnownIds:
    """Transaction ids in memory, 32 bytes and what Python adds for each."""

    def __init__(self) -> None:
        self._ids: set[bytes] = set()

    def __contains__(self, tx_id: str) -> bool:
        return compact(tx_id) in self._ids

    def add(self, tx_ids: Iterable[str]) -> None:
        self._ids.update(compact(tx_id) for tx_id in tx_ids if tx_id)


def compact(tx_id: str) -> bytes:
    """A transaction id in half the space, where it is the hexadecimal number it should be."""
    try:
        return bytes.fromhex(tx_id)
    except ValueError:
        return tx_id.encode()


def in_order(judged: Sequence[Judged], number: int, state: WorldState) -> tuple[list[Judged], Updates]:
    """Judge what depends on the order: ids that stand twice in the block, key policies changed in it, reads that no longer hold.

    Returns the final judgements and the block's updates, not yet committed to `state`.
    """
    updates = Updates(state)
    final = []
    for position, one in enumerate(_unrepeated(_unchanged_policies(judged))):
        decided = one
        if one.valid and isinstance(one.transaction, EndorserTransaction):
            code = conflict(one.transaction.rwsets, updates)
            if code == int(transaction_pb2.VALID):
                updates.apply(one.transaction.rwsets, Version(number, position))
            else:
                decided = replace(one, code=code, reason="another transaction changed what this one read")
        final.append(decided)
    return final, updates


def _unrepeated(judged: Iterable[Judged]) -> list[Judged]:
    seen: set[str] = set()
    result = []
    for one in judged:
        if one.valid and one.tx_id and one.tx_id in seen:
            result.append(replace(one, code=int(transaction_pb2.DUPLICATE_TXID), reason="the block holds this transaction id twice"))
            continue
        if one.valid:
            seen.add(one.tx_id)
        result.append(one)
    return result


def _unchanged_policies(judged: Iterable[Judged]) -> list[Judged]:
    """A write to a key whose own endorsement policy an earlier transaction of the block changes cannot be judged: it fails."""
    changed: set[tuple[Space, Key]] = set()
    result = []
    for one in judged:
        transaction = one.transaction
        if not one.valid or not isinstance(transaction, EndorserTransaction):
            result.append(one)
        elif changed & set(_written(transaction.rwsets)):
            code = int(transaction_pb2.ENDORSEMENT_POLICY_FAILURE)
            result.append(replace(one, code=code, reason="the policy of a key it writes changes in the same block"))
        else:
            changed.update(_metadata_written(transaction.rwsets))
            result.append(one)
    return result


def _written(rwsets: Sequence[NamespaceRwset]) -> Iterable[tuple[Space, Key]]:
    yield from _metadata_written(rwsets)
    for rwset in rwsets:
        yield from ((Space(rwset.namespace), write.key) for write in rwset.writes)
        for collection in rwset.collections:
            yield from ((Space(rwset.namespace, collection.collection), write.key_hash) for write in collection.writes)


def _metadata_written(rwsets: Sequence[NamespaceRwset]) -> Iterable[tuple[Space, Key]]:
    for rwset in rwsets:
        yield from ((Space(rwset.namespace), write.key) for write in rwset.metadata_writes)
        for collection in rwset.collections:
            yield from ((Space(rwset.namespace, collection.collection), write.key) for write in collection.metadata_writes)


def _check_chaincode(transaction: EndorserTransaction) -> None:
    named = transaction.headers.chaincode
    if not named or named != transaction.chaincode or not transaction.chaincode_version:
        raise MalformedTransaction(transaction_pb2.INVALID_CHAINCODE, "the chaincode's name or version is missing or inconsistent")
    if transaction.event is not None and transaction.event.chaincode != named:
        raise MalformedTransaction(transaction_pb2.INVALID_OTHER_REASON, "the event names another chaincode")
    namespaces = [rwset.namespace for rwset in transaction.rwsets]
    if len(set(namespaces)) != len(namespaces):
        raise MalformedTransaction(transaction_pb2.ILLEGAL_WRITESET, "a name space stands twice in the read/write set")
