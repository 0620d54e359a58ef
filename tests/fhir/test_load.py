"""Every line read is kept or dropped for a reason; the quarantine file names each that is wrong."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.fhir import sources
from gateway.fhir.errors import DataError
from gateway.fhir.extract import extract
from gateway.fhir.quality import NOT_NEEDED
from gateway.task_file import parse
from tests.support.fhir_folders import TASK, observation, small_hospital, write

GOOD = [json.dumps(observation(f"good{number}", "a", valueQuantity={"value": number})) for number in range(8)]
BAD = {
    "not-json": "{",
    "duplicate-key": '{"resourceType":"Patient","id":"x","id":"y"}',
    "bad-number": '{"resourceType":"Patient","id":NaN}',
    "too-deep": "[" * 5000,
    "not-fhir": '{"resourceType":"Patient","id":"x","birthDate":"1970-0"}',
    "bad-code": '{"resourceType":"Patient","id":"x","gender":"?"}',
    "no-id": '{"resourceType":"Patient"}',
    "control-character": '{"resourceType":"Patient","id":"x","name":[{"text":"\\u0000"}]}',
    "duplicate-id": json.dumps(small_hospital()[0]),
    NOT_NEEDED: '{"resourceType":"Device","id":"x"}',
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(BAD)), max_size=9), st.integers(0, 8), st.randoms(use_true_random=False))
def test_read_is_kept_and_dropped(tmp_path: Path, bad: list[str], good: int, random: Any) -> None:
    extra = [*GOOD[:good], *(BAD[reason] for reason in bad), "", "  "]
    random.shuffle(extra)
    quarantine = tmp_path / "quarantine.jsonl"
    found = extract(parse(TASK.encode()), write(tmp_path / "data", [*small_hospital(), *extra]), quarantine=quarantine)
    counts = found.report.lines
    assert counts.read == counts.kept + sum(counts.dropped.values()) == 9 + good + len(bad)
    assert counts.dropped == {reason: bad.count(reason) for reason in sorted(set(bad))}
    assert counts.kept == 9 + good
    listed = [json.loads(line) for line in quarantine.read_text(encoding="utf-8").splitlines()]
    assert sorted(entry["reason"] for entry in listed) == sorted(reason for reason in bad if reason != NOT_NEEDED)
    assert counts.quarantined == len(listed)
    lines = (tmp_path / "data" / "all.ndjson").read_text(encoding="utf-8").splitlines()
    for entry in listed:
        assert entry["file"] == "all.ndjson"
        assert lines[entry["line"] - 1] == BAD[entry["reason"]]
    assert found.patient_keys == ("a", "b", "c", "d")


def test_the_quarantine_file_is_for_its_owner_alone_and_starts_anew(tmp_path: Path) -> None:
    folder, quarantine = write(tmp_path / "data", [*small_hospital(), "{"]), tmp_path / "quarantine.jsonl"
    for _ in range(2):
        extract(parse(TASK.encode()), folder, quarantine=quarantine)
    assert stat.S_IMODE(quarantine.stat().st_mode) == 0o600
    assert len(quarantine.read_text(encoding="utf-8").splitlines()) == 1


def test_a_quarantine_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot write the quarantine file .*none/q\.jsonl: No such file"):
        extract(parse(TASK.encode()), write(tmp_path, small_hospital()), quarantine=tmp_path / "none" / "q.jsonl")


def test_a_line_longer_than_a_resource_may_be_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 400)
    long = json.dumps(observation("long", "a", note=[{"text": "x" * 3000}]))
    folder = write(tmp_path, [*small_hospital()[:4], long, *small_hospital()[4:]])
    assert max(len(line.data or b"") for line in sources.lines(folder / "all.ndjson")) <= 400
    found = extract(parse(TASK.encode()), folder, quarantine=tmp_path / "q.jsonl")
    assert found.report.lines.dropped == {"too-long": 1}
    assert json.loads((tmp_path / "q.jsonl").read_text(encoding="utf-8"))["line"] == 5
    assert found.patient_keys == ("a", "b", "c", "d")


def test_many_batches_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.fhir.sources.CHUNK_BYTES", 500)
    found = extract(parse(TASK.encode()), write(tmp_path, [*small_hospital(), *GOOD]), quarantine=None)
    assert found.report.lines.kept == 17
    assert found.features[0, 0] == pytest.approx((sum(range(8)) / 9 - 5) / 5)
