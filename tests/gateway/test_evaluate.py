"""What leaves a hospital about its held-out patients: noisy, paid for first, and once."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fabric.client.errors import ContractRefused
from gateway.fhir.quality import LineCounts, QualityReport
from gateway.hospital import evaluate as evaluating
from gateway.hospital.cohort import Cohort, Patients
from gateway.hospital.evaluate import NOTHING, evaluate, keep_evaluation
from gateway.hospital.plan import Plan, Size, evaluation_event, quality_event
from gateway.hospital.state import StateStore
from gateway.hospital.timing import Stopwatch
from gateway.hospital.told_quality import private_quality_ppm, told_quality_ppm
from gateway.researcher.evaluations import parse_evaluation
from gateway.task_file import MICRO, parse
from privacy.accounting import epsilon_at_orders
from privacy.evaluation import score_histogram
from privacy.models import predict
from privacy.noise import NoiseSource
from privacy.noisy_evaluation import BINS
from tests.support.hospitals import task_document
from tests.support.noise_sources import Silent

FILE = parse(task_document())
PLAN = Plan(FILE, {name: Size(80, 80) for name in ("A", "B", "C")})
MODEL = np.array([1.0, -1.0, 0.0])
KEY = b"e" * 32


def _part(patients: int, positive: int, seed: int) -> Patients:
    values = np.random.default_rng(seed).normal(size=(patients, 2))
    labels = (np.arange(patients) < positive).astype(np.float32)
    observed = np.random.default_rng(seed + 1).random(size=values.shape) < 0.75
    return Patients(values, observed, labels, tuple(f"secret-{seed}-{n}" for n in range(patients)))


def _cohort(test: Patients) -> Cohort:
    report = QualityReport(1, LineCounts(100, 100, {}), "", 150, 0, 70, 80, 0, ())
    return Cohort(report, "", _part(80, 40, 1), _part(20, 10, 2), test)


def _released(test: Patients, noise: NoiseSource) -> dict[str, Any]:
    return evaluate(PLAN, _cohort(test), MODEL, mspid="A", task_id="t", seconds={}, noise=noise)


def test_only_noisy_counts_and_public_numbers_leave() -> None:
    test = _part(37, 19, 3)
    found = _released(test, NoiseSource(KEY))
    assert found.keys() == {
        *("schema_version", "mspid", "task_id", "patients", "parameters", "upload_bytes", "federated", "statement", "seconds")
    }
    assert found["patients"] == 80  # who train, as the approval tells
    text = json.dumps(found)
    assert "secret" not in text and "37" not in text.replace(json.dumps(found["federated"]), "")
    exact = score_histogram(predict(PLAN.spec, MODEL, test.features), test.labels, BINS)
    told = parse_evaluation(text.encode()).federated
    assert told.positives != exact.positives
    silent = parse_evaluation(json.dumps(_released(test, Silent())).encode()).federated
    assert (silent.positives, silent.negatives) == (exact.positives, exact.negatives)
    assert told.deviation == evaluation_event(FILE).noise_multiplier


def test_whatever_depends_on_held_out_patients_has_noise() -> None:
    """With the same noise, releases about other patients differ in the counts alone."""
    one, other = _released(_part(37, 19, 3), NoiseSource(KEY)), _released(_part(5, 0, 9), NoiseSource(KEY))
    assert {name: value for name, value in one.items() if name != "federated"} == {
        name: value for name, value in other.items() if name != "federated"
    }


def test_a_release_carries_its_statement() -> None:
    statement = _released(_part(30, 15, 3), NoiseSource(KEY))["statement"]
    assert statement.keys() == {
        *("unit", "neighbours", "partition", "mechanism", "noise_multiplier", "accountant", "epsilon", "delta", "trust_model")
    }
    assert statement["epsilon"] == epsilon_at_orders([evaluation_event(FILE)], delta=1e-3)
    assert (statement["partition"], statement["delta"], statement["trust_model"]) == ("test", 1e-3, "local")


class LedgerOfDebits:
    """Keeps what is debited; refuses with `refusal` where that is set."""

    def __init__(self, refusal: str = "") -> None:
        self.debits: list[tuple[str, tuple[int, ...]]] = []
        self.refusal = refusal

    async def debit_release(self, *, release: str, spends: list[Any], **_: Any) -> None:
        if self.refusal:
            raise ContractRefused(self.refusal, "a sentence that says why")
        self.debits.append((release, tuple(spend.noise_multiplier_micro for spend in spends)))


def _context(folder: Path, ledger: LedgerOfDebits, *, release: bool = True) -> Any:
    config = SimpleNamespace(policy=SimpleNamespace(release_evaluation=release), budget=SimpleNamespace(dataset="records"))
    return SimpleNamespace(config=config, ledger=ledger, state=StateStore(folder), mspid="A")


def _task() -> Any:
    return SimpleNamespace(terms=SimpleNamespace(task_id="t"), decision=lambda mspid: SimpleNamespace(dataset="records"))


def _rounds(test: Patients) -> Any:
    async def normalisation(task: Any) -> None:
        return None

    async def latest_parameters(task: Any) -> Any:
        return MODEL

    return SimpleNamespace(
        plan=PLAN, cohort=_cohort(test), stopwatch=Stopwatch(), normalisation=normalisation, latest_parameters=latest_parameters
    )


async def test_the_debit_comes_first_and_a_crash_after_it_makes_the_evaluation_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = LedgerOfDebits()
    context = _context(tmp_path / "state", ledger)

    def crash(*_: Any, **__: Any) -> None:
        assert ledger.debits
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(evaluating, "evaluate", crash)
        with pytest.raises(KeyboardInterrupt):
            await keep_evaluation(context, _task(), _rounds(_part(30, 15, 3)))
    assert context.state.evaluation("t") is None
    ledger.refusal = "ALREADY_DEBITED"
    await keep_evaluation(context, _task(), _rounds(_part(30, 15, 3)))
    assert ledger.debits == [("evaluation", (round(evaluation_event(FILE).noise_multiplier * MICRO),))]
    assert parse_evaluation(context.state.evaluation("t"))
    context.state.close()


@pytest.mark.parametrize(("release", "refusal"), [(False, ""), (True, "BUDGET_EXCEEDED"), (True, "NOT_FOUND")])
async def test_where_nothing_may_be_told_nothing_is_made(tmp_path: Path, release: bool, refusal: str) -> None:
    ledger = LedgerOfDebits(refusal)
    context = _context(tmp_path / "state", ledger, release=release)
    await keep_evaluation(context, _task(), _rounds(_part(30, 15, 3)))
    assert context.state.evaluation("t") == NOTHING and not ledger.debits
    context.state.close()


async def test_the_quality_is_drawn_once_and_paid_for_once(tmp_path: Path) -> None:
    ledger = LedgerOfDebits()
    context = _context(tmp_path / "state", ledger)
    cohort = _cohort(_part(400, 200, 3))
    told = await told_quality_ppm(context, FILE, cohort, task_id="t")
    ledger.refusal = "ALREADY_DEBITED"
    assert await told_quality_ppm(context, FILE, cohort, task_id="t") == told
    assert ledger.debits == [("quality", (round(quality_event(FILE).noise_multiplier * MICRO),))]
    ledger.refusal = "BUDGET_EXCEEDED"
    assert await told_quality_ppm(context, FILE, cohort, task_id="another") == 0
    ledger.refusal = "WRONG_PHASE"
    with pytest.raises(ContractRefused):
        await told_quality_ppm(context, FILE, cohort, task_id="a third")
    context.state.close()


def _told(patients: Patients, noise: Any, *, noise_multiplier: float = 2.0) -> int:
    """In a hospital where 400 held-out patients are to be expected."""
    return private_quality_ppm(patients, training=747, noise_multiplier=noise_multiplier, noise=noise)


def test_the_quality_is_about_the_share_that_is_there() -> None:
    test = _part(400, 200, 3)
    assert _told(test, Silent()) == pytest.approx(float(test.observed.mean()) * MICRO, rel=0.01)
    drawn = [_told(test, NoiseSource(bytes([n]) * 32)) for n in range(40)]
    assert np.std(drawn) == pytest.approx(2.0 / 400 * MICRO, rel=0.5)
    assert 0 <= _told(test, NoiseSource(KEY), noise_multiplier=1e6) <= MICRO


def test_one_patient_moves_the_quality_by_at_most_one_share() -> None:
    test = _part(400, 200, 3)
    all_missing = Patients(test.features, np.where(np.arange(400)[:, None] == 7, False, test.observed), test.labels, test.keys)
    moved = abs(_told(all_missing, Silent()) - _told(test.without({"secret-3-7"}), Silent()))
    assert moved <= math.ceil(MICRO / 400) + 1
