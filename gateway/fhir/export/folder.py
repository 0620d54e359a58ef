"""A folder that exports fill: its files, what the last export left to know, and an export under way.

    <folder>/<Type>.ndjson          the resources, read like any folder of FHIR files
    <folder>/.export/state.json     what was asked for, until when it is current, which files are the export's
    <folder>/.export/job.json       an export that was begun and is not taken over yet
    <folder>/.export/parts/         its files so far
    <folder>/.export/replacing/     new files that take the old ones' places

The files change all at once: from the moment that `replacing` has its name, the new ones hold, and a crash after it is made good by
`finish_replacing`, before it by doing the merge again.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.fhir.errors import DataError
from gateway.fhir.sources import REPLACING, is_source


@dataclass(frozen=True)
class State:
    """What an export left behind."""

    wanted: str
    """What was asked for (`DataSection.wanted`)."""
    transaction_time: str | None
    """Until when the folder is current, by the server's clock; None where the next export has to ask for everything."""
    files: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """An export that a server works on."""

    wanted: str
    since: str | None
    status_url: str


class ExportFolder:
    """One folder; made by `opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / ".export"
        self.parts = self._own / "parts"
        self._next = self._own / "next"
        self._replacing = folder / REPLACING

    def state(self) -> State | None:
        """What the last export left; None before the first, and if it is not there any more.

        Raises DataError if the folder holds other files too.
        """
        found = _read(self._own / "state.json")
        state = None if found is None else State(found["wanted"], found["transaction_time"], tuple(found["files"]))
        strangers = sorted({path.name for path in self.folder.iterdir() if is_source(path)} - set(state.files if state else ()))
        if strangers:
            raise DataError(f"{self.folder} holds {strangers[0]}, which no export put there; name a folder for the export alone")
        return state if state is not None and all(path.exists() for path in self.files(state)) else None

    def job(self) -> Job | None:
        """The export under way."""
        found = _read(self._own / "job.json")
        return None if found is None else Job(found["wanted"], found["since"], found["status_url"])

    def begin(self, job: Job | None) -> None:
        """Forget what is there of an export under way, and remember `job` as the one that is."""
        (self._own / "job.json").unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir()
        if job is not None:
            _write(self._own / "job.json", asdict(job))

    def files(self, state: State) -> list[Path]:
        """The files that the last export left."""
        return [self.folder / name for name in state.files]

    def new_files(self) -> Path:
        """An empty folder for the files that `replace` puts in place."""
        shutil.rmtree(self._next, ignore_errors=True)
        self._next.mkdir()
        return self._next

    def replace(self, wanted: str, transaction_time: str | None) -> None:
        """Put the files of `new_files` in the place of the old ones."""
        names = tuple(sorted(path.name for path in self._next.iterdir()))
        _write(self._next / "state.json", asdict(State(wanted, transaction_time, names)))
        self._next.rename(self._replacing)
        self.finish_replacing()
        self.begin(None)

    def finish_replacing(self) -> None:
        """Do the rest of `replace`, if it was cut off."""
        found = _read(self._replacing / "state.json")
        if found is not None:
            for old in self.folder.iterdir():
                if is_source(old) and old.name not in found["files"]:
                    old.unlink()
            for new in self._replacing.iterdir():
                if is_source(new) and new.name in found["files"]:
                    new.replace(self.folder / new.name)
            (self._replacing / "state.json").replace(self._own / "state.json")
        if self._replacing.exists():
            self._replacing.rmdir()


@contextmanager
def opened(folder: Path) -> Iterator[ExportFolder]:
    """Make the folder, for its owner alone, and hold it against other exports. Raises DataError with one sentence."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / ".export").mkdir(exist_ok=True, mode=0o700)
        (folder / ".export" / "parts").mkdir(exist_ok=True)
        with (folder / ".export" / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(f"another export into {folder} is under way; wait for its end") from None
            found = ExportFolder(folder)
            found.finish_replacing()
            yield found
    except OSError as error:
        raise DataError(f"cannot write the export into {error.filename or folder}: {error.strerror}; make room or name a folder") from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise DataError(f"{path} is damaged; remove the folder and export again") from None
    assert isinstance(found, dict)
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
