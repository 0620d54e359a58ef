"""Backup and recovery of what only this gateway has of its tasks: its shares of their keys, and the secrets that its cohorts rest on.

A backup is one file, sealed with AES-256-GCM under a key that the hospital keeps elsewhere. What a gateway makes anew, or finds on the
ledger and at others, is not in it: updates of the round under way are lost with the disk, and that round is missed.
"""

import os
import sqlite3
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import InputError, VerificationFailed
from gateway.hospital.frames import pack, unpack
from gateway.hospital.state import StateStore

KEY_BYTES = 32
_NONCE_BYTES = 12
_MAGIC = b"consortium gateway backup 1\n"
_KINDS = ("public-key", "holder-key", "ceremony", "document", "cohort-salt", "left-out-at-approval", "left-out-since", "withdrawal")
_SPLIT_SALT = "split-salt"


def new_key(path: Path) -> bytes:
    """The backup key in a file, made where there is none; raises InputError for a file that is no such key."""
    if not path.exists():
        part = path.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_bytes(os.urandom(KEY_BYTES))
        part.replace(path)
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The backup key in a file; raises InputError."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise InputError(f"the backup's key {path} cannot be read: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise InputError(f"{path} has {len(key)} bytes and a backup's key has {KEY_BYTES}; use the file that `gateway backup` made")
    return key


def back_up(state: Path, *, key: bytes, mspid: str) -> bytes:
    """A sealed backup of a state folder, also while its gateway runs; raises InputError where there is no state."""
    path = state / "gateway.sqlite"
    if not path.exists():
        raise InputError(f"{state} holds no gateway's state; look at [gateway] state in the configuration")
    # Read-only and of one moment: the running gateway is the only writer.
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        places = ", ".join("?" * len(_KINDS))
        query = f"SELECT task_id, kind, number, value FROM item WHERE kind IN ({places}) ORDER BY task_id, kind, number"  # noqa: S608 (only marks)
        rows = database.execute(query, _KINDS).fetchall()
    finally:
        database.close()
    salt = state / _SPLIT_SALT
    items = [pack([task_id.encode(), kind.encode(), str(number).encode(), value]) for task_id, kind, number, value in rows]
    plain = pack([salt.read_bytes() if salt.exists() else b"", *items])
    nonce = os.urandom(_NONCE_BYTES)
    return _MAGIC + nonce + AESGCM(key).encrypt(nonce, plain, _MAGIC + mspid.encode())


def restore(state: Path, backup: bytes, *, key: bytes, mspid: str) -> list[str]:
    """Bring a backup back into a state folder whose gateway does not run; returns the tasks whose key shares are there again.

    Nothing that the folder has is replaced: what it has and the backup says otherwise is refused, and then nothing is written. Raises
    VerificationFailed (another key, hospital, or an altered file), InputError (no backup, or a folder with other secrets), ConfigError (the
    gateway runs).
    """
    salt, *items = unpack(_opened(backup, key=key, mspid=mspid))
    rows = [_row(item) for item in items]
    store = StateStore(state)
    try:
        _restore_salt(state / _SPLIT_SALT, salt)
        store.add_missing(rows)
    finally:
        store.close()
    return sorted({task_id for task_id, kind, _, _ in rows if kind == "holder-key"})


def read_backup(path: Path) -> bytes:
    """A backup's bytes; raises InputError where the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the backup {path} cannot be read: {error.strerror}") from error


def write_backup(path: Path, data: bytes) -> None:
    """Write a backup whole or not at all, on disk when the call returns; raises InputError where it cannot be written."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InputError(f"the backup {path} cannot be written: {error.strerror}") from error


def _opened(backup: bytes, *, key: bytes, mspid: str) -> bytes:
    if not backup.startswith(_MAGIC):
        raise InputError("the file is not a backup of a gateway; use one that `gateway backup` made")
    nonce, sealed = backup[len(_MAGIC) :][:_NONCE_BYTES], backup[len(_MAGIC) + _NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, sealed, _MAGIC + mspid.encode())
    except (InvalidTag, ValueError) as error:
        raise VerificationFailed(f"the backup does not open: it was altered, made with another key, or is not of {mspid}") from error


def _row(item: bytes) -> tuple[str, str, int, bytes]:
    task_id, kind, number, value = unpack(item, count=4)
    return task_id.decode(), kind.decode(), int(number), value


def _restore_salt(path: Path, salt: bytes) -> None:
    if path.exists() and salt and path.read_bytes() != salt:
        raise InputError(f"{path} is another one than the backup's, and patients would change sides; restore into an empty state folder")
    if salt and not path.exists():
        part = path.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_bytes(salt)
        part.replace(path)
