"""Task files: the samples parse, every mistake gets one sentence with its place."""

from pathlib import Path

import pytest

from gateway.errors import ExitCode, kind_of
from gateway.fhir.extract import check
from gateway.task_file import MAX_BYTES, TaskFileError, digest, load, parse
from tests.support.fhir_folders import SAMPLE_TASKS, TASK


def test_every_sample_is_a_task_whose_views_compile() -> None:
    samples = sorted(SAMPLE_TASKS.glob("*.toml"))
    assert {sample.name for sample in samples} >= {"breast-cancer.toml", "heart.toml"}
    for sample in samples:
        task = load(sample)
        assert {view.name for view in check(task).views.views} == {view.name for view in task.views}


def test_numbers_for_the_ledger_are_rounded_against_the_spender() -> None:
    text = TASK.replace("epsilon = 3.0", "epsilon = 0.1234567", 1).replace("delta = 1e-4", "delta = 3e-5")
    privacy = parse(text.encode()).privacy
    assert privacy.epsilon_micro == 123_456
    assert privacy.delta_inverse == 33_334
    assert parse(TASK.encode()).privacy.delta_inverse == 10_000
    assert parse(TASK.encode()).task.reward_micro == 10_000_000


@pytest.mark.parametrize(("patients", "rate"), [(10, 1.0), (64, 1.0), (128, 0.5), (300, 0.213333)])
def test_a_batch_size_becomes_a_rate_in_whole_millionths(patients: int, rate: float) -> None:
    task = parse(TASK.replace("sampling_rate = 1.0", "batch_size = 64").encode())
    assert task.training.rate_for(patients=patients) == rate


def test_the_digest_is_that_of_the_bytes() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("rounds = 2", "rounds = 2\nround = 3", "unknown key task.round"),
        ("rounds = 2", "rounds = true", "task.rounds = True cannot be used"),
        ("rounds = 2", 'rounds = "2"', "task.rounds = '2' cannot be used"),
        ("rounds = 2", "rounds = 0", "task.rounds = 0 cannot be used: input should be greater than or equal to 1"),
        ("rounds = 2\n", "", "task.rounds is missing"),
        ("minimum_hospitals = 3", "minimum_hospitals = 3\ngroup_size = 4", "minimum_hospitals is below task.group_size"),
        ("minimum_hospitals = 3", "minimum_hospitals = 2", "task.minimum_hospitals = 2 cannot be used"),
        ('purpose = "testing"', 'purpose = "test\\u0000ing"', "control or invisible characters"),
        ('purpose = "testing"', 'purpose = "test\\u202eing"', "control or invisible characters"),
        ("epsilon = 3.0", "epsilon = nan", "privacy.epsilon = nan cannot be used"),
        ("epsilon = 3.0", "epsilon = inf", "privacy.epsilon = inf cannot be used"),
        ("epsilon = 3.0", "epsilon = 0", "privacy.epsilon = 0 cannot be used"),
        ("sampling_rate = 1.0", "", "training: give either sampling_rate or batch_size"),
        ("sampling_rate = 1.0", "sampling_rate = 1.0\nbatch_size = 3", "training: give either sampling_rate or batch_size"),
        ("[privacy]", "[extra]\na = 1\n[privacy]", "unknown key extra"),
        ('kind = "logistic_regression"', 'kind = "mlp"', "model: hidden lists the layers"),
        ('kind = "logistic_regression"', 'kind = "logistic_regression"\nhidden = [3]', "model: hidden lists the layers"),
        ('kind = "logistic_regression"', 'kind = "forest"', "model.kind = 'forest' cannot be used"),
        ('view = "disease"', 'view = "diseases"', "label uses the view diseases, which is not defined; the views are person, lab, disease"),
        ('column = "value"', 'column = "valeu"', "feature glucose uses the column valeu, which the view lab does not have"),
        ('where = { code = "glucose" }', 'where = { kode = "glucose" }', "feature glucose uses the column kode"),
        ('name = "lab"', 'name = "person"', "the view person is defined twice"),
        ("high = 10", "high = 0", "feature glucose needs low and high with low < high"),
        ("high = 10\n", "", "feature glucose needs low and high"),
        ("high = 10", 'high = 10\ncategories = ["a"]', "feature glucose has bounds and categories"),
        ("low = 0\nhigh = 10", 'categories = ["a"]', 'feature glucose has categories, which have no mean; set aggregate = "mode"'),
        ("low = 0\nhigh = 10", 'categories = ["a", "a"]\naggregate = "mode"', "lists a category twice"),
        ("high = 10", 'high = 10\naggregate = "latest"', "has the aggregate latest, which needs time, the column that says when"),
        ("high = 10", 'high = 10\ntime = "at"', "time changes nothing of mean without an [index]; remove it"),
        (
            "high = 10",
            'high = 10\naggregate = "latest"\ntime = "at"\nwindow_days = 3',
            "looks back from an index, but the task has no [index]",
        ),
        ("high = 10", "high = 10\nwindow_days = 3", "window_days needs time"),
        ("high = 10", 'high = 10\naggregate = "time_since"\ntime = "at"', "time_since counts from the moment in its column"),
        ("high = 10", 'high = 10\nunit = "mg/dL"', "unit and unit_column belong together"),
        ("high = 10", 'high = 10\nloinc = "2345-7"', "loinc says how units convert"),
        ("high = 10", 'high = 10\nunit = "1"\nunit_column = "text"\naggregate = "count"', "categories and counts have no unit"),
        ('where = { code = "glucose" }', 'where = { code = "glu\u202ecose" }', "control or invisible characters"),
        ("[model]", "[index]\ndate = 2020-01-01\n[model]", "the task has an index, so the label needs time"),
        ("[model]", "[index]\n[model]", "index: give a date, or a view and its time"),
        ("[model]", '[index]\ndate = 2020-01-01\nview = "lab"\n[model]', "index: give a date, or a view and its time"),
        ('view = "disease"\n\n[model]', 'view = "disease"\ngap_days = 3\n\n[model]', "gap_days and horizon_days need time"),
        ('view = "disease"\n\n[model]', 'view = "lab"\ntime = "at"\n\n[model]', "label has time, but the task has no [index]"),
        ('view = "disease"\n\n[model]', 'view = "lab"\ntime = "at"\ngap_days = -1\n[model]', "gap_days = -1 cannot be used"),
        ('view = "disease"\n\n[model]', 'view = "lab"\ntime = "at"\ngap_days = 9\nhorizon_days = 9\n[model]', "must be larger"),
        ("[model]", '[index]\nview = "lab"\ntime = "when"\n[model]', "index uses the column when, which the view lab does not have"),
        ('name = "disease"\nview', 'name = "disease"\npositive = ["x"]\nview', "column and positive belong together"),
        ('{ name = "born", path', '{ name = "patient", path', "view person names the column patient twice"),
        ('name = "patient", path = "getResourceKey()"', 'name = "person", path = "id"', "cohort uses the column patient"),
        ('resource = "Observation"', 'resource = "Observation; DROP"', "resource = 'Observation; DROP' cannot be used"),
        ('name = "at", path', 'name = "a\\"t", path', "cannot be used"),
    ],
)
def test_a_mistake_gets_one_sentence(old: str, new: str, sentence: str) -> None:
    assert old in TASK
    with pytest.raises(TaskFileError) as error:
        parse(TASK.replace(old, new, 1).encode(), source="task.toml")
    assert str(error.value).startswith("task.toml")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert kind_of(error.value).exit_code == ExitCode.BAD_INPUT


def test_distributed_noise_needs_one_local_step() -> None:
    text = TASK.replace("learning_rate = 1.0", "learning_rate = 1.0\nlocal_steps = 2").replace(
        "clip = 1.0", 'clip = 1.0\nmode = "distributed"'
    )
    with pytest.raises(TaskFileError, match=r"set training\.local_steps to 1"):
        parse(text.encode())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a = ", "is not TOML"),
        (b"\xff", "is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), "at most"),
        (b"a = " + b"[" * 5000, "nests too deep"),
        (b"views = [" + b"{select = [" * 100 + b"]}" * 100 + b"]", "task is missing"),
    ],
)
def test_bytes_that_are_no_task_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(TaskFileError, match=sentence):
        parse(data)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match=r"cannot read the task file .*none.toml: No such file"):
        load(tmp_path / "none.toml")
