"""The demo's output folder: made anew by each run, never over anything that is not a demo's, never under a running one."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import InputError

MARKER = ".consortium-demo"
_NOTICE = "This folder is made by `consortium demo`; the next run into it replaces everything in it.\n"


@contextmanager
def held(path: Path) -> Iterator[Path]:
    """Create the folder if need be and keep it to this process; yields its absolute path.

    Raises InputError if it holds something that no demo made, or another process has it.
    """
    _refuse_other_contents(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        marker = (path / MARKER).open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}; choose another folder") from error
    with marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"a demo is still running in {path}; stop it, or choose another folder") from error
        if not marker.tell():
            marker.write(_NOTICE)
            marker.flush()
        yield path.resolve()


def clear(path: Path) -> None:
    """Remove everything in a folder that is held."""
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARKER:
            entry.unlink()


def refuse_inside(path: Path, folder: Path) -> None:
    """Raise InputError if `path` lies in the output folder, which is emptied first."""
    if path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} lies in {folder}, which is emptied before a demo; copy the data elsewhere")


def _refuse_other_contents(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is not a folder; choose another one")
    if path.is_dir() and any(path.iterdir()) and not (path / MARKER).exists():
        raise InputError(f"{path} is not empty and was not made by `consortium demo`; choose another folder")
