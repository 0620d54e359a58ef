"""A file that was validated is not validated again, and nothing but the time tells the difference."""

import gzip
import json
import os
import signal
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.fhir import judge, sink, store
from gateway.fhir.check import check_folder
from gateway.fhir.concept_maps import ConceptMaps
from gateway.fhir.errors import DataError
from gateway.fhir.extract import Extracted, extract
from gateway.fhir.judge import Part, Verdict
from gateway.fhir.store import Store, StoreError, StorePlace, fingerprint
from gateway.task_file import parse
from tests.fhir.test_load import BAD, GOOD
from tests.support.fhir_folders import TASK, observation, patient, small_hospital, write

OTHER_TASK = TASK.replace('{ name = "text", path = "value.ofType(string)" },', "")
MAPS = ConceptMaps({("urn:test:lab", "glucose"): ({"system": "urn:x", "code": "g"},)}, {}, "0" * 64)
VERDICT, PART = Verdict(1, (), ()), Part("table", "Patient", "", b"columns")


@pytest.fixture
def place(tmp_path: Path) -> StorePlace:
    return StorePlace(tmp_path / "state" / "validated.sqlite", values=True)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each line that is validated."""
    found: list[int] = []
    original = judge.resource

    def counted(data: bytes | None, *rest: Any) -> Any:
        found.append(1)
        return original(data, *rest)

    monkeypatch.setattr(judge, "resource", counted)
    return found


def _extract(folder: Path, place: StorePlace | None, text: str = TASK, **more: Any) -> tuple[Any, ...]:
    """All that reading a folder gives."""
    quarantine = folder.with_suffix(".quarantine")
    found: Extracted = extract(parse(text.encode()), folder, quarantine=quarantine, store=place, **more)
    return found.features.tolist(), found.labels.tolist(), found.patient_keys, found.report, quarantine.read_text(encoding="utf-8")


def _outcome(folder: Path, place: StorePlace | None, text: str, maps: ConceptMaps | None) -> tuple[Any, ...] | str:
    try:
        return _extract(folder, place, text, maps=maps)
    except DataError as error:  # a file with nothing in it but lines that are no JSON
        return str(error)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from([*BAD.values(), *GOOD[:3], "", json.dumps(small_hospital()[4])]), max_size=12), max_size=3))
def test_everything_is_the_same_with_and_without(tmp_path_factory: pytest.TempPathFactory, extra: list[list[str]]) -> None:
    """Bad lines, and resources that stand again on later lines, in later chunks and in later files."""
    root = tmp_path_factory.mktemp("same")
    folder = write(root / "data", small_hospital(), "b.ndjson")
    places = [StorePlace(root / f"store-{values}", values=values) for values in (True, False)]
    for number, lines in enumerate(extra):
        write(folder, lines + GOOD[3:] * (number == 0), f"{'abc'[number]}{number}.ndjson")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.fhir.sources.CHUNK_BYTES", 600)
        patch.setattr(sink, "MAX_BAD_SHARE", 1.0)
        for task, maps in ((TASK, None), (OTHER_TASK, MAPS)):
            expected = _outcome(folder, None, task, maps)
            for place in (places[0], places[0], places[1], places[1]):
                assert _outcome(folder, place, task, maps) == expected
        checked = check_folder(folder, None, quarantine=None)
        assert [check_folder(folder, None, quarantine=None, store=place) for place in (places[0], *places)] == [checked] * 3


def test_nothing_is_validated_twice(tmp_path: Path, place: StorePlace, judged: list[int]) -> None:
    folder = write(tmp_path / "data", [*small_hospital(), "{", GOOD[0], GOOD[0]])
    expected = _extract(folder, place)
    first = len(judged)
    assert first >= 12
    assert _extract(folder, place) == expected
    assert len(judged) == first
    _extract(folder, place, OTHER_TASK)  # columns that were not read before
    _extract(folder, StorePlace(place.path, values=False))
    check_folder(folder, parse(TASK.encode()), quarantine=None, store=place)
    assert len(judged) == first
    write(folder, [patient("new")], "new.ndjson")
    assert _extract(folder, place)[3].lines.kept == 11
    assert len(judged) == first + 1


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path: Path, place: StorePlace) -> None:
    folder = write(tmp_path / "data", small_hospital())
    path = folder / "all.ndjson"
    before, known = _extract(folder, place), path.stat()
    with path.open("r+b") as stream:
        data = stream.read()
        stream.seek(data.index(b'"value": 10') + 9)
        stream.write(b"07")
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) == (known.st_size, known.st_mtime_ns, known.st_ino)
    assert _extract(folder, place)[4].count("not-json") == 1  # 07 is no number of JSON
    path.write_bytes(data)
    assert _extract(folder, place) == before


def test_a_link_or_a_copy_is_the_same_file(tmp_path: Path, place: StorePlace, judged: list[int]) -> None:
    folder = write(tmp_path / "data", small_hospital())
    expected = _extract(folder, place)
    first = len(judged)
    for name in ("linked", "copied"):
        (tmp_path / name).mkdir()
    os.link(folder / "all.ndjson", tmp_path / "linked" / "all.ndjson")
    (tmp_path / "copied" / "other.ndjson").write_bytes((folder / "all.ndjson").read_bytes())
    assert all(_extract(tmp_path / name, place)[:4] == expected[:4] for name in ("linked", "copied"))
    assert len(judged) == first


def test_other_rules_validate_anew(tmp_path: Path, place: StorePlace, judged: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "data", small_hospital())
    _extract(folder, place)
    first = len(judged)
    monkeypatch.setattr(store, "_rules", lambda: "other")
    _extract(folder, place)
    assert len(judged) == 2 * first


def test_the_file_is_for_its_owner_alone(tmp_path: Path, place: StorePlace) -> None:
    _extract(write(tmp_path / "data", small_hospital()), place)
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    assert [path.name for path in place.path.parent.iterdir()] == ["validated.sqlite"]


SECRET = "a-value-of-a-patient"


def _secret_folder(tmp_path: Path) -> Path:
    write(tmp_path / "data", [observation("secret", "a", valueString=SECRET)], "second.ndjson")
    return write(tmp_path / "data", small_hospital())


def test_what_is_erased_from_the_folder_is_erased_here(tmp_path: Path, place: StorePlace) -> None:
    folder = _secret_folder(tmp_path)
    _extract(folder, place)
    assert SECRET.encode() in place.path.read_bytes()
    write(folder, [observation("secret", "a")], "second.ndjson")
    _extract(folder, place)
    assert SECRET.encode() not in place.path.read_bytes()


def test_what_is_erased_is_gone_when_the_store_is_opened(tmp_path: Path, place: StorePlace) -> None:
    folder = _secret_folder(tmp_path)
    _extract(folder, place)
    (folder / "second.ndjson").unlink()
    Store(place).close()
    assert SECRET.encode() not in place.path.read_bytes()


def test_no_values_are_kept_where_patients_are_asked(tmp_path: Path, place: StorePlace) -> None:
    folder = _secret_folder(tmp_path)
    asked = StorePlace(place.path, values=False)
    _extract(folder, asked)
    assert SECRET.encode() not in place.path.read_bytes()
    _extract(folder, place)
    assert SECRET.encode() in place.path.read_bytes()
    _extract(folder, asked)  # a hospital that began to ask
    assert SECRET.encode() not in place.path.read_bytes()


def test_a_kill_leaves_the_whole_file_or_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "data", [patient("p")]) / "all.ndjson"
    mark = fingerprint(source)
    assert mark is not None
    outcomes = []
    for number in range(1, 60):
        place = StorePlace(tmp_path / f"store{number}", values=True)
        Store(place).close()
        killed = _killed_at(number, place, source, mark)
        found = Store(place)
        entry = found.find(mark, "R4", {"table"})
        if entry is not None:
            assert entry.names == {"table"}
            assert (list(found.verdicts(entry)), list(found.parts(entry))) == ([VERDICT], [PART])
        found.close()
        outcomes.append(entry is not None)
        if not killed:
            break
    assert not killed
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {True, False}


def _killed_at(number: int, place: StorePlace, source: Path, mark: str) -> bool:
    """Keep a file in a process that is killed at its statement of this number; False if there were fewer."""
    child = os.fork()
    if child == 0:
        kept = Store(place)
        left = number

        def count(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        kept._db.set_trace_callback(count)
        kept.begin(mark, "R4", None)
        kept.add(0, VERDICT, [PART])
        kept.finish(source, ["table"])
        kept.settle(source.parent, [source.name])
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def test_a_damaged_store_is_made_anew(tmp_path: Path, place: StorePlace, judged: list[int]) -> None:
    folder = write(tmp_path / "data", small_hospital())
    expected = _extract(folder, place)
    first = len(judged)
    place.path.write_bytes(b"no database" * 1000)
    assert _extract(folder, place) == expected
    assert not place.path.exists()
    assert _extract(folder, place) == expected
    assert len(judged) == 3 * first
    for table in ("verdict", "part"):
        with sqlite3.connect(place.path) as database:
            ((data,),) = database.execute(f"SELECT data FROM {table} LIMIT 1").fetchall()
            database.execute(f"UPDATE {table} SET data = ?", [bytes([*data[:-1], data[-1] ^ 1])])
        database.close()
        assert _extract(folder, place) == expected
    assert len(judged) == 5 * first


def test_a_store_that_somebody_writes_to_is_done_without(
    tmp_path: Path, place: StorePlace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_WAIT_SECONDS", 0.0)
    folder = write(tmp_path / "data", small_hospital())
    expected = _extract(folder, None)
    writer = Store(place)
    writer.begin("0" * 64, "R4", None)
    assert _extract(folder, place) == expected
    assert "what is validated now is not kept: database is locked" in caplog.text
    writer.close()


def test_a_store_that_cannot_be_opened_is_done_without(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", small_hospital())
    (tmp_path / "file").touch()
    assert _extract(folder, StorePlace(tmp_path / "file" / "store", values=True)) == _extract(folder, None)


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    place = StorePlace(tmp_path / "store", values=True)
    sources = [write(tmp_path / f"data{number}", [patient(f"{number}")]) / "all.ndjson" for number in range(4)]
    marks = [fingerprint(source) or "" for source in sources]

    def keep(number: int, size: int) -> None:
        kept = Store(place, max_bytes=3500)
        kept.begin(marks[number], "R4", None)
        kept.add(0, VERDICT, [Part("table", "Patient", "", bytes(size))])
        kept.finish(sources[number], ["table"])
        kept.close()

    def known() -> list[int]:
        kept = Store(place)
        found = [number for number, mark in enumerate(marks) if kept.find(mark, "R4", set())]
        kept.close()
        return found

    for number in range(3):
        keep(number, 1000)
    assert known() == [0, 1, 2]
    keep(3, 1000)
    assert known() == [1, 2, 3]
    keep(0, 5000)  # too large for all of it
    assert 0 not in known()


def test_what_was_dropped_meanwhile_is_noticed(tmp_path: Path, place: StorePlace) -> None:
    source = write(tmp_path / "data", [patient("p")]) / "all.ndjson"
    reader, other = Store(place), Store(place)
    reader.begin("m", "R4", None)
    reader.add(0, VERDICT, [PART])
    reader.finish(source, ["table"])
    entry = reader.find("m", "R4", {"table"})
    assert entry is not None
    source.unlink()
    other.settle(source.parent, [])
    for read in (reader.verdicts, reader.parts):
        with pytest.raises(StoreError, match="made room"):
            list(read(entry))
    reader.close()
    other.close()


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, place: StorePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "data", small_hospital())
    original = judge.resource

    def changing(data: bytes | None, *rest: Any) -> Any:
        write(folder, [*small_hospital(), patient("late")])
        return original(data, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(judge, "resource", changing)
        with pytest.raises(DataError, match=r"all\.ndjson changed while it was read"):
            _extract(folder, place)
    assert _extract(folder, place) == _extract(folder, None)
    assert _extract(folder, place)[3].lines.kept == 10


def test_what_a_cut_file_gave_is_not_kept(tmp_path: Path, place: StorePlace, judged: list[int]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    packed = gzip.compress("".join(json.dumps(each) + "\n" for each in small_hospital()).encode())
    (folder / "all.ndjson.gz").write_bytes(packed[:-12])
    reports = [check_folder(folder, None, quarantine=None, store=place) for _ in range(2)]
    assert reports[0] == reports[1] == check_folder(folder, None, quarantine=None)
    assert reports[0].profile.lines.dropped == {"cut-file": 1}
    with pytest.raises(DataError, match="to its end"):
        _extract(folder, place)
