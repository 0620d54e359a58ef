"""The network's processes, which outlive the command that starts them.

Each process is born holding a lock on DIR/run/NAME.lock and keeps it until it ends, however it ends. So whether it runs is asked of
the lock, from any shell, and a process id that was given to another program in the meantime is never taken for it.
"""

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Unavailable

START_SECONDS = 60.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1
_WORDS = 2000  # characters of a log that a sentence may quote


@dataclass(frozen=True)
class Launch:
    """A program to start: its command line, its whole environment, and the "host:port" on which it serves once it is up."""

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    endpoint: str


class Programs:
    """Starts, finds and ends the processes of the network in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, subprocess.Popen[bytes]] = {}  # of this process: reaped when they end

    def start(self, launch: Launch) -> None:
        """Start a program in a session of its own; raise Unavailable if it runs already."""
        log, lock = self.log(launch.name), self._lock(launch.name)
        for path in (log, lock):
            path.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a+b") as held, log.open("ab") as output:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Unavailable(f"{launch.name} is running already; stop it with `consortium network down`") from error
            held.truncate(0)
            process = subprocess.Popen(  # noqa: S603 (programs of the release that the user names, and our own)
                [str(word) for word in launch.command],
                env=dict(launch.environment),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[held.fileno()],  # the lock is the open file's: with it, it goes to the process
            )
            held.write(b"%d" % process.pid)
            held.flush()
        self._started[launch.name] = process

    def until_listening(self, launch: Launch) -> None:
        """Wait until the program takes connections; raise Unavailable with what it said if it ends before."""
        deadline = time.monotonic() + START_SECONDS
        while not listens(launch.endpoint):
            if self.pid(launch.name) is None:
                raise Unavailable(f"{launch.name} ended{self._last_words(launch.name)}; its log is {self.log(launch.name)}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{launch.name} does not listen after {START_SECONDS:.0f} s; its log is {self.log(launch.name)}")
            time.sleep(_POLL_SECONDS)

    def pid(self, name: str) -> int | None:
        """The process id of a program; None if it does not run."""
        with suppress(FileNotFoundError), self._lock(name).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(file.read() or 0) or None  # empty for the moment in which it is being started
        return None

    def stop(self, names: Sequence[str], *, grace_s: float = STOP_SECONDS) -> None:
        """End programs together, after `grace_s` without warning; returns when none of them runs."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for name in names:
                self.signal(name, number)
            deadline = time.monotonic() + grace_s
            while any(self.pid(name) for name in names) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        for process in self._started.values():
            process.poll()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program, if it runs."""
        pid = self.pid(name)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def _lock(self, name: str) -> Path:
        return self._folder / "run" / f"{name}.lock"

    def _last_words(self, name: str) -> str:
        said = self.log(name).read_text(encoding="utf-8", errors="replace")[-_WORDS:].strip().splitlines()
        return f" ({said[-1]})" if said else ""


def listens(endpoint: str) -> bool:
    """Whether something takes connections at "host:port"."""
    host, port = endpoint.rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def until(step: Callable[[], object], *, seconds: float = START_SECONDS) -> None:
    """Try a step until it raises Unavailable no more: a server that listens is not yet one that serves."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            step()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return
