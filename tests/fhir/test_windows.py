"""Index, windows and labels against plain Python over the same resources, and the one thing that must never happen: a look ahead."""

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, linear_regression
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.database import Database
from gateway.fhir.errors import ViewError
from gateway.fhir.extract import Matrix, check, extract, matrix
from gateway.fhir.task_sql import TaskSql
from gateway.task_file import TaskFile, parse
from tests.support.fhir_folders import ONSET, TASK, condition, observation, patient, write

DAY = datetime.timedelta(days=1)
SLACK = datetime.timedelta(hours=14)
GAP, HORIZON, WINDOW = 3, 40, 30

VIEWS = """
[[views]]
name = "visit"
resource = "Encounter"
[[views.select]]
column = [
    { name = "patient", path = "subject.getReferenceKey(Patient)" },
    { name = "start", path = "period.start" },
    { name = "end", path = "period.end" },
]
"""
INDEX = '[index]\nview = "visit"\ntime = "start"\n'
LABEL = f'[label]\nname = "disease"\nview = "onset"\ntime = "at"\ngap_days = {GAP}\nhorizon_days = {HORIZON}\n'
AGGREGATES = ("mean", "min", "max", "first", "latest", "count", "slope")


def _feature(name: str, lines: str) -> str:
    return f'\n[[features]]\nname = "{name}"\nmissing = "indicator"\n{lines}'


def _windowed(index: str = INDEX, features: str = "", label: str = LABEL) -> TaskFile:
    head, rest = TASK.split('[label]\nname = "disease"\nview = "disease"\n')
    rest = rest[: rest.index("[[features]]")]
    return parse((head + VIEWS + ONSET + index + label + rest + features).encode())


def _lab(aggregate: str, more: str = f"window_days = {WINDOW}\n") -> str:
    return _feature(
        aggregate,
        f'view = "lab"\ncolumn = "value"\nwhere = {{ code = "glucose" }}\ntime = "at"\naggregate = "{aggregate}"\n{more}'
        'low = -100\nhigh = 100\noutside = "clamp"\n',
    )


ALL = "".join(_lab(aggregate) for aggregate in AGGREGATES) + _feature(
    "since", 'view = "onset"\ncolumn = "at"\naggregate = "time_since"\nlow = 0\nhigh = 2000\noutside = "clamp"\n'
)


@cache
def _compiled(index: str) -> tuple[TaskFile, TaskSql]:
    task = _windowed(index, ALL)
    return task, check(task)


def encounter(key: str, of: str, start: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": key,
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": f"Patient/{of}"},
        "period": {"start": start, **more},
    }


@dataclass(frozen=True)
class Hospital:
    """What happened to the patients a, b and c: who, when, and what was measured."""

    visits: Sequence[tuple[str, str]]
    labs: Sequence[tuple[str, str | None, float]]
    onsets: Sequence[tuple[str, str | None]]

    def resources(self) -> dict[str, list[dict[str, Any]]]:
        def at(name: str, moment: str | None) -> dict[str, str]:
            return {} if moment is None else {name: moment}

        return {
            "Patient": [patient(key) for key in "abc"],
            "Encounter": [encounter(f"e{number}", *visit) for number, visit in enumerate(self.visits)],
            "Observation": [
                observation(f"o{number}", of, valueQuantity={"value": value}, **at("effectiveDateTime", moment))
                for number, (of, moment, value) in enumerate(self.labs)
            ],
            "Condition": [condition(f"c{number}", of, **at("onsetDateTime", moment)) for number, (of, moment) in enumerate(self.onsets)],
        }


def run(hospital: Hospital, index: str = INDEX) -> tuple[Matrix, dict[str, int]]:
    """The matrix and the label's rows by reason. Validation is another test's business."""
    task, sql = _compiled(index)
    database = Database(sql.views)
    try:
        for resource, found in hospital.resources().items():
            if found:
                database.insert(resource, [json.dumps(each) for each in found])
        made = matrix(task, sql, database)
        return made, dict(database.rows("SELECT reason, count(*) FROM task.label_rows GROUP BY reason", []))
    finally:
        database.close()


@dataclass(frozen=True)
class Period:
    begun: datetime.datetime
    ended: datetime.datetime
    zoned: bool


def period(moment: str) -> Period:
    """What the text may mean, in Python's own calendar."""
    if "T" in moment:
        begun = datetime.datetime.fromisoformat(moment)
        return Period(begun, begun + datetime.timedelta(milliseconds=1 if "." in moment else 1000), True)
    year, month, day = (*map(int, moment.split("-")), 0, 0)[:3]
    begun = datetime.datetime(year, month or 1, day or 1, tzinfo=datetime.UTC)
    if day:
        return Period(begun, begun + DAY, False)
    after = (year + 1, 1) if month in (0, 12) else (year, month + 1)
    return Period(begun, datetime.datetime(*after, 1, tzinfo=datetime.UTC), False)


@dataclass(frozen=True)
class Index:
    begun: datetime.datetime
    ended: datetime.datetime
    notations: frozenset[bool]
    """Whether the rows that may be the first one say their zone."""

    def slack(self, of: Period) -> datetime.timedelta:
        return SLACK if self.notations - {of.zoned} else datetime.timedelta()


def index_of(visits: Sequence[str], since: datetime.datetime | None = None) -> Index | None:
    periods = [each for each in map(period, visits) if since is None or each.begun >= since]
    if not periods:
        return None
    ended = min(each.ended for each in periods)
    return Index(min(each.begun for each in periods), ended, frozenset(each.zoned for each in periods if each.begun < ended + SLACK))


def known(moment: str | None, index: Index) -> bool:
    return moment is not None and period(moment).ended + index.slack(period(moment)) <= index.begun


def days(index: Index, moment: str) -> float:
    return (period(moment).begun - index.begun) / DAY


def aggregated(name: str, rows: Sequence[tuple[float, float]]) -> float | None:
    """One aggregate over (day, value) rows."""
    values = [value for _, value in rows]
    if name == "count":
        return len(values)
    if not values or (name == "slope" and len({day for day, _ in rows}) < 2):
        return None
    if name == "slope":
        return linear_regression([day for day, _ in rows], values).slope
    plain = {"mean": fmean, "min": min, "max": max}
    return plain[name](values) if name in plain else (min(rows) if name == "first" else max(rows))[1]


def expected(hospital: Hospital, key: str, index: Index) -> list[float]:
    """The row of the matrix: for each feature its scaled value and whether it is missing."""
    rows = [
        (days(index, moment), value)
        for of, moment, value in hospital.labs
        if of == key and moment is not None and known(moment, index) and period(moment).begun >= index.begun - WINDOW * DAY
    ]
    row: list[float] = []
    for name in AGGREGATES:
        number = aggregated(name, rows)
        row += [0.0, 1.0] if number is None else [max(-1.0, min(1.0, number / 100)), 0.0]
    since = [-days(index, moment) for of, moment in hospital.onsets if of == key and moment is not None and known(moment, index)]
    return [*row, *([min(since) / 1000 - 1, 0.0] if since else [0.0, 1.0])]


def label(moments: Sequence[str | None], index: Index) -> int | None:
    """1, 0, or None where nobody can say."""
    unsure = False
    for moment in moments:
        if moment is None:
            unsure = True
            continue
        found, slack = period(moment), index.slack(period(moment))
        early = found.ended + slack <= index.begun + GAP * DAY
        late = found.begun - slack >= index.ended + HORIZON * DAY
        inside = found.begun - slack >= index.ended + GAP * DAY and found.ended + slack <= index.begun + HORIZON * DAY
        if inside:
            return 1
        unsure |= not early and not late
    return None if unsure else 0


@st.composite
def _moment(draw: st.DrawFn) -> str:
    start = datetime.datetime(2020, 1, 1) + datetime.timedelta(minutes=draw(st.integers(0, 120 * 24 * 60)))
    form = draw(st.sampled_from(["%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "time", "time", "time"]))
    if form != "time":
        return start.strftime(form)
    zone = draw(st.sampled_from(["Z", "+00:00", "-06:00", "+14:00"]))
    return start.strftime("%Y-%m-%dT%H:%M:%S") + draw(st.sampled_from(["", ".5"])) + zone


moments = _moment()
people = st.sampled_from("abc")
hospitals = st.builds(
    Hospital,
    st.lists(st.tuples(people, moments), max_size=6),
    st.lists(st.tuples(people, moments | st.none(), st.integers(-90, 90).map(float)), max_size=14),
    st.lists(st.tuples(people, moments | st.none()), max_size=5),
)
INDICES = {INDEX: None, "[index]\ndate = 2020-02-01\n" + INDEX[8:]: datetime.datetime(2020, 2, 1, tzinfo=datetime.UTC)}


@settings(max_examples=60, deadline=None)
@given(hospitals, st.sampled_from(list(INDICES)))
def test_every_aggregate_and_label_is_what_plain_python_says(hospital: Hospital, setting: str) -> None:
    found, _ = run(hospital, setting)
    indices = {key: index_of([moment for of, moment in hospital.visits if of == key], INDICES[setting]) for key in "abc"}
    labels = {
        key: label([moment for of, moment in hospital.onsets if of == key], index) for key, index in indices.items() if index is not None
    }
    keys = tuple(key for key in "abc" if labels.get(key) is not None)
    assert found.patient_keys == keys
    assert found.labels.tolist() == [labels[key] for key in keys]
    wanted = [expected(hospital, key, index) for key in keys if (index := indices[key]) is not None]
    assert found.features == pytest.approx(np.array(wanted, dtype=np.float32).reshape(len(keys), 2 * len(AGGREGATES) + 2), abs=2e-6)


@settings(max_examples=25, deadline=None)
@given(hospitals)
def test_rows_in_are_rows_kept_and_rows_dropped(hospital: Hospital) -> None:
    found, label_rows = run(hospital)
    for quality in found.qualities:
        rows = hospital.onsets if quality.name == "since" else hospital.labs
        assert quality.rows.read == len(rows) == quality.rows.kept + sum(quality.rows.dropped.values())
    assert sum(label_rows.values()) == len(hospital.onsets)


@settings(max_examples=60, deadline=None)
@given(hospitals, hospitals, st.data())
def test_nothing_after_the_index_changes_a_feature(hospital: Hospital, other: Hospital, data: st.DataObject) -> None:
    """Drop, change or add whatever is after a patient's index: all features stay, to the last bit."""
    indices = {key: index_of([moment for of, moment in hospital.visits if of == key]) for key in "abc"}

    def after(of: str, moment: str | None) -> bool:
        index = indices[of]
        return moment is None or (index is not None and period(moment).begun >= index.ended + SLACK)

    def changed(rows: Sequence[Any], new: Sequence[Any]) -> list[Any]:
        kept = [row for row in rows if not after(row[0], row[1]) or data.draw(st.booleans())]
        return kept + [row for row in new if indices[row[0]] is not None and after(row[0], row[1])]

    perturbed = Hospital(changed(hospital.visits, other.visits), changed(hospital.labs, other.labs), changed(hospital.onsets, other.onsets))
    before, later = run(hospital)[0], run(perturbed)[0]
    rows = {key: row.tobytes() for key, row in zip(before.patient_keys, before.features, strict=True)}
    for key, row in zip(later.patient_keys, later.features, strict=True):
        assert rows.get(key, row.tobytes()) == row.tobytes()


@pytest.mark.parametrize(
    ("visit", "lab", "used"),
    [
        ("2020-03-05", "2020-03-04", True),
        ("2020-03-05", "2020-03-05", False),  # perhaps in the evening, after the visit
        ("2020-03-05", "2020-02", True),
        ("2020-03-05", "2020-03", False),
        ("2020-03-05", "2020", False),
        ("2020-03-05", "2019", True),
        ("2020", "2019", True),
        ("2020", "2020-01-01", False),
        ("2020-03-05T10:00:00Z", "2020-03-05T09:59:59Z", True),
        ("2020-03-05T10:00:00Z", "2020-03-05T10:00:00Z", False),
        ("2020-03-05T10:00:00Z", "2020-03-05T11:30:00+02:00", True),
        ("2020-03-05T10:00:00.400Z", "2020-03-05T10:00:00Z", False),  # a second that had not ended
        ("2020-03-05T10:00:00.400Z", "2020-03-05T10:00:00.300Z", True),
        ("2020-03-05T20:00:00-06:00", "2020-03-05", False),  # that day may have been the visit's, after it
        ("2020-03-05T20:00:00-06:00", "2020-03-04", True),
        ("2020-03-05T10:00:00Z", "2020-03-04", False),  # west of Greenwich that day went on
        ("2020-03-05T14:00:00Z", "2020-03-04", True),
    ],
)
def test_only_what_certainly_was_before_the_index_is_used(visit: str, lab: str, used: bool) -> None:
    found, _ = run(Hospital([("a", visit)], [("a", lab, 5.0)], []))
    counts = {quality.name: quality.rows for quality in found.qualities}["count"]
    before = counts.kept + counts.dropped.get("before-window", 0)
    assert (before, counts.dropped.get("after-index", 0)) == ((1, 0) if used else (0, 1))


def test_a_value_that_is_a_later_moment_was_not_known(tmp_path: Path) -> None:
    """A stay that had begun before the index and ended after it: its end is no feature."""
    feature = _feature("end", 'view = "visit"\ncolumn = "end"\ntime = "start"\naggregate = "max"\nlow = 2000\nhigh = 2040\n')
    task = _windowed("[index]\ndate = 2020-01-10\n", feature)
    stays = [("a", "2020-01-01", "2020-02-01"), ("b", "2020-01-01", "2020-01-02")]
    resources = [
        *(patient(key) for key in "abc"),
        *(encounter(f"e{of}", of, start, end=end) for of, start, end in stays),
        condition("x", "c", onsetDateTime="2020-02-01"),
    ]
    found = extract(task, write(tmp_path, resources), quarantine=None)
    assert found.features[:, 1].tolist() == [1, 0, 1]
    assert found.report.features[0].rows.dropped == {"after-index": 1}


def test_patients_without_index_are_left_out_and_counted(tmp_path: Path) -> None:
    task = _windowed(features=_lab("mean"))
    resources = [
        *(patient(key) for key in "abcd"),
        *(encounter(f"e{of}", of, "2020-01-01T00:00:00Z") for of in "abc"),
        condition("x", "b", onsetDateTime="2020-01-20T00:00:00Z"),
        condition("y", "c", onsetDateTime="2020"),
    ]
    report = extract(task, write(tmp_path, resources), quarantine=None).report
    assert (report.cohort, report.without_index, report.unlabelled, report.positive, report.negative) == (4, 1, 1, 1, 1)
    assert (report.label_rows.read, report.label_rows.kept, report.label_rows.dropped) == (2, 1, {"uncertain": 1})
    assert "1 of 4 patients have no index and were left out" in report.warnings()


@pytest.mark.parametrize(
    ("feature", "sentence"),
    [
        (
            'view = "lab"\ncolumn = "value"\nlow = 0\nhigh = 1\n',
            "feature x: the task has an index, so the feature needs time, the column of the view lab that says",
        ),
        ('view = "dead"\ncolumn = "died"\nlow = 0\nhigh = 1\n', "its view dead reads deceasedDateTime of Patient"),
        ('view = "dead"\ncolumn = "born"\ntime = "born"\nlow = 1900\nhigh = 2100\n', "its view dead reads deceasedDateTime of Patient"),
        ('view = "lab"\ncolumn = "value"\ntime = "code"\nlow = 0\nhigh = 1\n', "code of the view lab is code; name a column of dates"),
        (
            'view = "onset"\ncolumn = "at"\naggregate = "time_since"\nunit = "kg"\nlow = 0\nhigh = 1\n',
            "days do not convert to kg; name a UCUM unit of time",
        ),
    ],
)
def test_a_feature_that_could_look_ahead_is_refused(feature: str, sentence: str) -> None:
    dead = """
[[views]]
name = "dead"
resource = "Patient"
[[views.select]]
column = [
    { name = "patient", path = "getResourceKey()" },
    { name = "born", path = "birthDate" },
    { name = "died", path = "deceased.ofType(dateTime)" },
]
"""
    task = _windowed(dead + INDEX, f'[[features]]\nname = "x"\n{feature}')
    with pytest.raises(ViewError) as error:
        check(task)
    assert sentence in str(error.value)


def test_what_was_always_known_needs_no_time() -> None:
    features = _feature("sex", 'view = "person"\ncolumn = "gender"\naggregate = "mode"\ncategories = ["male"]\n')
    age = _feature("age", 'view = "person"\ncolumn = "born"\naggregate = "time_since"\nunit = "a"\nlow = 0\nhigh = 100\n')
    sql = check(_windowed(features=features + age)).features
    assert "after-index" not in sql["sex"]
    assert "0.0027378507871321013" in sql["age"]  # 1 / 365.25


def test_a_later_visit_in_another_notation_changes_nothing() -> None:
    labs = [("a", "2020-03-05T08:00:00Z", 5.0)]
    for later in ([], [("a", "2020-06-01")]):
        found, _ = run(Hospital([("a", "2020-03-05T10:00:00Z"), *later], labs, []))
        assert found.qualities[0].rows.kept == 1
