"""Read/write sets: what a transaction read, at which versions, and what it writes (Fabric's `rwset` messages)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from google.protobuf.message import DecodeError

from fabric.crypto import sha256

VALIDATION_PARAMETER = "VALIDATION_PARAMETER"  # Fabric's name for the metadata entry that holds a key's own endorsement policy

_HASH_OF_NOTHING = sha256(b"")  # an empty private value deletes its key, as an empty public one does


class MalformedRwset(ValueError):  # noqa: N818 - says what the bytes are
    """The bytes are not a key-value read/write set; the message says why."""


class Version(NamedTuple):
    """The transaction that wrote a key: block number and position in the block. Ordered as the ledger is."""

    block: int
    transaction: int


@dataclass(frozen=True)
class Read:
    """A key that was read, and the version seen; None where the key did not exist."""

    key: str
    version: Version | None


@dataclass(frozen=True)
class Write:
    """A key and its new value; None deletes it, and so does an empty value, as in Fabric."""

    key: str
    value: bytes | None


@dataclass(frozen=True)
class MerkleSummary:
    """Fabric's digest of a range query with many results: the hashes of the highest level of a tree over the reads."""

    max_degree: int
    max_level: int
    hashes: tuple[bytes, ...]


@dataclass(frozen=True)
class RangeQuery:
    """Keys of [start, end) seen with their versions. `exhausted` says that the reader came to the end of the range.

    An empty `end` is the end of the name space. Exactly one of `reads` and `summary` describes the results.
    """

    start: str
    end: str
    exhausted: bool
    reads: tuple[Read, ...] = ()
    summary: MerkleSummary | None = None


@dataclass(frozen=True)
class MetadataWrite:
    """New metadata entries of a key (name, value); no entries deletes them. Keys of private data are hashes, in `bytes`."""

    key: str | bytes
    entries: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class HashedRead:
    key_hash: bytes
    version: Version | None


@dataclass(frozen=True)
class HashedWrite:
    """A private key's hash and its value's hash; None deletes it."""

    key_hash: bytes
    value_hash: bytes | None


@dataclass(frozen=True)
class CollectionRwset:
    """The hashed read/write set of one private data collection."""

    collection: str
    reads: tuple[HashedRead, ...]
    writes: tuple[HashedWrite, ...]
    metadata_writes: tuple[MetadataWrite, ...]


@dataclass(frozen=True)
class NamespaceRwset:
    """The read/write set of one chaincode's name space."""

    namespace: str
    reads: tuple[Read, ...] = ()
    writes: tuple[Write, ...] = ()
    range_queries: tuple[RangeQuery, ...] = ()
    metadata_writes: tuple[MetadataWrite, ...] = ()
    collections: tuple[CollectionRwset, ...] = ()


def parse_rwset(data: bytes) -> tuple[NamespaceRwset, ...]:
    """Parse `rwset.TxReadWriteSet` bytes; raise MalformedRwset."""
    try:
        return tuple(_namespace(entry) for entry in rwset_pb2.TxReadWriteSet.FromString(data).ns_rwset)
    except DecodeError as error:
        raise MalformedRwset(f"not a read/write set: {error}") from error


def build_rwset(rwsets: Sequence[NamespaceRwset]) -> bytes:
    """`rwset.TxReadWriteSet` bytes of public reads, writes, range queries and metadata, in the order given (Fabric's is key order)."""
    namespaces = [rwset_pb2.NsReadWriteSet(namespace=rwset.namespace, rwset=_kv_rwset(rwset).SerializeToString()) for rwset in rwsets]
    data: bytes = rwset_pb2.TxReadWriteSet(ns_rwset=namespaces).SerializeToString()
    return data


def _namespace(entry: rwset_pb2.NsReadWriteSet) -> NamespaceRwset:
    rwset = kv_rwset_pb2.KVRWSet.FromString(entry.rwset)
    return NamespaceRwset(
        entry.namespace,
        tuple(_read(read) for read in rwset.reads),
        tuple(Write(write.key, None if write.is_delete else write.value or None) for write in rwset.writes),
        tuple(_range_query(query) for query in rwset.range_queries_info),
        tuple(MetadataWrite(write.key, _entries(write)) for write in rwset.metadata_writes),
        tuple(_collection(collection) for collection in entry.collection_hashed_rwset),
    )


def _collection(entry: rwset_pb2.CollectionHashedReadWriteSet) -> CollectionRwset:
    rwset = kv_rwset_pb2.HashedRWSet.FromString(entry.hashed_rwset)
    return CollectionRwset(
        entry.collection_name,
        tuple(HashedRead(read.key_hash, _version(read)) for read in rwset.hashed_reads),
        tuple(HashedWrite(write.key_hash, _value_hash(write)) for write in rwset.hashed_writes),
        tuple(MetadataWrite(write.key_hash, _entries(write)) for write in rwset.metadata_writes),
    )


def _value_hash(write: kv_rwset_pb2.KVWriteHash) -> bytes | None:
    deletes = write.is_delete or not write.value_hash or write.value_hash == _HASH_OF_NOTHING
    return None if deletes else write.value_hash


def _entries(write: kv_rwset_pb2.KVMetadataWrite | kv_rwset_pb2.KVMetadataWriteHash) -> tuple[tuple[str, bytes], ...]:
    return tuple((entry.name, entry.value) for entry in write.entries)


def _read(read: kv_rwset_pb2.KVRead) -> Read:
    return Read(read.key, _version(read))


def _version(read: kv_rwset_pb2.KVRead | kv_rwset_pb2.KVReadHash) -> Version | None:
    return Version(read.version.block_num, read.version.tx_num) if read.HasField("version") else None


def _range_query(query: kv_rwset_pb2.RangeQueryInfo) -> RangeQuery:
    summary = None
    if query.HasField("reads_merkle_hashes"):
        merkle = query.reads_merkle_hashes
        summary = MerkleSummary(merkle.max_degree, merkle.max_level, tuple(merkle.max_level_hashes))
    reads = tuple(_read(read) for read in query.raw_reads.kv_reads)
    return RangeQuery(query.start_key, query.end_key, query.itr_exhausted, reads, summary)


def _kv_rwset(rwset: NamespaceRwset) -> kv_rwset_pb2.KVRWSet:
    return kv_rwset_pb2.KVRWSet(
        reads=[_kv_read(read) for read in rwset.reads],
        writes=[kv_rwset_pb2.KVWrite(key=write.key, is_delete=write.value is None, value=write.value or b"") for write in rwset.writes],
        range_queries_info=[
            kv_rwset_pb2.RangeQueryInfo(
                start_key=query.start,
                end_key=query.end,
                itr_exhausted=query.exhausted,
                raw_reads=kv_rwset_pb2.QueryReads(kv_reads=[_kv_read(read) for read in query.reads]),
            )
            for query in rwset.range_queries
        ],
        metadata_writes=[
            kv_rwset_pb2.KVMetadataWrite(
                key=write.key, entries=[kv_rwset_pb2.KVMetadataEntry(name=name, value=value) for name, value in write.entries]
            )
            for write in rwset.metadata_writes
        ],
    )


def _kv_read(read: Read) -> kv_rwset_pb2.KVRead:
    if read.version is None:
        return kv_rwset_pb2.KVRead(key=read.key)
    return kv_rwset_pb2.KVRead(key=read.key, version=kv_rwset_pb2.Version(block_num=read.version.block, tx_num=read.version.transaction))
