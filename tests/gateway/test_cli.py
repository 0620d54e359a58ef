"""The command line: exit codes, JSON answers, help, and that no verb loads what it does not need."""

import importlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import grpc
import pytest

from fabric.client.errors import ContractRefused, LedgerUnavailable
from fabric.crypto import IdentityError
from gateway import errors
from gateway.cli.main import VERBS, consortium, run
from gateway.cli.output import Result, table, wants_json
from gateway.errors import ExitCode, InputError, PolicyRefused, ProductError, kind_of

Capture = pytest.CaptureFixture[str]


def leaves(group: click.Group = consortium, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


LEAVES = dict(leaves())
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_every_verb_and_no_other() -> None:
    documented = re.findall(r"^\| `consortium ([a-z -]+)` \|", README, re.MULTILINE)
    assert sorted(documented) == sorted(" ".join(words) for words in LEAVES)


@pytest.mark.parametrize("words", LEAVES)
def test_every_verb_says_what_it_does_and_answers_programs(words: tuple[str, ...], capsys: Capture) -> None:
    command = LEAVES[words]
    assert command.help
    assert "--format" in {name for parameter in command.params for name in parameter.opts}
    assert run([*words, "--help"]) is ExitCode.OK
    assert command.help.splitlines()[0] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("words", LEAVES)
def test_an_unknown_option_is_a_usage_error(words: tuple[str, ...], capsys: Capture) -> None:
    assert run([*words, "--no-such-option", "--format", "json"]) is ExitCode.USAGE
    answer = json.loads(capsys.readouterr().out)
    assert (answer["status"], answer["exit_code"], answer["error_code"]) == ("error", 2, "USAGE")


def test_an_unknown_verb(capsys: Capture) -> None:
    assert run(["task", "dance"]) is ExitCode.USAGE
    assert "dance" in capsys.readouterr().err


def raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `task list` end with an error."""
    from gateway.cli import task

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(task, "with_ledger", fail)


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (InputError("no such folder"), ExitCode.BAD_INPUT, "BAD_INPUT"),
        (PolicyRefused("not for this purpose"), ExitCode.REFUSED, "POLICY_REFUSED"),
        (IdentityError("expired"), ExitCode.BAD_INPUT, "BAD_IDENTITY"),
        (ContractRefused("NOT_DUE", "nothing is due"), ExitCode.REFUSED, "CONTRACT_REFUSED"),
        (LedgerUnavailable("nobody answers"), ExitCode.UNAVAILABLE, "LEDGER_ERROR"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "INTERRUPTED"),
        (ZeroDivisionError("a fault"), ExitCode.UNEXPECTED, "UNEXPECTED"),
    ],
)
def test_errors_leave_as_one_sentence_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, error: BaseException, code: ExitCode, name: str
) -> None:
    raises(monkeypatch, error)
    assert run(["task", "list", "--config", "x", "--format=json"]) is code
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"schema_version": 1, "status": "error", "exit_code": code, "error_code": name, "message": answer["message"]}
    assert run(["task", "list", "--config", "x"]) is code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == f"consortium: {answer['message']}"
    assert ("Traceback" in said.err) == (code is ExitCode.UNEXPECTED)


def test_the_exit_code_of_the_process_is_the_table_s(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli", "task", "list", "--config", str(tmp_path / "nowhere.toml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == ExitCode.BAD_INPUT
    assert ended.stderr.startswith("consortium: cannot read ")


def test_sigterm_is_an_interruption(tmp_path: Path) -> None:
    code = "import os, signal, gateway.cli.main as m; m.run = lambda _: os.kill(os.getpid(), signal.SIGTERM) or signal.pause(); m.main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode in (ExitCode.INTERRUPTED, -signal.SIGINT), ended.stderr


@pytest.mark.parametrize("name", errors._FOREIGN)
def test_every_foreign_error_in_the_table_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    cls = getattr(importlib.import_module(module), attribute)
    assert issubclass(cls, Exception)
    assert (cls.__module__, cls.__qualname__) == (module, attribute), "the table must name the module where the class is defined"


def subclasses(cls: type[ProductError]) -> Iterator[type[ProductError]]:
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_product_error_has_a_code_of_its_own() -> None:
    for cls in subclasses(ProductError):
        assert cls.error_code.isupper()
        assert cls.exit_code in ExitCode
        assert isinstance(cls.grpc_status, grpc.StatusCode)
    assert kind_of(ValueError("x")).exit_code is ExitCode.UNEXPECTED


@pytest.mark.parametrize("code", ExitCode)
def test_the_readme_has_every_exit_code(code: ExitCode) -> None:
    assert f"| {int(code)} | `{code.name}` | {code.meaning} |" in README


def test_every_exit_code_has_a_meaning() -> None:
    meanings = [code.meaning for code in ExitCode]
    assert all(meanings)
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize("module", sorted({target.split(":")[0] for target in VERBS.values()}))
def test_no_verb_loads_training_or_encryption_to_parse_its_command_line(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'tenseal', 'opacus', 'duckdb', 'sklearn'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["a", "--format", "json"], True), (["a", "--format=json"], True), (["a", "--format", "text"], False), (["json"], False)],
)
def test_json_is_recognised_before_the_line_is_parsed(arguments: list[str], expected: bool) -> None:
    assert wants_json(arguments) is expected


def test_results_say_the_same_to_people_and_programs(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def answer(*_: Any) -> Callable[..., Result]:
        return Result({"a": 1}, ["one line", "another"])  # type: ignore[return-value]  # stands in for the verb's callback

    monkeypatch.setattr(LEAVES["task", "list"], "callback", answer)
    monkeypatch.setattr(LEAVES["task", "list"], "params", [])
    assert run(["task", "list"]) is ExitCode.OK
    assert capsys.readouterr().out == "one line\nanother\n"


def test_tables_align() -> None:
    assert table(("name", "n"), [("a", 5), ("longer", 10)]) == ["name     n", "a        5", "longer  10"]
    assert table(("name",), []) == ["name"]
