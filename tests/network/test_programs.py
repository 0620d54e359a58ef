"""Processes that outlive who started them: found, and ended, by anyone who knows the folder."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.network.programs import Launch, Programs, until
from tests.support.ledger import free_port

LISTEN = "import socket, sys, signal; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('up', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LISTEN


def launch(name: str = "one", script: str = LISTEN) -> Launch:
    port = free_port()
    return Launch(name, [sys.executable, "-c", script, str(port)], {"PATH": os.environ["PATH"]}, f"127.0.0.1:{port}")


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    programs.stop(["one", "two"])


def test_a_program_is_found_and_ended_from_another_shell(programs: Programs, tmp_path: Path) -> None:
    wanted = launch()
    programs.start(wanted)
    programs.until_listening(wanted)
    look = "import sys; from pathlib import Path; from gateway.network.programs import Programs; p = Programs(Path(sys.argv[1])); "
    seen = subprocess.run([sys.executable, "-c", look + "print(p.pid('one'))", tmp_path], capture_output=True, text=True, check=True)
    assert int(seen.stdout) == programs.pid("one")
    subprocess.run([sys.executable, "-c", look + "p.stop(['one'])", tmp_path], check=True)
    assert programs.pid("one") is None
    assert programs.log("one").read_text() == "up\n"


def test_a_program_outlives_the_one_who_started_it(programs: Programs, tmp_path: Path) -> None:
    wanted = launch()
    script = (
        "import sys; from pathlib import Path; from gateway.network.programs import Launch, Programs; p = Programs(Path(sys.argv[1]));"
        "l = Launch('one', sys.argv[3:], {}, sys.argv[2]); p.start(l); p.until_listening(l)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path, wanted.endpoint, *map(str, wanted.command)], check=True)
    pid = programs.pid("one")
    assert pid is not None
    os.kill(pid, 0)
    programs.stop(["one"])
    assert programs.pid("one") is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_died_does_not_run_whatever_became_of_its_process_id(programs: Programs, number: signal.Signals) -> None:
    programs.start(launch())
    pid = programs.pid("one")
    assert pid is not None
    os.kill(pid, number)
    os.waitpid(pid, 0)
    assert programs.pid("one") is None
    programs.start(launch())  # and it can be started again
    assert programs.pid("one") not in (None, pid)


def test_none_is_started_twice(programs: Programs) -> None:
    programs.start(launch())
    before = programs.pid("one")
    with pytest.raises(Unavailable, match="one is running already"):
        programs.start(launch())
    assert programs.pid("one") == before


def test_one_that_ends_at_once_is_told_of_with_its_last_words(programs: Programs) -> None:
    wanted = launch(script="import sys; print('starting', flush=True); sys.exit('no such ledger')")
    programs.start(wanted)
    with pytest.raises(Unavailable, match=r"one ended \(no such ledger\); its log is .*logs/one\.log"):
        programs.until_listening(wanted)


def test_one_that_does_not_heed_a_request_is_killed_and_others_end_with_it(programs: Programs) -> None:
    for wanted in (deaf := launch(script=DEAF), launch("two")):
        programs.start(wanted)
        programs.until_listening(wanted)
    programs.stop(["one", "two"], grace_s=0.2)
    assert (programs.pid("one"), programs.pid("two")) == (None, None)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(deaf.endpoint.rsplit(":")[-1])))


def test_what_was_never_started_does_not_run(programs: Programs) -> None:
    assert programs.pid("one") is None
    programs.stop(["one"])


def test_a_step_is_tried_until_it_succeeds_or_time_is_up() -> None:
    answers = iter([Unavailable("not yet"), Unavailable("not yet"), None])

    def step() -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    until(step)
    assert list(answers) == []
    with pytest.raises(Unavailable, match="never"):
        until(lambda: (_ for _ in ()).throw(Unavailable("never")), seconds=0)
