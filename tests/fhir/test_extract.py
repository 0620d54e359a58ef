"""Extraction against plain Python over the same resources, and every reason for which it refuses a folder."""

import csv
import datetime
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import ExitCode, kind_of
from gateway.fhir.errors import DataError, ViewError
from gateway.fhir.extract import Extracted, check, extract
from gateway.fhir.inputs import input_names
from gateway.task_file import TaskFile, load, parse
from tests.support.fhir_folders import SAMPLE_TASKS, TASK, condition, observation, patient, shared, small_hospital, write

DATES = ["2019", "2020", "2020-01", "2020-01-02", "2020-01-01T23:00:00-05:00", "2020-01-02T01:00:00Z"]


def _task(**changes: str) -> TaskFile:
    """The test task with another feature; `feature` replaces the lines after where = ..."""
    text = TASK
    for old, new in changes.items():
        text = re.sub(rf"(?m)^{old} = .*$", new, text)
    return parse(text.encode())


def _feature(lines: str) -> TaskFile:
    return parse(TASK[: TASK.index("[[features]]")].encode() + b"[[features]]\n" + lines.encode())


def _extract(task: TaskFile, folder: Path, resources: list[dict[str, Any]]) -> Extracted:
    return extract(task, write(folder, resources), quarantine=None)


def test_a_small_hospital(tmp_path: Path) -> None:
    found = _extract(_task(), tmp_path, small_hospital())
    assert found.patient_keys == ("a", "b", "c", "d")
    assert found.feature_names == ("glucose", "glucose:missing") == input_names(_task())
    assert found.features.tolist() == [[-1, 0], [0, 0], [1, 0], [0, 1]]
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert (found.features.dtype, found.labels.dtype) == (np.float32, np.float32)
    assert (found.report.lines.read, found.report.lines.kept, found.report.positive, found.report.negative) == (9, 9, 2, 2)


def test_the_order_of_files_and_lines_does_not_matter(tmp_path: Path) -> None:
    resources = [*small_hospital(), *(observation(f"more{value}", "a", valueQuantity={"value": value / 7}) for value in range(20))]
    one = _extract(_task(), tmp_path / "one", resources)
    write(tmp_path / "two", resources[9::-1], "z.ndjson")
    (tmp_path / "two" / "a.ndjson.gz").write_bytes(gzip.compress("\n\n".join(map(json.dumps, resources[:9:-1])).encode()))
    two = extract(_task(), tmp_path / "two", quarantine=None)
    assert one.features.tobytes() == two.features.tobytes()
    assert one.patient_keys == two.patient_keys


values = st.one_of(st.integers(-5, 15), st.decimals(-5, 15, places=2).map(float))
measurements = st.lists(st.tuples(st.sampled_from("abc"), values, st.sampled_from(DATES)), max_size=12)


def _when(date: str) -> datetime.datetime:
    if "T" in date:
        return datetime.datetime.fromisoformat(date)
    full = date + {4: "-01-01", 7: "-01", 10: ""}[len(date)]
    return datetime.datetime.fromisoformat(full).replace(tzinfo=datetime.UTC)


ORACLES: dict[str, Callable[[list[tuple[float, str]]], float]] = {
    "mean": lambda rows: fmean(value for value, _ in rows),
    "min": lambda rows: min(value for value, _ in rows),
    "max": lambda rows: max(value for value, _ in rows),
    "first": lambda rows: min(rows, key=lambda row: (_when(row[1]), row[0]))[0],
    "latest": lambda rows: max(rows, key=lambda row: (_when(row[1]), row[0]))[0],
    "count": lambda rows: min(len(rows), 10),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(measurements, st.sampled_from(sorted(ORACLES)), st.sampled_from(["missing", "clamp"]))
def test_every_aggregate_is_what_plain_python_says(
    tmp_path: Path, rows: list[tuple[str, float, str]], aggregate: str, outside: str
) -> None:
    order = 'time = "at"\n' if aggregate in ("first", "latest") else ""
    task = _feature(
        f'name = "g"\nview = "lab"\ncolumn = "value"\naggregate = "{aggregate}"\n{order}low = 0\nhigh = 10\n'
        f'outside = "{outside}"\nmissing = "indicator"\n'
    )
    people = [patient(key) for key in "abc"] + [condition("x", "a")]
    labs = [
        observation(f"o{number}", key, valueQuantity={"value": value}, effectiveDateTime=date)
        for number, (key, value, date) in enumerate(rows)
    ]
    found = _extract(task, tmp_path, people + labs)
    expected = []
    for key in "abc":
        own = [(value, date) for person, value, date in rows if person == key]
        if outside == "missing" and aggregate != "count":
            own = [row for row in own if 0 <= row[0] <= 10]
        number = ORACLES[aggregate](own) if own or aggregate == "count" else None
        expected.append([0.0, 1.0] if number is None else [min(max(number, 0), 10) / 5 - 1, 0.0])
    assert found.features == pytest.approx(np.array(expected), abs=1e-6)
    strays = len({person for person, value, _ in rows if not 0 <= value <= 10}) if aggregate != "count" else 0
    quality = found.report.features[0]
    assert (quality.outside, quality.clamped) == ((strays, 0) if outside == "missing" else (0, strays))
    assert quality.missing == sum(int(row[1]) for row in expected)


@pytest.mark.parametrize(("aggregate", "scaled"), [("first", -0.4), ("latest", 0.4)])
def test_of_values_at_one_time_the_smallest_is_first(tmp_path: Path, aggregate: str, scaled: float) -> None:
    task = _feature(f'name = "g"\nview = "lab"\ncolumn = "value"\naggregate = "{aggregate}"\ntime = "at"\nlow = 0\nhigh = 10\n')
    labs = [observation(f"o{value}", "a", valueQuantity={"value": value}, effectiveDateTime="2020") for value in (5, 7, 3, 4)]
    found = _extract(task, tmp_path, [patient("a"), patient("b"), condition("x", "b"), *labs])
    assert found.features[0, 0] == pytest.approx(scaled)


def test_categories(tmp_path: Path) -> None:
    task = _feature('name = "w"\nview = "lab"\ncolumn = "text"\naggregate = "mode"\ncategories = ["x", "y\'"]\nmissing = "indicator"\n')
    texts = [("a", "x"), ("a", "y'"), ("a", "y'"), ("b", "z"), ("c", "y'"), ("c", "x")]
    labs = [observation(f"o{number}", key, valueString=text) for number, (key, text) in enumerate(texts)]
    found = _extract(task, tmp_path, [patient(key) for key in "abcd"] + labs + [condition("x", "a")])
    assert found.feature_names == ("w=x", "w=y'", "w:missing")
    assert found.features.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]  # of equally frequent ones the first by name
    assert (found.report.features[0].missing, found.report.features[0].outside) == (2, 1)


@pytest.mark.parametrize(("born", "years"), [("1950", 1950), ("1950-07", 1950.5), ("1950-12-31", 1950 + 11 / 12 + 30 / 372)])
def test_dates_count_in_years(tmp_path: Path, born: str, years: float) -> None:
    task = _feature('name = "born"\nview = "person"\ncolumn = "born"\nlow = 1900\nhigh = 2000\n')
    found = _extract(task, tmp_path, [patient("a", birthDate=born), patient("b"), condition("x", "a")])
    assert found.features[:, 0] == pytest.approx([(years - 1950) / 50, 0])


def test_a_label_by_value_leaves_out_who_has_none(tmp_path: Path) -> None:
    text = TASK.replace(
        'view = "disease"\n\n[model]', 'view = "lab"\ncolumn = "value"\npositive = [5, 10.0]\nwhere = { code = "glucose" }\n\n[model]'
    )
    found = _extract(parse(text.encode()), tmp_path, small_hospital())
    assert found.patient_keys == ("a", "b", "c")
    assert found.labels.tolist() == [0, 1, 1]
    assert found.report.unlabelled == 1
    assert "1 of 4 patients have no label and were left out" in found.report.warnings()


def test_rows_of_people_outside_the_cohort_are_ignored(tmp_path: Path) -> None:
    strangers = [observation("s1", "stranger", valueQuantity={"value": 3}), condition("s2", "stranger")]
    assert _extract(_task(), tmp_path, small_hospital() + strangers).patient_keys == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('column = "text"\nlow = 0\nhigh = 1\n', "column text of the view lab is string; give categories, not bounds"),
        ('column = "value"\nlow = 0\nhigh = 1\nwhere = { code = 3 }\n', "3 cannot equal the column code of the view lab, which is code"),
        ('column = "value"\nlow = 0\nhigh = 1\nwhere = { value = "3" }\n', "'3' cannot equal the column value"),
        ('column = "value"\nlow = 0\nhigh = 1\nwhere = { value = true }\n', "True cannot equal the column value"),
        ('column = "value"\nlow = 0\nhigh = 1\naggregate = "latest"\ntime = "code"\n', "code of the view lab is code; name a column of"),
    ],
)
def test_features_that_do_not_fit_their_views_are_refused_without_data(lines: str, reason: str) -> None:
    with pytest.raises(ViewError, match=re.escape(reason)):
        check(_feature(f'name = "g"\nview = "lab"\n{lines}'))


def test_a_patient_column_must_be_a_key() -> None:
    with pytest.raises(ViewError, match="the column patient must be one key"):
        check(parse(TASK.replace('path = "getResourceKey()"', 'path = "active"').encode()))


def _no_folder(folder: Path) -> Path:
    return folder / "none"


def _empty(folder: Path) -> Path:
    return write(folder, [], "readme.txt")


def _not_json(folder: Path) -> Path:
    write(folder, small_hospital())
    return write(folder, ["this is", "a letter"], "letter.ndjson")


def _pretty(folder: Path) -> Path:
    (folder / "bundle.ndjson").write_text(json.dumps({"resourceType": "Bundle"}, indent=1), encoding="utf-8")
    return folder


def _mostly_bad(folder: Path) -> Path:
    return write(folder, [*small_hospital(), *(observation(f"bad{number}", "a", status="bogus") for number in range(10))])


def _torn(folder: Path) -> Path:
    (folder / "all.ndjson.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, small_hospital())).encode())[:-10])
    return folder


def _no_gzip(folder: Path) -> Path:
    return write(folder, small_hospital(), "all.ndjson.gz")


def _few(folder: Path) -> Path:
    return write(folder, [patient("a"), condition("x", "a")])


def _all_ill(folder: Path) -> Path:
    return write(folder, [patient("a"), patient("b"), condition("x", "a"), condition("y", "b")])


def _all_well(folder: Path) -> Path:
    return write(folder, [patient("a"), patient("b")])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_no_folder, "cannot read the data folder .*none: No such file or directory; name a folder"),
        (_empty, r"holds no \*\.ndjson or \*\.json file"),
        (_not_json, r"letter\.ndjson is not NDJSON: none of its 2 lines is JSON; put one FHIR resource on each line"),
        (_pretty, r"bundle\.ndjson is not NDJSON"),
        (_mostly_bad, r"10 of 19 lines in .* cannot be used \(bad-code 10\); mend the export"),
        (_torn, r"cannot read .*all\.ndjson\.gz to its end: .*; export it again"),
        (_no_gzip, r"cannot read .*all\.ndjson\.gz to its end: Not a gzipped file"),
        (_few, "has 1 patients for this task, which needs 2"),
        (_all_ill, "the label disease has only the class 1 among the 2 patients"),
        (_all_well, "the label disease has only the class 0 among the 2 patients"),
    ],
)
def test_a_folder_that_cannot_be_used_gets_one_sentence(tmp_path: Path, make: Callable[[Path], Path], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as error:
        extract(_task(), make(tmp_path), quarantine=None)
    assert "\n" not in str(error.value)
    assert kind_of(error.value).exit_code == ExitCode.BAD_INPUT


def _raw_heart(path: Path) -> dict[str, dict[str, float]]:
    names = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal", "num"]
    with path.open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    hospital = path.name.split(".")[1]
    return {
        f"{hospital}-{number:03d}": {name: float(value) for name, value in zip(names, row, strict=True) if value != "?"}
        for number, row in enumerate(rows, start=1)
    }


@pytest.mark.parametrize("hospital", ["cleveland", "hungarian", "switzerland", "va"])
def test_real_patients_are_what_the_source_says(hospital: str) -> None:
    found = extract(load(SAMPLE_TASKS / "heart.toml"), shared("heart", hospital), quarantine=None)
    raw = _raw_heart(shared("heart", "raw") / f"processed.{hospital}.data")
    assert found.patient_keys == tuple(sorted(raw))
    assert found.labels.tolist() == [float(raw[key]["num"] > 0) for key in found.patient_keys]
    column = {name: found.features[:, number] for number, name in enumerate(found.feature_names)}
    for row, key in enumerate(found.patient_keys):
        source = raw[key]
        pressure, fat = source.get("trestbps", 0), source.get("chol", 0)
        assert column["birth_year"][row] == pytest.approx(np.clip((1988 - source["age"] - 1935) / 24, -1, 1), abs=1e-6)
        assert (column["sex=male"][row], column["sex=female"][row]) == (source["sex"], 1 - source["sex"])
        assert column["systolic_pressure"][row] == pytest.approx(np.clip((pressure - 135) / 45, -1, 1) if pressure else 0, abs=1e-6)
        assert column["cholesterol:missing"][row] == (fat == 0)
        assert column["cholesterol"][row] == pytest.approx(np.clip((fat - 250) / 130, -1, 1) if fat else 0, abs=1e-6)
        assert column["st_depression"][row] == pytest.approx(np.clip((source.get("oldpeak", 1.5) - 1.5) / 2.5, -1, 1), abs=1e-6)
        assert column["angina_at_exercise"][row] == (2 * source["exang"] - 1 if "exang" in source else 0)
        assert [column[f"chest_pain={kind}"][row] for kind in range(1, 5)] == [source["cp"] == kind for kind in range(1, 5)]
        assert column["thallium_scan:missing"][row] == ("thal" not in source)


def test_the_traps_of_the_real_data_are_in_the_report() -> None:
    swiss = extract(load(SAMPLE_TASKS / "heart.toml"), shared("heart", "switzerland"), quarantine=None).report
    assert "cholesterol: missing for 123 of 123 patients" in swiss.warnings()
    assert "only 8 of 123 patients are without the label" in swiss.warnings()
    for hospital in ("hungarian", "va"):
        assert extract(load(SAMPLE_TASKS / "heart.toml"), shared("heart", hospital), quarantine=None).report.duplicate_rows == 1
