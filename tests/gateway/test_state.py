"""A gateway's own state: what is kept survives, what is secret is destroyed, and nobody else writes."""

import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError, VerificationFailed
from gateway.hospital.cohort import SALT_BYTES, split_salt
from gateway.hospital.frames import pack, unpack
from gateway.hospital.state import CeremonyPart, Contribution, StateStore

CONTRIBUTION = Contribution("ab" * 32, "cd" * 32, b"\x00ciphertext\xff")


def test_what_was_kept_is_there_after_the_process_is_gone(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.keep_contribution("task-1", 3, CONTRIBUTION)
    store.keep_model("task-1", 3, np.array([1.5, -2.25]))
    store.keep_decryption_share("task-1", 3, 2, b"share")
    store.close()
    again = StateStore(tmp_path)
    assert again.contribution("task-1", 3) == CONTRIBUTION
    assert again.contribution("task-1", 4) is None
    kept = again.model("task-1", 3)
    assert kept is not None and kept.tolist() == [1.5, -2.25]
    assert again.decryption_share("task-1", 3, 2) == b"share"
    assert again.decryption_share("task-1", 3, 1) is None


def test_a_second_gateway_on_the_same_state_is_refused(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    with pytest.raises(ConfigError, match="another gateway runs on the state folder"):
        StateStore(tmp_path)
    store.close()
    StateStore(tmp_path).close()


def test_the_state_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state")
    store.close()
    assert stat.S_IMODE((tmp_path / "state" / "gateway.sqlite").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_the_ceremony_s_secrets_are_destroyed_and_the_key_stays(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    part = CeremonyPart(b"public", b"dealt", b"private", b"sealing", sealed=None)
    store.keep_ceremony_part("task-1", 1, part)
    assert store.ceremony_part("task-1", 1) == part
    sealed = CeremonyPart(b"public", b"dealt", b"private", b"sealing", sealed=b"sealed")
    store.keep_ceremony_part("task-1", 1, sealed)
    assert store.ceremony_part("task-1", 1) == sealed
    store.keep_holder_key("task-1", public_key=b"joint", holder_key=b"holder")
    store.forget_ceremony("task-1")
    assert store.ceremony_part("task-1", 1) is None
    assert (store.public_key("task-1"), store.holder_key("task-1")) == (b"joint", b"holder")
    with pytest.raises(VerificationFailed, match="restore its state folder"):
        store.holder_key("task-2")


def test_settled_rounds_are_forgotten_and_later_ones_kept(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    for number in (1, 2, 3):
        store.keep_contribution("task-1", number, CONTRIBUTION)
        store.keep_scores("task-1", number, b"{}")
        store.keep_decryption_share("task-1", number, 1, b"share")
        store.keep_model("task-1", number, np.zeros(2))
    store.forget_rounds("task-1", before=3)
    assert store.model("task-1", 1) is not None
    store.forget_models("task-1", before=2)
    assert [store.model("task-1", number) is None for number in (1, 2, 3)] == [True, False, False]
    assert [store.contribution("task-1", number) is None for number in (1, 2, 3)] == [True, True, False]
    assert [store.scores("task-1", number) is None for number in (1, 2, 3)] == [True, True, False]
    assert [store.decryption_share("task-1", number, 1) is None for number in (1, 2, 3)] == [True, True, False]


def test_the_split_s_salt_is_made_once(tmp_path: Path) -> None:
    salt = split_salt(tmp_path / "state")
    assert len(salt) == SALT_BYTES
    assert split_salt(tmp_path / "state") == salt
    assert split_salt(tmp_path / "other") != salt


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_frames_come_back_as_they_went(parts: list[bytes]) -> None:
    assert unpack(pack(parts), count=len(parts)) == parts


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4), st.integers(min_value=1, max_value=10))
def test_cut_frames_are_refused(parts: list[bytes], cut: int) -> None:
    data = pack(parts)
    with pytest.raises(VerificationFailed):
        unpack(data[: max(1, len(data) - cut)], count=len(parts))


def test_more_or_fewer_frames_than_expected_are_refused() -> None:
    for count in (1, 3):
        with pytest.raises(VerificationFailed):
            unpack(pack([b"a", b"b"]), count=count)
