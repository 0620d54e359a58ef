"""Exports from a FHIR server that speaks HTTP: everything, changes, faults. Nothing is lost, nothing is there twice."""

import json
import stat
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.fhir.database import Database
from gateway.fhir.errors import DataError, FhirServerError
from gateway.fhir.export import client, merge
from gateway.fhir.export.bulk import kick_off_url
from gateway.fhir.export.folder import opened
from gateway.fhir.export.settings import DataSection
from gateway.fhir.load import load
from gateway.fhir.profile import profile
from gateway.fhir.sources import files
from gateway.fhir.views import compile_views
from tests.support.exports import FakeTime, exported, fill
from tests.support.fhir_folders import condition, observation, patient, small_hospital, write
from tests.support.fhir_server import OUTCOME, Fault, fhir_server


def lines(folder: Path) -> list[str]:
    return sorted(line for path in files(folder) for line in path.read_text(encoding="utf-8").splitlines())


def content(folder: Path) -> str:
    return load(folder, None, Database(compile_views([])), quarantine=None).content


def test_a_server_becomes_a_folder(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        found = exported(server, tmp_path)
    assert lines(tmp_path) == sorted(server.lines())
    assert found.resources == {"Condition": 2, "Observation": 3, "Patient": 4}
    assert (found.since, found.kept, found.replaced, found.deleted) == (None, 9, 0, 0)
    assert [path.name for path in files(tmp_path)] == ["Condition.ndjson", "Observation.ndjson", "Patient.ndjson"]
    assert server.ended == ["job1"]
    assert server.requests[0].headers["Prefer"] == "respond-async"
    assert not list((tmp_path / ".export" / "parts").iterdir())


def test_the_second_export_asks_for_what_changed(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        first = exported(server, tmp_path)
        server.put(patient("a", gender="female"))
        server.put(patient("e"))
        server.delete("Observation", "ob")
        second = exported(server, tmp_path)
        assert second.since == first.transaction_time
        assert lines(tmp_path) == sorted(server.lines())
        assert (second.read, second.kept, second.replaced, second.deleted) == (11, 9, 1, 1)
        third = exported(server, tmp_path)
        assert (third.read, third.kept) == (9, 9)
        assert exported(server, tmp_path, full=True).since is None
        assert exported(server, tmp_path, types=["Patient"]).since is None, "other types were asked for than before"
        assert [path.name for path in files(tmp_path)] == ["Patient.ndjson"]


Step = tuple[str, int]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["put", "delete", "export", "cut", "again", "crash"]), st.integers(0, 5)), max_size=20))
def test_changes_add_up_to_what_a_full_export_gives(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]) -> None:
    folder, whole = tmp_path_factory.mktemp("changes"), tmp_path_factory.mktemp("whole")
    held: set[str] = set()
    with fhir_server() as server:
        server.put(patient("always"))
        for what, number in steps:
            key = f"o{number}"
            if what == "put":
                server.put(observation(key, "always", valueQuantity={"value": len(server.requests)}))
                held.add(key)
            elif what == "delete" and key in held:
                server.delete("Observation", key)
                held.remove(key)
            elif what == "cut":
                server.faults["file"].append(Fault(cut=number / 6))
            elif what == "again":
                server.faults["status"].append(Fault(status=503))
            elif what == "crash":
                server.faults["file"].append(Fault(status=403))
                with suppress(FhirServerError):  # where there is no file to fetch, nothing fails
                    exported(server, folder)
                server.faults["file"].clear()
            elif what == "export":
                exported(server, folder)
        server.faults.clear()
        for _ in range(2):  # the first may go on with one that was begun long ago
            exported(server, folder)
        exported(server, whole)
        assert lines(folder) == lines(whole) == sorted(server.lines())
        assert content(folder) == content(whole)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_is_cut_is_gone_on_with(tmp_path: Path, ranges: bool) -> None:
    time = FakeTime()
    with fhir_server() as server:
        server.ranges, server.per_file = ranges, 100
        fill(server)
        server.faults["file"] += [Fault(cut=0.3), Fault(cut=0.5), Fault(cut=0.0)]
        exported(server, tmp_path, time=time)
        assert lines(tmp_path) == sorted(server.lines())
        asked = [request.headers.get("Range") for request in server.requests if request.route == "file"]
    # A file that begins anew each time is whole once; the last cut left nothing of it.
    assert [bool(each) for each in asked[:4]] == [False, True, True, ranges]


def test_a_server_that_is_busy_is_asked_again_when_it_says(tmp_path: Path) -> None:
    time = FakeTime()
    date = (time.moment + timedelta(seconds=98)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with fhir_server() as server:
        fill(server)
        server.polls = 2
        server.faults["kickoff"] += [Fault(status=429, headers={"Retry-After": "90"}), Fault(status=503)]
        server.faults["status"].append(Fault(status=429, headers={"Retry-After": date}))
        server.faults["status"] += [Fault(status=500), Fault(status=502), Fault(status=504)]
        server.faults["file"] += [Fault(status=429, headers={"Retry-After": "never"})]
        said: list[str] = []
        exported(server, tmp_path, time=time, tell=said.append)
        assert lines(tmp_path) == sorted(server.lines())
    # The third is what was left until the date.
    assert time.slept == [90.0, 2.0, 6.0, 2.0, 4.0, 8.0, 7.0, 7.0, 1.0]
    assert said.count("the server is at work: half done") == 2


def test_a_server_that_never_answers_well_is_given_up(tmp_path: Path) -> None:
    time = FakeTime()
    with fhir_server() as server:
        fill(server)
        server.faults["kickoff"] += [Fault(status=503)] * client.ATTEMPTS
        with pytest.raises(FhirServerError, match="the kick-off of the export: the server answers 503, 8 times in a row"):
            exported(server, tmp_path, time=time)
    assert time.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]


def test_an_export_that_takes_longer_than_the_hospital_waits(tmp_path: Path) -> None:
    time = FakeTime()
    with fhir_server() as server:
        fill(server)
        server.polls = 10**6
        with pytest.raises(FhirServerError, match=r"the export is not done, and the 0\.5 h are over"):
            exported(server, tmp_path, time=time, patience_hours=0.5)
        assert len(time.slept) == 1800 // 7
        # The export is not lost: the next call goes on with it.
        server.jobs["job1"].polls = 0
        exported(server, tmp_path)
        assert server.routes().count("kickoff") == 1
        assert lines(tmp_path) == sorted(server.lines())


def test_what_was_fetched_is_not_fetched_again_after_a_crash(tmp_path: Path) -> None:
    with fhir_server() as server:
        server.per_file = 1
        fill(server)
        server.faults["file"] += [Fault(), Fault(), Fault(status=400)]
        with pytest.raises(FhirServerError, match="a file of the export: the server answers 400"):
            exported(server, tmp_path)
        before = server.routes().count("file")
        exported(server, tmp_path)
        assert before == 3
        assert server.routes().count("file") == before + 7
        assert server.routes().count("kickoff") == 1
        assert lines(tmp_path) == sorted(server.lines())


def test_an_export_that_expired_is_begun_anew(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        server.faults["file"].append(Fault(status=400))
        with pytest.raises(FhirServerError):
            exported(server, tmp_path)
        server.jobs.clear()
        exported(server, tmp_path)
        assert server.routes().count("kickoff") == 2
        assert lines(tmp_path) == sorted(server.lines())


@pytest.mark.parametrize("answers", [[Fault(status=500)] * client.ATTEMPTS, [Fault(status=403)]])
def test_an_export_that_failed_is_not_asked_after_for_ever(tmp_path: Path, answers: list[Fault]) -> None:
    with fhir_server() as server:
        fill(server)
        server.faults["status"] += answers
        with pytest.raises(FhirServerError, match=r"the export's status: the server answers .*; nothing was taken over"):
            exported(server, tmp_path)
        exported(server, tmp_path)
        assert server.routes().count("kickoff") == 2
        assert server.ended == ["job1", "job2"]
        assert lines(tmp_path) == sorted(server.lines())


def test_files_that_somebody_removed_are_asked_for_again(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        exported(server, tmp_path)
        (tmp_path / "Patient.ndjson").unlink()
        assert exported(server, tmp_path).since is None
        assert lines(tmp_path) == sorted(server.lines())


def test_an_export_that_failed_is_told_in_the_server_s_words(tmp_path: Path) -> None:
    with fhir_server() as server:
        server.faults["kickoff"].append(Fault(status=400))
        with pytest.raises(FhirServerError, match=r"^the kick-off of the export: the server answers 400: told to fail$"):
            exported(server, tmp_path)
        server.faults["kickoff"].append(Fault(status=202))
        with pytest.raises(FhirServerError, match="no Content-Location"):
            exported(server, tmp_path)


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ([], "no JSON object"),
        ({"transactionTime": "2026-01-01"}, "transactionTime is missing or no instant"),
        ({"transactionTime": "2026-01-01T00:00:00Z", "output": {}}, "output is no list"),
        ({"transactionTime": "2026-01-01T00:00:00Z", "output": [{"type": "Patient"}]}, "entry without a url"),
        ({"transactionTime": "2026-01-01T00:00:00Z", "output": [{"url": "u", "count": -1}]}, "entry without a url"),
        ({"transactionTime": "2026-01-01T00:00:00Z", "link": [{"relation": "next", "url": "https://other.example/x"}]}, "another server"),
        (
            {"transactionTime": "2026-01-01T00:00:00Z", "requiresAccessToken": False, "output": [{"url": "http://other.example/x"}]},
            "other.example:80 is not https",
        ),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, manifest: object, sentence: str) -> None:
    with fhir_server() as server:
        fill(server)
        server.faults["status"].append(Fault(status=200, body=manifest))
        with pytest.raises(FhirServerError, match=sentence):
            exported(server, tmp_path)


def test_a_file_that_is_not_what_the_manifest_says_is_not_taken_over(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        exported(server, tmp_path)
        before = lines(tmp_path)
        server.put(patient("new"))
        wrong = {
            "transactionTime": "2026-01-02T00:00:00Z",
            "output": [{"type": "Patient", "url": f"{server.base}/files/job2/output/0", "count": 2}],
        }
        server.faults["status"].append(Fault(status=200, body=wrong))
        with pytest.raises(FhirServerError, match="fetched twice, has 1 resources where the manifest says 2; nothing was taken over"):
            exported(server, tmp_path)
        assert lines(tmp_path) == before
        assert server.ended == ["job1", "job2"], "a job that cannot be used is given back"
        exported(server, tmp_path)
        assert lines(tmp_path) == sorted(server.lines())


def test_what_the_server_could_not_export_is_asked_for_again(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        first = exported(server, tmp_path)
        server.put(patient("e"))
        server.errors = [OUTCOME, {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational"}]}]
        second = exported(server, tmp_path)
        assert second.failures == ("told to fail",)
        server.errors = []
        third = exported(server, tmp_path)
        assert first.transaction_time == second.transaction_time == third.since
        assert third.failures == ()
        assert lines(tmp_path) == sorted(server.lines())


@pytest.mark.parametrize("url", ["Patient?identifier=1", "Patient", None, "../../x"])
def test_a_deletion_of_nobody_knows_what_changes_nothing(tmp_path: Path, url: str | None) -> None:
    with fhir_server() as server:
        fill(server)
        exported(server, tmp_path)
        before = lines(tmp_path)
        server.delete("Patient", "a")
        name = server.begin("", {"_since": ["2026-01-01T00:00:00Z"]})
        bundle = {"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": url}}]}
        server.jobs[name].files["deleted"] = [("Bundle", json.dumps(bundle).encode(), 1)]
        server.faults["kickoff"].append(Fault(status=202, headers={"Content-Location": f"{server.base}/status/{name}"}))
        with pytest.raises(FhirServerError, match="deletes no one resource; nothing was taken over"):
            exported(server, tmp_path)
        assert lines(tmp_path) == before


@pytest.mark.parametrize(("url", "named"), [("https://h/fhir/Patient/a", True), ("Patient/a/_history/2", True), ("/Patient/b", False)])
def test_a_deletion_is_named_in_any_form(tmp_path: Path, url: str, named: bool) -> None:
    entry = {"request": {"method": "DELETE", "url": url}}
    path = write(tmp_path, [{"resourceType": "Bundle", "entry": [entry]}]) / "all.ndjson"
    assert (list(merge.deletions([path])) == [("Patient", "a")]) is named


def test_lines_that_are_no_resource_are_kept_for_whoever_counts_them(tmp_path: Path) -> None:
    bad = ["{", "?", '{"resourceType":"Patient"}', "[1]", "{", '{"resourceType":"Patient","id":"\\ud800"}']
    old = write(tmp_path / "old", [*bad, json.dumps(patient("a"))])
    (tmp_path / "out").mkdir()
    found = merge.merge([old / "all.ndjson"], [old / "all.ndjson"], [], tmp_path / "out")
    assert (found.read, found.kept, found.replaced) == (14, 6, 8)
    assert lines(tmp_path / "out") == sorted({*bad, json.dumps(patient("a"))})
    assert found.resources == {"Patient": 3, merge.UNREADABLE: 3}


def test_a_line_that_is_no_json_does_not_make_the_folder_unreadable(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        name = server.begin("", {})
        server.jobs[name].files["output"].insert(0, ("Patient", b"{\n", 1))
        server.faults["kickoff"].append(Fault(status=202, headers={"Content-Location": f"{server.base}/status/{name}"}))
        exported(server, tmp_path)
    found = load(tmp_path, None, Database(compile_views([])), quarantine=None).lines
    assert (found.read, found.kept, found.dropped) == (10, 9, {"not-json": 1})
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(tmp_path)} == {0o600}


def test_of_two_versions_the_newer_one_is_kept(tmp_path: Path) -> None:
    def version(number: int, updated: str | None, **more: Any) -> dict[str, Any]:
        return patient("a", meta={"versionId": str(number), **({"lastUpdated": updated} if updated else {})}, **more)

    summer, winter = "2026-07-01T00:00:00+02:00", "2026-06-30T23:00:00Z"  # an hour apart, and not in the order of their letters
    cases = [
        ([version(1, summer), version(2, winter)], 1),
        ([version(2, winter), version(1, summer)], 0),
        ([version(9, winter), version(10, winter)], 1),
        ([version(10, winter), version(9, winter)], 0),
        ([version(2, winter), version(1, None)], 1),
        ([version(1, "yesterday"), version(1, winter)], 1),
        ([patient("a", gender="male"), patient("a", gender="female")], 1),
    ]
    for number, (versions, newest) in enumerate(cases):
        source, out = write(tmp_path / f"in{number}", versions) / "all.ndjson", tmp_path / f"out{number}"
        out.mkdir()
        assert merge.merge([], [source], [], out).replaced == 1
        assert lines(out) == [json.dumps(versions[newest])], number


def test_a_line_longer_than_a_resource_may_be_stays_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.fhir.sources.MAX_LINE_BYTES", 200)
    with fhir_server() as server:
        server.put(patient("a"))
        server.put(patient("long", name=[{"text": "x" * 400}]))
        assert exported(server, tmp_path).resources == {"Patient": 1, merge.UNREADABLE: 1}
        found = profile(tmp_path, quarantine=None)
    assert (found.lines.read, found.lines.kept, found.lines.dropped) == (2, 1, {"not-fhir": 1})


@pytest.mark.parametrize("after", range(6))
def test_a_crash_while_files_are_replaced_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    with fhir_server() as server:
        fill(server)
        exported(server, tmp_path)
        before = lines(tmp_path)
        server.put(patient("e"))
        server.put(observation("oe", "e"))
        server.delete("Condition", "x")
        server.delete("Condition", "y")
        renames = 0
        replace = Path.replace

        def crash(self: Path, target: Path) -> Path:
            nonlocal renames
            if "replacing" in self.parts or "next" in self.parts:
                renames += 1
                if renames > after:
                    raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", crash)
        if after < 4:  # the new state, two files, and the state's own place
            with pytest.raises(KeyboardInterrupt):
                exported(server, tmp_path)
        monkeypatch.undo()
        if 0 < after < 4:
            with pytest.raises(DataError, match="cut off while it replaced files"):
                files(tmp_path)
        elif after == 0:
            assert lines(tmp_path) == before
        exported(server, tmp_path)
        assert lines(tmp_path) == sorted(server.lines())
        assert not (tmp_path / "Condition.ndjson").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, small_hospital())
    with fhir_server() as server, pytest.raises(DataError, match=r"all\.ndjson, which no export put there"):
        exported(server, tmp_path)


def test_two_exports_do_not_share_a_folder(tmp_path: Path) -> None:
    with opened(tmp_path), fhir_server() as server, pytest.raises(DataError, match="another export"):
        exported(server, tmp_path)


def test_a_group_is_exported_whole_each_time(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        server.groups["g"] = {"a", "b"}
        exported(server, tmp_path, level="group", group="g")
        assert len([line for line in lines(tmp_path) if '"Patient",' in line]) == 2
        server.groups["g"] = {"a", "d"}
        found = exported(server, tmp_path, level="group", group="g")
        assert found.since is None
        assert [json.loads(line)["id"] for line in lines(tmp_path) if '"Patient",' in line] == ["a", "d"]


def test_levels_types_and_filters_are_asked_for() -> None:
    asked = DataSection(
        server="https://h/fhir/",
        level="patient",
        types=("Patient", "Observation"),
        type_filters=("Observation?category=laboratory&code=a,b", "Observation?status=final"),
    )
    assert kick_off_url(asked, "2026-01-01T00:00:00+01:00") == (
        "https://h/fhir/Patient/$export?_outputFormat=application%2Ffhir%2Bndjson&_type=Patient%2CObservation"
        "&_typeFilter=Observation%3Fcategory%3Dlaboratory%26code%3Da%2Cb&_typeFilter=Observation%3Fstatus%3Dfinal"
        "&_since=2026-01-01T00%3A00%3A00%2B01%3A00"
    )
    assert kick_off_url(DataSection(server="https://h", level="group", group="g-1"), None).startswith("https://h/Group/g-1/$export?")


def test_conditions_are_there_too(tmp_path: Path) -> None:
    with fhir_server() as server:
        server.counts = False
        server.put(condition("x", "a"))
        server.put(patient("a"))
        assert exported(server, tmp_path).resources == {"Condition": 1, "Patient": 1}
