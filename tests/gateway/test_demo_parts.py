"""The parts of the demo: whose folder it may empty, which hospitals take part, what it writes, and that nothing it starts stays."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from fabric.devledger.config import load as load_ledger_config
from gateway.config import load_client_config, load_gateway_config
from gateway.demo.document import DEFAULT_TASK, read_document
from gateway.demo.folder import MARKER, clear, held, refuse_inside
from gateway.demo.hospitals import DemoHospital, find_hospitals, parse_misbehaviour
from gateway.demo.network import create_network, free_endpoints
from gateway.demo.processes import Child, Processes, VerbFailed, unless_ended
from gateway.errors import ExitCode, InputError, Unavailable
from gateway.task_file import TaskFileError


def hospitals_in(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "Patient.ndjson.gz").touch()
    return folder


# The output folder


def test_a_folder_is_made_and_emptied_again(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with held(out) as folder:
        (folder / "old").mkdir()
        (folder / "old" / "file").touch()
    with held(out) as folder:
        clear(folder)
        assert [path.name for path in folder.iterdir()] == [MARKER]


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("the only copy")
    with pytest.raises(InputError, match="not made by `consortium demo`"), held(tmp_path):
        pass
    with pytest.raises(InputError, match="is not a folder"), held(precious):
        pass
    assert precious.read_text() == "the only copy"
    assert list(tmp_path.iterdir()) == [precious]


def test_a_link_in_the_folder_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "patients").touch()
    with held(tmp_path / "out") as folder:
        (folder / "link").symlink_to(tmp_path / "data")
        clear(folder)
    assert (tmp_path / "data" / "patients").exists()


def test_a_running_demo_keeps_its_folder(tmp_path: Path) -> None:
    with held(tmp_path / "out"), pytest.raises(InputError, match="still running"), held(tmp_path / "out"):
        pass


def test_data_in_the_output_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="emptied before a demo"):
        refuse_inside(tmp_path / "out" / ".." / "out" / "data", tmp_path / "out")
    refuse_inside(tmp_path / "data", tmp_path / "out")


# The hospitals


def test_hospitals_are_the_folders_with_fhir_files_by_name(tmp_path: Path) -> None:
    hospitals_in(tmp_path, ["va", "cleveland", "hungarian"])
    (tmp_path / "raw").mkdir()
    found = find_hospitals(tmp_path, {2: "noise"})
    assert [(hospital.mspid, hospital.misbehaves) for hospital in found] == [("cleveland", None), ("hungarian", "noise"), ("va", None)]
    assert found[0].data == tmp_path / "cleveland"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "holds 2 folders"),
        ([f"h{number:02}" for number in range(17)], "3 to 16 hospitals"),
        (["a", "b", "our hospital"], "cannot name a hospital"),
        (["a", "b", "audit"], "cannot name a hospital"),
    ],
)
def test_hospitals_that_cannot_take_part(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_hospitals(hospitals_in(tmp_path, names), {})


def test_misbehaviour_names_a_hospital_and_a_kind(tmp_path: Path) -> None:
    assert parse_misbehaviour(["5=label-flip", "2=offline"]) == {5: "label-flip", 2: "offline"}
    for text in ("5=mischief", "five=noise", "5", "=noise", "-1=noise"):
        with pytest.raises(InputError, match="label-flip, noise, replay, scale, offline"):
            parse_misbehaviour([text])
    with pytest.raises(InputError, match="numbered 1 to 3"):
        find_hospitals(hospitals_in(tmp_path, ["a", "b", "c"]), {4: "noise"})


# The configurations


def test_every_configuration_that_init_writes_is_read(tmp_path: Path) -> None:
    hospitals = [DemoHospital("north", tmp_path / "north"), DemoHospital("south", tmp_path / "south", "replay")]
    network = create_network(tmp_path / "out", hospitals)
    ledger = load_ledger_config(network.ledger_config)
    assert [organisation.mspid for organisation in ledger.organisations] == ["north", "south", "research", "audit"]
    for path in (network.researcher, network.auditor, network.admin("north"), network.admin("audit"), network.gateway("north")):
        config = load_client_config(path)
        assert config.ledger.endpoint == ledger.ledger.listen
        assert config.ledger.tls_ca.exists()
        assert config.identity.load().mspid == config.identity.mspid
        assert config.tls is not None
        assert config.tls.certificate.exists()
    north, south = load_gateway_config(network.gateway("north")), load_gateway_config(network.gateway("south"))
    assert north.gateway.data == tmp_path / "out" / ".." / "north"
    assert north.misbehave is None
    assert south.misbehave is not None
    assert south.misbehave.kind == "replay"
    assert len({ledger.ledger.listen, north.gateway.listen, south.gateway.listen}) == 3


def test_no_private_key_is_readable_by_others(tmp_path: Path) -> None:
    create_network(tmp_path, [DemoHospital("north", tmp_path)])
    keys = list(tmp_path.rglob("*key.pem"))
    assert len(keys) > 10
    assert {key.stat().st_mode & 0o077 for key in keys} == {0}


def test_free_endpoints_are_different_and_free() -> None:
    endpoints = free_endpoints(20)
    assert len(set(endpoints)) == 20
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", int(endpoints[0].rpartition(":")[2])))


# The document


def test_rounds_are_written_into_the_document(tmp_path: Path) -> None:
    document, task = read_document(DEFAULT_TASK, rounds=2)
    assert task.task.rounds == 2
    original, unchanged = read_document(DEFAULT_TASK, rounds=None)
    assert original == DEFAULT_TASK.read_bytes()
    assert task == unchanged.model_copy(update={"task": unchanged.task.model_copy(update={"rounds": 2})})
    assert document != original


def test_documents_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the task file"):
        read_document(tmp_path / "nowhere.toml", rounds=None)
    path = tmp_path / "task.toml"
    path.write_text("[task]\nrounds = 1\nrounds = 2\n")
    with pytest.raises(InputError, match="which has 2"):
        read_document(path, rounds=3)
    with pytest.raises(TaskFileError, match="is not TOML"):
        read_document(path, rounds=None)


# The processes


async def sleeper(processes: Processes, monkeypatch: pytest.MonkeyPatch, code: str) -> Child:
    """A child that runs `code` instead of a verb."""
    from gateway.demo import processes as module

    monkeypatch.setattr(module, "_command", lambda _: [sys.executable, "-c", code])
    return await processes.start("child", "the child", "unused")


UNTIL_KILLED = "import signal; signal.signal(signal.SIGTERM, signal.SIG_DFL); signal.pause()"


async def test_children_end_with_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Processes(tmp_path / "logs") as processes:
        child = await sleeper(processes, monkeypatch, UNTIL_KILLED)
        assert child.process.returncode is None
    assert child.process.returncode == -signal.SIGTERM


async def test_children_end_with_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError):
        async with Processes(tmp_path / "logs") as processes:
            child = await sleeper(processes, monkeypatch, UNTIL_KILLED)
            raise RuntimeError
    assert child.process.returncode is not None


async def test_a_child_that_dies_ends_the_wait_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Processes(tmp_path / "logs") as processes:
        child = await sleeper(processes, monkeypatch, "print('consortium: the port is taken'); raise SystemExit(3)")
        with pytest.raises(Unavailable, match=r"the child ended with exit code 3 \(the port is taken\); its log is .*child\.log"):
            await unless_ended(asyncio.Event().wait(), child)


async def test_work_that_is_done_is_not_disturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Processes(tmp_path / "logs") as processes:
        child = await sleeper(processes, monkeypatch, UNTIL_KILLED)
        assert await unless_ended(asyncio.sleep(0, "done"), child) == "done"


async def test_a_verb_s_failure_keeps_its_codes(tmp_path: Path) -> None:
    async with Processes(tmp_path / "logs") as processes:
        with pytest.raises(VerbFailed, match="consortium task list: cannot read") as caught:
            await processes.verb("task", "list", "--config", tmp_path / "nowhere.toml")
    assert (caught.value.exit_code, caught.value.error_code) == (ExitCode.BAD_INPUT, "BAD_CONFIG")
    assert (tmp_path / "logs" / "commands.log").read_text() == f"consortium task list --config {tmp_path}/nowhere.toml\n"


async def test_the_guardian_ends_what_a_killed_demo_leaves(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", UNTIL_KILLED, start_new_session=True)
    guardian = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway.demo.guardian", stdin=asyncio.subprocess.PIPE)
    assert guardian.stdin is not None
    guardian.stdin.write(f"{child.pid}\n{2**22 + 1}\n".encode())
    guardian.stdin.close()
    # What a demo killed with -9 leaves: nobody waits for the child but the system.
    assert await child.wait() == -signal.SIGTERM
    assert await guardian.wait() == 0


def test_the_marker_is_the_only_thing_that_makes_a_folder_a_demo_s(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    (tmp_path / "rest").touch()
    with held(tmp_path) as folder:
        assert folder == Path(os.path.realpath(tmp_path))
