"""The replayed state against a plain dictionary, and the commit hash against Fabric's own serialisation of updates."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from fabric.commit_hash import commit_hash
from fabric.crypto import sha256
from fabric.rwset import CollectionRwset, HashedWrite, MetadataWrite, NamespaceRwset, Version, Write
from fabric.worldstate import Space, Updates, WorldState

KEYS = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.one_of(st.none(), st.binary(min_size=1, max_size=3))
TRANSACTIONS = st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=8)


@given(st.lists(TRANSACTIONS, max_size=5))
def test_the_state_is_what_a_dictionary_would_hold(blocks: list[list[dict[str, bytes | None]]]) -> None:
    state, plain = WorldState(), {}
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


def test_what_a_transaction_leaves_unsaid_of_a_key_stays() -> None:
    state = WorldState()
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
    updates = Updates(WorldState())
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
