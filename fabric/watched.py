"""Files that are replaced while a process runs: certificates and keys that were renewed, authorities that were added."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)

# Modification time, size and inode of a file; None where there is none.
_Stamp = tuple[tuple[int, int, int] | None, ...]


class Watched(Generic[T]):
    """What some files hold, read again when one of them changes. May be used from several threads.

    A change that cannot be used (half of a pair, a file that is being written) is said in the log once, and what was read before
    stays in use until the files change again.
    """

    def __init__(self, files: Sequence[Path], load: Callable[[], T]) -> None:
        """Read the files; raises what `load` raises."""
        self._files = tuple(files)
        self._load = load
        self._lock = threading.Lock()
        # Taken before reading: what is written meanwhile shows as another change later.
        self._stamp = _stamp_of(self._files)
        self._value = load()

    def __call__(self) -> T:
        """What the files hold; the same object for as long as they do not change."""
        with self._lock:
            stamp = _stamp_of(self._files)
            if stamp != self._stamp:
                self._stamp = stamp
                self._read_again()
            return self._value

    def _read_again(self) -> None:
        names = ", ".join(str(file) for file in self._files)
        try:
            self._value = self._load()
        except Exception as error:  # whatever is wrong with the new files must not end what runs well on the old ones
            _log.warning("%s changed and cannot be used: %s; what was read before stays in use", names, error)
        else:
            _log.info("%s changed and is in use from now on", names)


def _stamp_of(files: Sequence[Path]) -> _Stamp:
    return tuple(_stamp_of_one(file) for file in files)


def _stamp_of_one(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
