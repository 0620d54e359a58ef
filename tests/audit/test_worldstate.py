"""The replayed state against a plain dictionary, and the commit hash against Fabric's own serialisation of updates."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from fabric.commit_hash import commit_hash
from fabric.crypto import sha256
from fabric.rwset import CollectionRwset, HashedWrite, MetadataWrite, NamespaceRwset, Version, Write
from fabric.worldstate import Entry, Space, StateInMemory, Updates, WorldState
from gateway.auditor.state_on_disk import StateOnDisk

KEYS = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.one_of(st.none(), st.binary(min_size=1, max_size=3))
TRANSACTIONS = st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=8)


Opened = Callable[[], AbstractContextManager[WorldState]]
STATES = pytest.mark.parametrize(
    "state", [lambda: nullcontext(StateInMemory()), StateOnDisk, lambda: StateOnDisk(held_bytes=0)], ids=["memory", "held", "disk"]
)


@STATES
@given(blocks=st.lists(TRANSACTIONS, max_size=5))
def test_the_state_is_what_a_dictionary_would_hold(state: Opened, blocks: list[list[dict[str, bytes | None]]]) -> None:
    with state() as kept:
        is_what_a_dictionary_would_hold(kept, blocks)


def is_what_a_dictionary_would_hold(state: WorldState, blocks: list[list[dict[str, bytes | None]]]) -> None:
    plain: dict[str, tuple[bytes | None, Version]] = {}
    for number, transactions in enumerate(blocks):
        updates = Updates(state)
        for position, writes in enumerate(transactions):
            rwset = NamespaceRwset("cc", writes=tuple(Write(key, value) for key, value in writes.items()))
            updates.apply([rwset], Version(number, position))
            for key, value in writes.items():
                plain[key] = (value, Version(number, position))
            found = list(updates.scan(Space("cc"), "a", "d", include_end=False))
            assert found == [(key, version) for key, (value, version) in sorted(plain.items()) if value is not None and key < "d"]
        state.commit(updates)
    assert state.public("cc") == {key: value for key, (value, _) in sorted(plain.items()) if value is not None}


@STATES
def test_what_a_transaction_leaves_unsaid_of_a_key_stays(state: Opened) -> None:
    with state() as kept:
        keeps_what_a_transaction_leaves_unsaid(kept)


def keeps_what_a_transaction_leaves_unsaid(state: WorldState) -> None:
    for number, rwset in enumerate(
        [
            NamespaceRwset("cc", writes=(Write("k", b"1"),), metadata_writes=(MetadataWrite("k", (("m", b"x"),)),)),
            NamespaceRwset("cc", writes=(Write("k", b"2"),)),
            NamespaceRwset("cc", metadata_writes=(MetadataWrite("absent", (("m", b"x"),)),)),
        ]
    ):
        updates = Updates(state)
        updates.apply([rwset], Version(number, 0))
        state.commit(updates)
    entry = state.get(Space("cc"), "k")
    assert entry is not None
    assert (entry.value, entry.metadata, entry.version) == (b"2", (("m", b"x"),), Version(1, 0))
    assert state.get(Space("cc"), "absent") is None


def test_hashes_of_private_keys_belong_to_no_range_and_come_back_from_a_copy() -> None:
    with StateOnDisk(held_bytes=0) as state, StateOnDisk() as copy, closing(sqlite3.connect(":memory:")) as file:
        updates = Updates(state)
        private = CollectionRwset("secret", (), (HashedWrite(b"\x02", b"v"),), (MetadataWrite(b"\x02", (("m", b"x"),)),))
        updates.apply([NamespaceRwset("cc", writes=(Write("\x00a\x00", b"1"),), collections=(private,))], Version(3, 1))
        state.commit(updates)
        state.copy_to(file)
        copy.copy_from(file)
        for one in (state, copy):
            assert list(one.range(Space("cc", "secret"), "", "")) == []
            assert one.get(Space("cc", "secret"), b"\x02") == Entry(Version(3, 1), b"v", (("m", b"x"),))
            assert list(one.range(Space("cc"), "\x00a", "")) == [("\x00a\x00", Entry(Version(3, 1), b"1"))]
            assert (one.holds("cc"), one.holds("another")) == (True, False)


def test_memory_does_not_grow_with_the_number_of_keys() -> None:
    with StateOnDisk(held_bytes=100_000) as state:
        for number in range(100):
            updates = Updates(state)
            updates.apply(
                [NamespaceRwset("cc", writes=tuple(Write(f"{number}-{key}", b"v" * 300) for key in range(10)))], Version(number, 0)
            )
            state.commit(updates)
            assert len(state._held) < 200
        assert len(state.public("cc")) == 1000


def _updates_message() -> type:
    """The message that peers serialise, declared here from its published field numbers."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="updates_oracle.proto", package="oracle", syntax="proto3")
    write = file.message_type.add(name="Write")
    for number, (name, kind) in enumerate(
        [
            ("namespace", field.TYPE_STRING),
            ("collection", field.TYPE_STRING),
            ("key", field.TYPE_BYTES),
            ("is_delete", field.TYPE_BOOL),
            ("value", field.TYPE_BYTES),
            ("version", field.TYPE_BYTES),
        ],
        start=1,
    ):
        write.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    updates = file.message_type.add(name="Updates")
    updates.field.add(name="writes", number=1, type=field.TYPE_MESSAGE, type_name=".oracle.Write", label=field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.Updates"))


def test_the_commit_hash_covers_codes_updates_and_the_one_before() -> None:
    updates = Updates(StateInMemory())
    private = CollectionRwset("secret", (), (HashedWrite(b"\x02", b"v"), HashedWrite(b"\x01", None)), ())
    updates.apply(
        [
            NamespaceRwset("zeta", writes=(Write("k", b"1"),), collections=(private,)),
            NamespaceRwset("alpha", writes=(Write("z", None), Write("a", b"2"))),
        ],
        Version(300, 0),
    )
    version = b"\x02\x01\x2c\x00"
    expected = _updates_message()(
        writes=[
            {"namespace": "alpha", "key": b"a", "value": b"2", "version": version},
            {"key": b"z", "is_delete": True, "version": version},
            {"namespace": "zeta", "key": b"k", "value": b"1", "version": version},
            {"collection": "secret", "key": b"\x01", "is_delete": True, "version": version},
            {"key": b"\x02", "value": b"v", "version": version},
        ]
    )
    codes = [0, 11]
    assert commit_hash(codes, updates, b"before") == sha256(b"\x02\x00\x0b" + expected.SerializeToString() + b"before")
