"""How much memory a process ever held."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_BYTES_PER_KIB = 1024
_LOOK_SECONDS = 0.02


def peak_rss_bytes() -> int:
    """This process's largest resident set so far, in bytes: the kernel's own mark, which a process inherits from nobody."""
    return _peak(Path("/proc/self/status"))


class FamilyMemory:
    """The peaks of this process and of those it starts while this context lasts, added up: never less than they held at one time.

    The others are looked at fifty times a second, so that of one that ends, what it took in its last moment may be missing.
    """

    def __init__(self) -> None:
        self._children: dict[str, int] = {}
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._looking.join()

    @property
    def peak_rss_bytes(self) -> int:
        """The sum in bytes."""
        return peak_rss_bytes() + sum(self._children.values())

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            for children in Path("/proc/self/task").glob("*/children"):
                for pid in _text(children).split():
                    self._children[pid] = max(self._children.get(pid, 0), _peak(Path("/proc", pid, "status")))


def _peak(status: Path) -> int:
    found = (line for line in _text(status).splitlines() if line.startswith("VmHWM:"))
    return int(next(found, "VmHWM: 0").split()[1]) * _BYTES_PER_KIB


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:  # the process or thread has ended
        return ""
