"""`consortium data export` as it is typed."""

import json
from pathlib import Path

import pytest

from gateway.cli.main import run
from gateway.errors import ExitCode
from tests.support.exports import fill
from tests.support.fhir_folders import patient
from tests.support.fhir_server import Fault, fhir_server

Capture = pytest.CaptureFixture[str]


def test_a_server_named_on_the_command_line(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "out")
    with fhir_server() as server:
        fill(server)
        assert run(["data", "export", "--server", server.base, "--out", out, "--type", "Patient", "--format", "json"]) is ExitCode.OK
        found = capsys.readouterr()
        data = json.loads(found.out)["data"]
        assert (data["since"], data["resources"], data["folder"]) == (None, {"Patient": 4}, out)
        assert "output: 2 of 2 files" in found.err
        server.put(patient("e"))
        assert run(["data", "export", "--server", server.base, "--out", out, "--type", "Patient"]) is ExitCode.OK
        text = capsys.readouterr().out
        assert f"asked for what changed since {data['transaction_time']}" in text
        assert "5 lines: 5 kept, 0 replaced by newer ones, 0 deleted" in text
        assert run(["data", "check", "--source", out]) is ExitCode.OK
        assert run(["data", "export", "--server", server.base, "--out", out, "--type", "Patient", "--search", "--full"]) is ExitCode.OK
        assert server.routes()[-3:] == ["search"] * 3


def test_a_server_named_in_a_file(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "export.toml"
    with fhir_server() as server:
        fill(server)
        config.write_text(f'[data]\nserver = "{server.base}"\ntypes = ["Condition"]\n')
        assert run(["data", "export", "--config", str(config), "--out", str(tmp_path / "out")]) is ExitCode.OK
        assert "2 lines: 2 kept" in capsys.readouterr().out
        assert run(["data", "export", "--config", str(config)]) is ExitCode.USAGE
        assert "--out" in capsys.readouterr().err


def test_a_server_that_fails_has_an_exit_code_of_its_own(tmp_path: Path, capsys: Capture) -> None:
    with fhir_server() as server:
        server.faults["kickoff"].append(Fault(status=400))
        arguments = ["data", "export", "--server", server.base, "--out", str(tmp_path / "out"), "--format", "json"]
        assert run(arguments) is ExitCode.UNAVAILABLE
        found = json.loads(capsys.readouterr().out)
    assert (found["error_code"], found["exit_code"]) == ("FHIR_SERVER", 5)
    assert found["message"] == "the kick-off of the export: the server answers 400: told to fail"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], ExitCode.USAGE, "one of the two"),
        (["--config", "a.toml", "--server", "https://h"], ExitCode.USAGE, "one of the two"),
        (["--config", "a.toml", "--search"], ExitCode.USAGE, "belong to --server"),
        (["--config", "none.toml"], ExitCode.BAD_INPUT, "cannot read none.toml"),
        (["--server", "http://fhir.example", "--out", "o"], ExitCode.BAD_INPUT, "server: 'http://fhir.example' is not https"),
        (["--server", "https://h", "--search", "--out", "o"], ExitCode.BAD_INPUT, "needs types"),
    ],
)
def test_a_line_that_cannot_be_meant(arguments: list[str], code: ExitCode, sentence: str, capsys: Capture) -> None:
    assert run(["data", "export", *arguments]) is code
    assert sentence in capsys.readouterr().err
