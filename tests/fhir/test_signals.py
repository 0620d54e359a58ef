"""FHIR's SampledData as inputs of a model, sample by sample; and a whole training of a convolutional network on it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.fhir.errors import ViewError
from gateway.fhir.extract import check, extract
from gateway.fhir.inputs import input_names
from gateway.fhir.signals import parsed
from gateway.hospital.cohort import read_cohort
from gateway.hospital.plan import Plan, size_of
from gateway.hospital.summed import GroupSum, Updates
from gateway.task_file import TaskFileError, parse
from privacy.evaluation import exact_auc
from privacy.models import initial_parameters, predict
from tests.support.fhir_folders import TASK, condition, observation, patient, spoilt, write
from tests.support.noise_sources import Silent

SIGNAL = """
[[views]]
name = "ecg"
resource = "Observation"
[[views.select]]
column = [
    { name = "patient", path = "subject.getReferenceKey(Patient)" },
    { name = "at", path = "effective.ofType(dateTime)" },
    { name = "samples", path = "value.ofType(SampledData).data" },
    { name = "origin", path = "value.ofType(SampledData).origin.value" },
    { name = "factor", path = "value.ofType(SampledData).factor" },
    { name = "dimensions", path = "value.ofType(SampledData).dimensions" },
]

[signal]
view = "ecg"
column = "samples"
origin = "origin"
factor = "factor"
where = { dimensions = 1 }
time = "at"
shape = [4]
low = -10
high = 10
"""
MODEL = 'kind = "cnn"\nfilters = [6]\nkernel = 3\n'


def document(shape: str = "[4]") -> str:
    head, rest = TASK.split("[cohort]\n")
    rest = rest[: rest.index("[[features]]")].replace('kind = "logistic_regression"\n', MODEL)
    return head + SIGNAL.replace("shape = [4]", f"shape = {shape}") + "\n[cohort]\n" + rest


def recording(key: str, of: str, data: str, at: str = "2023-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    sampled = {"origin": {"value": 0}, "period": 2, "dimensions": 1, "data": data, **more}
    return observation(key, of, effectiveDateTime=at, valueSampledData=sampled)


def test_the_latest_recording_becomes_inputs(tmp_path: Path) -> None:
    resources = [
        *(patient(key) for key in "abcde"),
        condition("x", "a"),
        recording("new", "a", "0 5 -5 10", "2023-03-01"),
        recording("old", "a", "1 1 1 1", "2022-03-01"),
        recording("scaled", "b", "1 2 -3 4", factor=2, origin={"value": 1}),
        recording("limits", "c", "U L E 99"),
        recording("short", "d", "1 2 3"),
        recording("two leads", "e", "1 2 3 4", dimensions=2),
    ]
    found = extract(parse(document().encode()), write(tmp_path / "fhir", resources), quarantine=None)
    assert found.features.tolist() == [
        pytest.approx([0, 0.5, -0.5, 1]),
        pytest.approx([0.3, 0.5, -0.5, 0.9]),
        pytest.approx([1, -1, 0, 1]),
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert found.observed[2].tolist() == [True, True, False, True] and not found.observed[3:].any()
    (quality,) = found.report.features
    assert (quality.name, quality.missing, quality.clamped) == ("signal", 2, 1)
    assert dict(quality.rows.dropped) == {"another": 1, "samples": 1} and quality.rows.kept == 3
    assert any("samples are unreadable" in sentence for sentence in found.report.warnings())
    assert found.feature_names == input_names(parse(document().encode())) == ("signal[1]", "signal[2]", "signal[3]", "signal[4]")


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ("1 -2.5 .5", [1, -2.5, 0.5]),
        ("E U L", [np.nan, np.inf, -np.inf]),
        ("", []),
        ("1 nan", None),
        ("inf", None),
        ("1e5", None),
        ("1,2", None),
        ("٣", None),
        ("1 x", None),
    ],
)
def test_only_fhirs_own_numbers_are_samples(text: str, samples: list[float] | None) -> None:
    found = parsed(text)
    assert found is None if samples is None else np.array_equal(np.asarray(found), samples, equal_nan=True)


def test_with_an_index_only_what_was_recorded_before_it_counts(tmp_path: Path) -> None:
    text = (
        document()
        .replace("[label]\n", '[index]\ndate = 2023-01-01\n\n[label]\ntime = "at"\n')
        .replace('view = "disease"\n\n', 'view = "onset"\n\n')
    )
    text = text.replace("[cohort]\n", """[[views]]
name = "onset"
resource = "Condition"
[[views.select]]
column = [
    { name = "patient", path = "subject.getReferenceKey(Patient)" },
    { name = "at", path = "onset.ofType(dateTime)" },
]

[cohort]
""")  # fmt: skip
    resources = [
        *(patient(key) for key in "ab"),
        condition("x", "a", onsetDateTime="2023-06-01T00:00:00Z"),
        recording("before", "a", "1 2 3 4", "2022-06-01T00:00:00Z"),
        recording("after", "a", "9 9 9 9", "2023-01-01T00:00:00Z"),
    ]
    found = extract(parse(text.encode()), write(tmp_path / "fhir", resources), quarantine=None)
    assert found.features[0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_three_hospitals_train_a_cnn_on_recordings(tmp_path: Path) -> None:
    """From resources to a model that finds a spike wherever it is: extraction, split, updates of each hospital, combination."""
    text = document("[12]").replace("learning_rate = 1.0", "learning_rate = 30.0").replace("clip = 1.0", "clip = 0.3")
    task, cohorts = parse(text.encode()), {}
    for number, mspid in enumerate(("A", "B", "C")):
        rng, resources = np.random.default_rng(number), []
        for row in range(70):
            samples = rng.normal(0, 1, 12)
            if row % 2:
                samples[rng.integers(1, 11)] += 9
                resources.append(condition(f"c{row}", f"p{row}"))
            resources += [patient(f"p{row}"), recording(f"o{row}", f"p{row}", " ".join(f"{value:.2f}" for value in samples))]
        folder = write(tmp_path / mspid, resources)
        cohorts[mspid] = read_cohort(task, folder, quarantine=None, salt=bytes(32), mspid=mspid)
    plan = Plan(task, {mspid: size_of(task, patients=len(each.train)) for mspid, each in cohorts.items()})
    updates, parameters = Updates(plan), initial_parameters(plan.spec, seed=1)
    assert plan.spec.inputs == 12 and plan.parameters == 6 * 3 + 6 + 6 + 1
    for _ in range(40):
        total = sum(updates.vector(each.train, parameters, noise=Silent()) for each in cohorts.values())
        parameters = updates.candidate([GroupSum(tuple(cohorts), np.asarray(total))], parameters)
    held_out = [each.test for each in cohorts.values()]
    scores = np.concatenate([predict(plan.spec, parameters, each.features) for each in held_out])
    area = exact_auc(scores, np.concatenate([each.labels for each in held_out]))
    assert area is not None and area > 0.95


def test_without_origin_and_factor_samples_are_values(tmp_path: Path) -> None:
    text = document().replace('origin = "origin"\nfactor = "factor"\n', "")
    resources = [patient("a"), patient("b"), condition("x", "a"), recording("o", "a", "1 2 3 4", factor=3, origin={"value": 5})]
    found = extract(parse(text.encode()), write(tmp_path / "fhir", resources), quarantine=None)
    assert found.features[0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_patient_with_many_recordings_is_one_row(tmp_path: Path) -> None:
    resources = [*(patient(key) for key in "ab"), condition("x", "a"), recording("o", "b", "1 2 3 4")]
    many = [recording(f"m{number}", "a", "9 9 9 9", f"2022-01-{number + 1:02d}") for number in range(28)]
    found = extract(parse(document().encode()), write(tmp_path / "fhir", [*resources, *many]), quarantine=None)
    assert found.features.shape == (2, 4)
    assert found.report.features[0].rows.dropped == {"another": 27}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("shape = [4]", "shape = []", "signal.shape = [] cannot be used"),
        ("shape = [4]", "shape = [2, 2, 2]", "signal.shape = [2, 2, 2] cannot be used"),
        ("shape = [4]", "shape = [200, 200]", "the signal has 40000 samples; at most 16384"),
        ("high = 10", "high = -10", "the signal needs low and high with low < high"),
        ('origin = "origin"', 'origin = "start"', "signal uses the column start"),
        ('time = "at"\nshape', "shape", "signal.time is missing"),
        ('time = "at"\nshape', 'time = "at"\nwindow_days = 3\nshape', "has no [index]"),
        ("kernel = 3", "kernel = 4", "kernel is 4; a convolution's width is odd"),
        ("kernel = 3", "kernel = 17", "model.kernel = 17 cannot be used"),
        ("filters = [6]\n", "", 'filters and kernel belong to a model of kind "cnn"'),
        ("filters = [6]", "filters = [300]", "model.filters.0 = 300 cannot be used"),
        ("kernel = 3", "kernel = 3\nbase = { digest = '" + "0" * 64 + "', adapter_rank = 2 }", "adapter_rank belongs to a transformer"),
    ],
)  # fmt: skip
def test_a_wrong_signal_gets_one_sentence(old: str, new: str, sentence: str) -> None:
    with pytest.raises(TaskFileError) as refused:
        parse(spoilt(document(), old, new))
    assert sentence in str(refused.value)


def test_a_task_with_nothing_to_predict_from_is_refused() -> None:
    text = document().replace(MODEL, 'kind = "logistic_regression"\n')
    assert parse(text.encode()).signal is not None  # any model may read it as plain inputs
    start = text.index("[signal]")
    with pytest.raises(TaskFileError, match="nothing to predict from"):
        parse((text[:start] + text[text.index("[cohort]") :]).encode())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('column = "samples"', 'column = "origin"', "origin of the view ecg is decimal; name a column of text"),
        ('factor = "factor"', 'factor = "samples"', "samples of the view ecg is string; name a column of number"),
        ('time = "at"\nshape', 'time = "samples"\nshape', "name a column of dates or times"),
        ("where = { dimensions = 1 }", 'where = { dimensions = "1" }', "cannot equal the column dimensions"),
    ],
)
def test_a_signal_that_its_view_cannot_give_is_refused(old: str, new: str, sentence: str) -> None:
    with pytest.raises(ViewError) as refused:
        check(parse(spoilt(document(), old, new)))
    assert sentence in str(refused.value)
