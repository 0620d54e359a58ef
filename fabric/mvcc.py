"""Whether a transaction's reads still hold when it commits: versions of keys, and phantoms in ranges."""

from collections.abc import Iterable, Sequence

from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import transaction_pb2

from fabric.crypto import sha256
from fabric.rwset import MerkleSummary, NamespaceRwset, RangeQuery, Version
from fabric.worldstate import Key, Space, Updates


def conflict(rwsets: Sequence[NamespaceRwset], updates: Updates) -> int:
    """The validation code of a transaction whose turn in the block has come: VALID, or the first conflict in Fabric's order."""
    for rwset in rwsets:
        space = Space(rwset.namespace)
        if not all(_unchanged(space, read.key, read.version, updates) for read in rwset.reads):
            return int(transaction_pb2.MVCC_READ_CONFLICT)
        if not all(_same_range(space, query, updates) for query in rwset.range_queries):
            return int(transaction_pb2.PHANTOM_READ_CONFLICT)
        for collection in rwset.collections:
            private = Space(rwset.namespace, collection.collection)
            if not all(_unchanged(private, read.key_hash, read.version, updates) for read in collection.reads):
                return int(transaction_pb2.MVCC_READ_CONFLICT)
    return int(transaction_pb2.VALID)


def summarise(reads: Iterable[tuple[str, Version]], max_degree: int) -> MerkleSummary | None:
    """Fabric's Merkle summary of a range query's results; None where there are so few that they are listed instead.

    Leaves are hashes over `max_degree + 1` reads each; whenever a level holds more than `max_degree` hashes they are
    combined into one of the next level. What is left over is lifted level by level to the highest one.
    """
    levels: list[list[bytes]] = [[]]
    pending: list[tuple[str, Version]] = []
    for read in reads:
        pending.append(read)
        if len(pending) > max_degree:
            _add_leaf(levels, _hash_reads(pending), max_degree)
            pending = []
    if levels == [[]]:
        return None
    if pending:
        _add_leaf(levels, _hash_reads(pending), max_degree)
    return _complete(levels, max_degree)


def _unchanged(space: Space, key: Key, version: Version | None, updates: Updates) -> bool:
    if updates.written(space, key):
        return False
    entry = updates.latest(space, key)
    return (entry.version if entry else None) == version


def _same_range(space: Space, query: RangeQuery, updates: Updates) -> bool:
    # A reader that stopped early recorded the last key it saw as the end, so that key belongs to the range.
    found = updates.scan(space, query.start, query.end, include_end=not query.exhausted)
    if query.summary is not None:
        return summarise(found, query.summary.max_degree) == query.summary
    return list(found) == [(read.key, read.version) for read in query.reads]


def _add_leaf(levels: list[list[bytes]], leaf: bytes, max_degree: int) -> None:
    levels[0].append(leaf)
    level = 0
    while len(levels[level]) > max_degree:
        combined = sha256(b"".join(levels[level]))
        levels[level] = []
        level += 1
        if level == len(levels):
            levels.append([])
        levels[level].append(combined)


def _complete(levels: list[list[bytes]], max_degree: int) -> MerkleSummary:
    for level in range(len(levels) - 1):
        hashes = levels[level]
        if hashes:
            levels[level + 1].append(hashes[0] if len(hashes) == 1 else sha256(b"".join(hashes)))
    if len(levels[-1]) > max_degree:
        levels.append([sha256(b"".join(levels[-1]))])
    return MerkleSummary(max_degree, len(levels), tuple(levels[-1]))


def _hash_reads(reads: Sequence[tuple[str, Version]]) -> bytes:
    message = kv_rwset_pb2.QueryReads(
        kv_reads=[
            kv_rwset_pb2.KVRead(key=key, version=kv_rwset_pb2.Version(block_num=version.block, tx_num=version.transaction))
            for key, version in reads
        ]
    )
    return sha256(message.SerializeToString())
