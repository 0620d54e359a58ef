"""A gateway's shares of keys, sealed and brought back: by themselves, and after its disk is lost in the middle of a task."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.auditor.verify import verify_ledger
from gateway.cli.main import run
from gateway.errors import ConfigError, ExitCode, InputError, VerificationFailed
from gateway.hospital.backup import KEY_BYTES, back_up, new_key, read_key, restore
from gateway.hospital.state import CeremonyPart, StateStore
from tests.support.hospitals import IMPATIENT, consortium, task_document

KEY = bytes(range(KEY_BYTES))
WHO: dict[str, Any] = {"key": KEY, "mspid": "hospital-01"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    store = StateStore(folder)
    store.keep_holder_key("task-1", public_key=b"public", holder_key=b"a holder's key")
    store.keep_ceremony_part("task-2", 1, CeremonyPart(b"secret", b"part", b"private", b"public", sealed=None))
    store.keep_scores("task-1", 1, b"not in a backup")
    (folder / "split-salt").write_bytes(b"salt of the division")
    store.close()
    return folder


def test_a_backup_brings_back_shares_and_salts_and_nothing_else(state: Path, tmp_path: Path) -> None:
    assert restore(tmp_path / "new", back_up(state, **WHO), **WHO) == ["task-1"]
    store = StateStore(tmp_path / "new")
    assert (store.public_key("task-1"), store.holder_key("task-1")) == (b"public", b"a holder's key")
    part = store.ceremony_part("task-2", 1)
    assert part is not None and part.secret == b"secret"
    assert store.scores("task-1", 1) is None
    store.close()
    assert (tmp_path / "new" / "split-salt").read_bytes() == b"salt of the division"


def test_a_backup_is_made_beside_a_running_gateway_and_shows_nothing(state: Path) -> None:
    running = StateStore(state)
    first, second = back_up(state, **WHO), back_up(state, **WHO)
    running.close()
    assert first != second
    assert all(word not in first for word in (b"holder", b"task-1", b"salt of the division"))


def test_backups_open_for_their_hospital_key_and_bytes_only(state: Path, tmp_path: Path) -> None:
    good = back_up(state, **WHO)
    for data, who in (
        (good, {**WHO, "key": bytes(KEY_BYTES)}),
        (good, {**WHO, "mspid": "hospital-02"}),
        (good[:-1] + bytes([good[-1] ^ 1]), WHO),
        (good[:40], WHO),
        (good[:30], WHO),
    ):
        with pytest.raises(VerificationFailed, match="does not open"):
            restore(tmp_path / "new", data, **who)
    with pytest.raises(InputError, match="not a backup"):
        restore(tmp_path / "new", b"something else", **WHO)
    assert not (tmp_path / "new").exists()


def test_nothing_of_a_folder_is_replaced(state: Path, tmp_path: Path) -> None:
    backup = back_up(state, **WHO)
    assert restore(state, backup, **WHO) == ["task-1"]  # the same again
    store = StateStore(state)
    with pytest.raises(ConfigError, match="another gateway runs"):
        restore(state, backup, **WHO)
    store.keep_holder_key("task-1", public_key=b"public", holder_key=b"another")
    store.close()
    with pytest.raises(InputError, match="another holder-key of task task-1"):
        restore(state, backup, **WHO)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "split-salt").write_bytes(b"another")
    with pytest.raises(InputError, match="patients would change sides"):
        restore(tmp_path / "new", backup, **WHO)
    empty = StateStore(tmp_path / "new")
    with pytest.raises(VerificationFailed):
        empty.holder_key("task-1")
    empty.close()


def test_keys_are_made_once_and_checked(tmp_path: Path) -> None:
    key = new_key(tmp_path / "key")
    assert new_key(tmp_path / "key") == key == read_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(InputError, match="has 1 bytes"):
        new_key(tmp_path / "short")
    with pytest.raises(InputError, match="cannot be read"):
        read_key(tmp_path / "none")
    with pytest.raises(InputError, match="holds no gateway's state"):
        back_up(tmp_path, **WHO)


async def test_a_gateway_whose_disk_is_lost_goes_on_from_its_backup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with consortium(tmp_path, hospitals=4) as together:
        task_id = await together.submit(task_document(rounds=6, heartbeat_limit=IMPATIENT))
        await together.until(task_id, phase="settled", round_number=1)
        key = tmp_path / "backup.key"
        state = together.gateways["hospital-02"].config.gateway.state
        config = together.network.gateway("hospital-02")
        place = [str(tmp_path / "backup"), "--key", str(key), "--config", str(config)]
        assert await asyncio.to_thread(run, ["gateway", "backup", *place]) == ExitCode.OK
        await together.kill("hospital-02")
        shutil.rmtree(state)
        assert await asyncio.to_thread(run, ["gateway", "restore", *place]) == ExitCode.OK
        assert task_id in capsys.readouterr().out
        await together.start("hospital-02")
        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 6), end.reason
        last = (await together.settlements(end))[-1]
        assert "hospital-02" in {entry.mspid for entry in last.hospitals if entry.contributed}
        assert (await verify_ledger(together.researcher.client)).verified
