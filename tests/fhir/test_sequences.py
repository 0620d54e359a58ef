"""Rows before the index as steps: against plain Python over the same visits, and what never becomes a step."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.database import Database
from gateway.fhir.errors import ViewError
from gateway.fhir.extract import Matrix, check, extract, matrix
from gateway.fhir.inputs import input_names
from gateway.task_file import TaskFile, TaskFileError, parse
from tests.support.fhir_folders import ONSET, TASK, condition, patient, spoilt, write

INDEX = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
STEPS, WINDOW = 3, 100
BLOCKS = """
[[views]]
name = "visit"
resource = "Encounter"
[[views.select]]
column = [
    { name = "patient", path = "subject.getReferenceKey(Patient)" },
    { name = "start", path = "period.start" },
    { name = "class", path = "class.code" },
    { name = "minutes", path = "length.value" },
]

[index]
date = 2023-01-01

[sequence]
view = "visit"
time = "start"
window_days = 100
steps = 3

[[sequence.columns]]
name = "class"
column = "class"
categories = ["AMB", "EMER"]

[[sequence.columns]]
name = "minutes"
column = "minutes"
low = 0
high = 60

[label]
name = "disease"
view = "onset"
time = "at"
"""
MODEL = 'kind = "transformer"\ndimension = 8\nheads = 2\nblocks = 1\n'
WIDTH = 5
EMPTY = [0.0] * WIDTH


def document() -> str:
    head, rest = TASK.split('[label]\nname = "disease"\nview = "disease"\n')
    return head + ONSET + BLOCKS + rest[: rest.index("[[features]]")].replace('kind = "logistic_regression"\n', MODEL)


def visit(key: str, of: str, start: str | None, code: str = "AMB", minutes: float | None = 30) -> dict[str, Any]:
    found: dict[str, Any] = {"resourceType": "Encounter", "id": key, "status": "finished", "class": {"code": code}}
    found["subject"] = {"reference": f"Patient/{of}"}
    found |= {} if start is None else {"period": {"start": start}}
    return found | ({} if minutes is None else {"length": {"value": minutes}})


def run(task: TaskFile, visits: list[dict[str, Any]], patients: str = "ab") -> Matrix:
    """The matrix. Validation is another test's business."""
    sql = check(task)
    database = Database(sql.views)
    try:
        database.insert("Patient", [json.dumps(patient(key)) for key in patients])
        database.insert("Condition", [json.dumps(condition("c", patients[0], onsetDateTime="2023-05-01T00:00:00Z"))])
        if visits:
            database.insert("Encounter", [json.dumps(each) for each in visits])
        return matrix(task, sql, database)
    finally:
        database.close()


def steps(found: Matrix, row: int = 0) -> list[list[float]]:
    values: list[list[float]] = found.features[row].reshape(STEPS, WIDTH).tolist()
    return values


def test_the_last_rows_before_the_index_in_the_order_of_time() -> None:
    visits = [
        visit("v4", "a", "2022-12-31T00:00:00Z", "EMER", 60),
        visit("v1", "a", "2022-10-03T00:00:00Z"),
        visit("v3", "a", "2022-11-12T00:00:00Z", "VR", None),
        visit("v2", "a", "2022-10-13T00:00:00Z", "AMB", 90),
        visit("b1", "b", "2022-12-02T00:00:00Z", "AMB", 0),
        visit("after", "a", "2023-01-01T00:00:00Z"),
        visit("unsure", "a", "2023"),
        visit("when", "a", None),
        visit("long ago", "a", "2022-01-01T00:00:00Z"),
        visit("stranger", "z", "2022-12-01T00:00:00Z"),
    ]
    found = run(parse(document().encode()), visits)
    assert steps(found) == pytest.approx(
        np.array([[1, 1 - 2 * 80 / 100, 1, 0, 1], [1, 1 - 2 * 50 / 100, 0, 0, 0], [1, 1 - 2 * 1 / 100, 0, 1, 1]]), abs=1e-6
    )
    assert steps(found, 1) == [EMPTY, EMPTY, pytest.approx([1, 1 - 2 * 30 / 100, 1, 0, -1])]
    assert found.observed.reshape(2, STEPS, WIDTH)[0, 1].tolist() == [True, True, False, False, False]
    assert found.observed[1].all()
    (quality,) = found.qualities
    assert (quality.name, quality.missing, quality.clamped) == ("sequence", 0, 1)
    assert dict(quality.rows.dropped) == {"after-index": 2, "before-window": 1, "earlier": 1, "no-time": 1, "not-in-cohort": 1}
    assert (quality.rows.read, quality.rows.kept) == (10, 4)


def test_a_patient_without_rows_has_no_step() -> None:
    found = run(parse(document().encode()), [visit("v", "a", "2022-12-31T00:00:00Z")])
    assert steps(found, 1) == [EMPTY] * STEPS
    assert found.observed[1].reshape(STEPS, WIDTH).tolist() == [[True, False, False, False, False]] * STEPS
    assert found.qualities[0].missing == 1


def test_names_say_step_and_column() -> None:
    names = input_names(parse(document().encode()))
    assert names[:WIDTH] == ("sequence[1]", "sequence[1]:recency", "sequence[1].class=AMB", "sequence[1].class=EMER", "sequence[1].minutes")
    assert len(names) == STEPS * WIDTH


times = st.datetimes(datetime.datetime(2022, 6, 1), datetime.datetime(2023, 3, 1), timezones=st.just(datetime.UTC))
entries = st.lists(st.tuples(times, st.sampled_from(["AMB", "EMER", "VR"]), st.none() | st.integers(-10, 90)), max_size=8)


@given(entries)
@settings(deadline=None, max_examples=25)
def test_steps_are_those_of_plain_python(found: list[tuple[datetime.datetime, str, int | None]]) -> None:
    visits = [visit(f"v{number}", "a", at.isoformat(timespec="seconds"), code, minutes) for number, (at, code, minutes) in enumerate(found)]
    second = datetime.timedelta(seconds=1)
    whole = [(at.replace(microsecond=0), code, minutes) for at, code, minutes in found]
    used = [each for each in whole if INDEX - datetime.timedelta(days=WINDOW) <= each[0] and each[0] + second <= INDEX]
    expected = []
    for at, code, minutes in sorted(used, key=lambda each: each[0])[-STEPS:]:
        recency = 1 - 2 * ((INDEX - at) / datetime.timedelta(days=1)) / WINDOW
        value = 0.0 if minutes is None else min(1.0, max(-1.0, 2 * minutes / 60 - 1))
        expected.append([1.0, recency, float(code == "AMB"), float(code == "EMER"), value])
    padded = [EMPTY] * (STEPS - len(expected)) + expected
    if len({at for at, _, _ in used}) == len(used):  # rows of one second have an order, but not that of the list
        assert np.array(steps(run(parse(document().encode()), visits))) == pytest.approx(np.array(padded), abs=1e-6)


def test_what_happened_after_the_index_changes_nothing() -> None:
    task, before = parse(document().encode()), [visit("v", "a", "2022-12-01T00:00:00Z")]
    later = [visit(f"w{day}", "a", f"2023-02-{day:02d}T00:00:00Z", "EMER") for day in range(1, 9)]
    assert np.array_equal(run(task, before).features, run(task, [*later, *before]).features)


def test_a_folder_becomes_one_row_a_patient(tmp_path: Path) -> None:
    resources = [
        *(patient(key) for key in "abc"),
        condition("c", "b", onsetDateTime="2023-05-01T00:00:00Z"),
        *(visit(f"v{number}", "abc"[number % 3], f"2022-12-{number + 1:02d}T10:00:00Z") for number in range(12)),
    ]
    found = extract(parse(document().encode()), write(tmp_path / "fhir", resources), quarantine=None)
    assert found.features.shape == (3, STEPS * WIDTH) and found.labels.tolist() == [0, 1, 0]
    assert (found.features.reshape(3, STEPS, WIDTH)[:, :, 0] == 1).all()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("steps = 3", "steps = 0", "sequence.steps = 0 cannot be used"),
        ("steps = 3", "steps = 257", "sequence.steps = 257 cannot be used"),
        ("window_days = 100\n", "", "sequence.window_days is missing"),
        ('time = "start"', 'time = "begin"', "sequence uses the column begin, which the view visit does not have"),
        ('name = "minutes"\ncolumn', 'name = "class"\ncolumn', "two columns of the sequence have one name"),
        ("high = 60", "high = 0", "needs low and high with low < high"),
        ("high = 60\n", "", "needs low and high with low < high"),
        ('["AMB", "EMER"]', '["AMB", "AMB"]', "lists a category twice"),
        ("[index]\ndate = 2023-01-01\n", "", "has no [index]"),
        ("heads = 2", "heads = 3", "dimension is 8; it must be a multiple of twice the 3 heads"),
        ("blocks = 1\n", "", 'dimension and heads and blocks belong to a model of kind "transformer"'),
        ("blocks = 1", "blocks = 25", "model.blocks = 25 cannot be used"),
        ("blocks = 1", "blocks = 1\nkernel = 3", 'filters and kernel belong to a model of kind "cnn"'),
        ("blocks = 1", 'blocks = 1\nbase = { digest = "x" }', "model.base.digest"),
        ("blocks = 1", "blocks = 1\n[model.base]\ndigest = '" + "0" * 64 + "'\nadapter_rank = 65", "model.base.adapter_rank = 65"),
        (MODEL, 'kind = "cnn"\nfilters = [4]\nkernel = 3\n', 'a model of kind "cnn" reads a signal; add the section [signal]'),
    ],
)
def test_a_wrong_sequence_gets_one_sentence(old: str, new: str, sentence: str) -> None:
    with pytest.raises(TaskFileError) as refused:
        parse(spoilt(document(), old, new))
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('column = "minutes"\nlow', 'column = "class"\nlow', "class of the view visit is a column of text"),
        ('column = "minutes"\nlow', 'column = "start"\nlow', "start of the view visit is a column of moment"),
        ('time = "start"', 'time = "class"', "class of the view visit is code; name a column of dates or times"),
        ('view = "visit"\ntime = "start"', 'view = "person"\ntime = "born"', "nothing in a Patient says since when"),
    ],
)
def test_a_sequence_that_its_view_cannot_give_is_refused(old: str, new: str, sentence: str) -> None:
    text = document()
    if "person" in new:
        text = text.replace('column = "class"\ncat', 'column = "gender"\ncat').replace('column = "minutes"\nlow', 'column = "born"\nlow')
    with pytest.raises(ViewError) as refused:
        check(parse(spoilt(text, old, new)))
    assert sentence in str(refused.value)
