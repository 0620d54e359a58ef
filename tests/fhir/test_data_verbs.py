"""`consortium data` as it is typed."""

import json
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.cli.main import run
from gateway.errors import ExitCode
from gateway.fhir.store import StorePlace
from tests.support.fhir_folders import SAMPLE_TASKS, TASK, small_hospital, write

Capture = pytest.CaptureFixture[str]

VIEW = {
    "resourceType": "ViewDefinition",
    "url": "urn:test:view",
    "status": "draft",
    "resource": "Observation",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()"},
                {"name": "value", "path": "value.ofType(Quantity).value"},
                {"name": "text", "path": "value.ofType(string)"},
            ]
        }
    ],
}


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    return write(tmp_path / "data", small_hospital())


def _view(tmp_path: Path, **changes: object) -> str:
    path = tmp_path / "view.json"
    path.write_text(json.dumps({**VIEW, **changes}), encoding="utf-8")
    return str(path)


def test_a_view_s_rows_are_ndjson(tmp_path: Path, hospital: Path, capsys: Capture) -> None:
    assert run(["data", "view", _view(tmp_path), "--source", str(hospital)]) is ExitCode.OK
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [{"id": f"o{key}", "value": value, "text": None} for key, value in (("a", 0.0), ("b", 5.0), ("c", 10.0))]


def test_a_view_for_programs(tmp_path: Path, hospital: Path, capsys: Capture) -> None:
    assert run(["data", "view", _view(tmp_path), "--source", str(hospital), "--format", "json"]) is ExitCode.OK
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["columns"] == ["id", "value", "text"]
    assert len(data["rows"]) == 3


@pytest.mark.parametrize(("version", "code"), [("R4", ExitCode.OK), ("R5", ExitCode.BAD_INPUT)])
def test_the_release_of_fhir_decides_what_elements_there_are(
    tmp_path: Path, hospital: Path, capsys: Capture, version: str, code: ExitCode
) -> None:
    select = [{"column": [{"name": "class", "path": "class.code.first()"}]}]  # one Coding in R4, CodeableConcepts in R5
    view = _view(tmp_path, resource="Encounter", select=select)
    assert run(["data", "view", view, "--source", str(hospital), "--fhir-version", version]) is code
    assert ("CodeableConcept has no element 'code'" in capsys.readouterr().err) is (version == "R5")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"select": [{"column": [{"name": "a", "path": "valu"}]}]}, "path 'valu': Observation has no element 'valu'"),
        ({"resource": "Observatio"}, "Observatio is no FHIR R4 resource"),
        ({"colour": "red"}, "unknown key colour"),
        ({"resourceType": "Patient"}, "holds no ViewDefinition"),
        ({"select": []}, "select"),
    ],
)
def test_a_view_that_is_refused(tmp_path: Path, hospital: Path, capsys: Capture, changes: dict[str, object], sentence: str) -> None:
    assert run(["data", "view", _view(tmp_path, **changes), "--source", str(hospital)]) is ExitCode.BAD_INPUT
    found = capsys.readouterr()
    assert sentence in found.err
    assert not found.out


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"])
def test_a_view_that_is_no_json(tmp_path: Path, hospital: Path, capsys: Capture, text: str) -> None:
    (tmp_path / "view.json").write_bytes(text.encode("latin-1"))
    assert run(["data", "view", str(tmp_path / "view.json"), "--source", str(hospital)]) is ExitCode.BAD_INPUT
    assert "view.json" in capsys.readouterr().err


def test_what_a_task_reads_is_explained(capsys: Capture) -> None:
    (task, *_) = sorted(SAMPLE_TASKS.glob("*.toml"))
    answers = []
    for _ in range(2):
        assert run(["data", "explain", "--task", str(task), "--format", "json"]) is ExitCode.OK
        answers.append(json.loads(capsys.readouterr().out)["data"])
    assert answers[0] == answers[1]
    assert len(answers[0]["digest"]) == 64
    assert run(["data", "explain", "--task", str(task)]) is ExitCode.OK
    text = capsys.readouterr().out
    assert all(each["sql"] in text for each in (*answers[0]["views"], *answers[0]["statements"]))
    assert answers[0]["digest"] in text


def test_other_sql_has_another_digest(tmp_path: Path, capsys: Capture) -> None:
    digests = set()
    changes = [("", ""), ("subject.getReferenceKey(Patient)", "subject.getReferenceKey()"), ('"lab"', '"labs"'), ("high = 10", "high = 11")]
    for text in (TASK.replace(old, new) for old, new in changes):
        (tmp_path / "task.toml").write_text(text, encoding="utf-8")
        assert run(["data", "explain", "--task", str(tmp_path / "task.toml"), "--format", "json"]) is ExitCode.OK
        digests.add(json.loads(capsys.readouterr().out)["data"]["digest"])
    assert len(digests) == 4


def test_a_check_with_a_page(tmp_path: Path, hospital: Path, capsys: Capture) -> None:
    (tmp_path / "task.toml").write_text(TASK, encoding="utf-8")
    page = tmp_path / "report.html"
    words = ["data", "check", "--source", str(hospital), "--task", str(tmp_path / "task.toml"), "--html", str(page)]
    assert run(words) is ExitCode.OK
    text = capsys.readouterr().out
    assert "9 lines in 1 files: 9 kept, 0 dropped" in text
    assert "for the task: 4 patients, 2 with the label, 2 without" in text
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert run([*words, "--format", "json"]) is ExitCode.OK
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["lines"] == {"read": 9, "kept": 9, "dropped": {}}
    assert data["task"]["positive"] == 2


def test_a_hospital_s_store_is_used(tmp_path: Path, hospital: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(consent=None, store=StorePlace(tmp_path / "state" / "validated.sqlite", values=True))
    monkeypatch.setattr("gateway.config.load_gateway_config", lambda _: settings)
    words = ["data", "check", "--source", str(hospital), "--config", "hospital.toml"]
    assert run(words) is ExitCode.OK
    first = capsys.readouterr().out
    monkeypatch.setattr("gateway.fhir.judge.resource", lambda *_: pytest.fail("a line was validated again"))
    assert run(words) is ExitCode.OK
    assert capsys.readouterr().out == first
    (tmp_path / "task.toml").write_text(TASK, encoding="utf-8")
    assert run([*words, "--task", str(tmp_path / "task.toml")]) is ExitCode.OK
    extracted = ["data", "extract", *words[2:], "--task", str(tmp_path / "task.toml"), "--out", str(tmp_path / "matrix.csv")]
    assert run(extracted) is ExitCode.OK


def test_a_matrix_is_written_once(tmp_path: Path, hospital: Path, capsys: Capture) -> None:
    (tmp_path / "task.toml").write_text(TASK, encoding="utf-8")
    out = tmp_path / "matrix.csv"
    words = ["data", "extract", "--source", str(hospital), "--task", str(tmp_path / "task.toml"), "--out", str(out)]
    assert run(words) is ExitCode.OK
    assert out.read_text(encoding="utf-8").splitlines()[0] == "glucose,glucose:missing,label"
    assert run(words) is ExitCode.BAD_INPUT
    assert "give the name of a new file" in capsys.readouterr().err
