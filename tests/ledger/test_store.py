"""The store: what it keeps, in what order, for whom, and that half a block never survives."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from fabric.devledger import store as module
from fabric.devledger.errors import DevLedgerError
from fabric.devledger.store import Store, TransactionRecord, TransactionStatus, open_store
from fabric.rwset import Version, Write


def record(tx_id: str, code: int = 0, **writes: bytes | None) -> TransactionRecord:
    return TransactionRecord(tx_id, code, tuple(Write(key, value) for key, value in writes.items()))


def test_a_block_its_state_and_its_transactions_are_kept(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(0, b"zero", [record("t0", a=b"1", b=b"2")])
    store.append(1, b"one", [record("t1", a=b"3"), record("t2", b=None), record("t3", code=11)])
    store.close()
    store = open_store(tmp_path)
    assert store.height == 2
    assert (store.block(0), store.block(1), store.block(2)) == (b"zero", b"one", None)
    assert store.transaction("t3") == TransactionStatus(1, 11)
    assert store.transaction("t9") is None
    with store.snapshot() as state:
        entry = state.get("a")
        assert entry is not None and (entry.value, entry.version) == (b"3", Version(1, 0))
        assert state.get("b") is None and state.version("b") is None
    store.close()


def test_the_first_transaction_with_an_id_keeps_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(0, b"zero", [record("t", code=0)])
    store.append(1, b"one", [record("t", code=9)])
    assert store.transaction("t") == TransactionStatus(0, 0)
    store.close()


def test_keys_are_ordered_by_their_bytes_composite_keys_too(tmp_path: Path) -> None:
    keys = ["a", "aa", "b", "é", "\U0001f600", "\uffff", "\x00t\x00a\x00", "\x00t\x00a\x00b\x00", "\x00u\x00"]
    store = open_store(tmp_path)
    store.append(0, b"zero", [TransactionRecord("t", 0, tuple(Write(key, b"v") for key in keys))])
    with store.snapshot() as state:
        assert [key for key, _ in state.range("", "")] == sorted(keys, key=str.encode)
        assert [key for key, _ in state.range("\x00t\x00", "\x00t\x00\U0010ffff")] == ["\x00t\x00a\x00", "\x00t\x00a\x00b\x00"]
        assert [key for key, _ in state.range("aa", "é")] == ["aa", "b"]
    store.close()


@pytest.mark.parametrize("remembered", [0, 20_000])
def test_the_writer_sees_what_it_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int) -> None:
    """Whatever it remembers: versions and policies are those of the newest block."""
    monkeypatch.setattr(module, "_REMEMBERED", remembered)
    store = open_store(tmp_path)
    seen = []
    for number, change in enumerate(
        [
            TransactionRecord("t0", 0, (Write("a", b"1"), Write("b", b"1")), (("a", b"policy"),)),
            TransactionRecord("t1", 0, (Write("a", b"2"),)),
            TransactionRecord("t2", 0, (), (("a", b""), ("b", b"policy"))),
            TransactionRecord("t3", 0, (Write("a", None),)),
        ]
    ):
        store.append(number, b"block", [change])
        seen.append([(store.writer.version(key), store.writer.policy(key)) for key in "abc"])
        with store.snapshot() as state:
            assert seen[-1] == [(state.version(key), state.policy(key)) for key in "abc"]
    absent = (None, b"")
    assert seen == [
        [(Version(0, 0), b"policy"), (Version(0, 0), b""), absent],
        [(Version(1, 0), b"policy"), (Version(0, 0), b""), absent],
        [(Version(2, 0), b""), (Version(2, 0), b"policy"), absent],
        [absent, (Version(2, 0), b"policy"), absent],
    ]
    store.close()


def test_a_snapshot_does_not_see_a_later_block(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(0, b"zero", [record("t0", a=b"1")])
    with store.snapshot() as state:
        assert state.version("a") == Version(0, 0)
        store.append(1, b"one", [record("t1", a=b"2")])
        assert state.version("a") == Version(0, 0)
    with store.snapshot() as state:
        assert state.version("a") == Version(1, 0)
    store.close()


def test_a_block_that_cannot_be_stored_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(0, b"zero", [record("t0", a=b"1")])
    with pytest.raises(DevLedgerError, match="cannot store block 0"):
        store.append(0, b"again", [record("t1", a=b"2")])
    assert store.height == 1
    assert store.transaction("t1") is None
    with store.snapshot() as state:
        assert state.version("a") == Version(0, 0)
    store.append(1, b"one", [record("t2")])
    store.close()


def test_a_full_disk_refuses_the_block_and_keeps_the_ledger(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(0, b"zero", [])
    pages = store._write.execute("PRAGMA page_count").fetchone()[0]
    store._write.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DevLedgerError, match=r"cannot store block 1: .*full.*free disk space"):
        store.append(1, bytes(1_000_000), [record("t1", a=b"1")])
    store._write.execute("PRAGMA max_page_count = 1000000")
    store.append(1, b"one", [record("t1", a=b"1")])
    assert (store.height, store.block(1)) == (2, b"one")
    store.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(DevLedgerError, match="in use by another ledger process"):
        open_store(tmp_path)
    store.close()
    open_store(tmp_path).close()


def test_data_of_another_format_or_none_at_all_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer" / "ledger.sqlite") as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(DevLedgerError, match="format 7"):
        open_store(tmp_path / "newer")
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "ledger.sqlite").write_bytes(b"noise" * 1000)
    with pytest.raises(DevLedgerError, match="cannot be opened"):
        open_store(tmp_path / "noise")
    (tmp_path / "file").write_text("")
    with pytest.raises(DevLedgerError, match="cannot use data folder"):
        open_store(tmp_path / "file")


def test_a_log_cut_at_any_place_leaves_whole_blocks_only(tmp_path: Path) -> None:
    """What a power cut or a kill leaves behind: the write-ahead log ends anywhere. Every block that survives is complete."""
    source = tmp_path / "source"
    store = open_store(source)
    for number in range(6):
        changes = record(f"t{number}", 0, **{f"k{number}": b"v", "last": str(number).encode()})
        store.append(number, f"block {number}".encode() * 300, [changes])
    log = (source / "ledger.sqlite-wal").read_bytes()
    heights = []
    for cut in range(0, len(log) + 1, 1031):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        shutil.copy(source / "ledger.sqlite", folder)
        (folder / "ledger.sqlite-wal").write_bytes(log[:cut])
        survivor = open_store(folder)
        heights.append(survivor.height)
        assert_whole(survivor)
        survivor.close()
    store.close()
    assert heights == sorted(heights)
    assert heights[0] == 0
    assert set(heights) >= {0, 3, 5}


def assert_whole(store: Store) -> None:
    tip = store.height - 1
    with store.snapshot() as state:
        last = state.get("last")
        assert (last.value if last else None) == (str(tip).encode() if tip >= 0 else None)
        assert [key for key, _ in state.range("k", "l")] == [f"k{number}" for number in range(store.height)]
    assert [store.transaction(f"t{number}") is not None for number in range(6)] == [number <= tip for number in range(6)]
    assert [store.block(number) is not None for number in range(6)] == [number <= tip for number in range(6)]


def test_a_policy_is_kept_with_its_key(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(0, b"zero", [TransactionRecord("t0", 0, (Write("a", b"1"), Write("b", b"1")), (("a", b"p"), ("absent", b"p")))])
    store.append(1, b"one", [TransactionRecord("t1", 0, (Write("a", b"2"),)), TransactionRecord("t2", 0, (), (("b", b"q"),))])
    store.close()
    store = open_store(tmp_path)
    with store.snapshot() as state:
        assert [state.policy(name) for name in ("a", "b", "absent")] == [b"p", b"q", b""]
        assert (state.version("a"), state.version("b"), state.get("absent")) == (Version(1, 0), Version(1, 1), None)
    store.append(2, b"two", [TransactionRecord("t3", 0, (Write("a", None),)), TransactionRecord("t4", 0, (Write("a", b"3"),))])
    with store.snapshot() as state:
        assert (state.policy("a"), state.policy("b")) == (b"", b"q")
    store.close()


def test_data_of_the_first_format_is_taken_over_without_policies(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append(0, b"zero", [TransactionRecord("t0", 0, (Write("a", b"1"),))])
    store.close()
    old = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    old.executescript("ALTER TABLE state DROP COLUMN policy; PRAGMA user_version = 1")
    old.close()
    store = open_store(tmp_path)
    store.append(1, b"one", [TransactionRecord("t1", 0, (), (("a", b"p"),))])
    with store.snapshot() as state:
        assert (state.policy("a"), state.version("a")) == (b"p", Version(1, 0))
    store.close()
