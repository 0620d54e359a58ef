"""What a hospital decides by itself: whether to take part, and with which numbers."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.contract import budget as ledger_budget
from gateway.config import BudgetSection, PolicySection
from gateway.fhir.extract import Extracted
from gateway.hospital.cohort import with_intercepts
from gateway.hospital.misbehave import LAST_HONEST_ROUND, flipped_labels, forged_update, goes_silent, replays
from gateway.hospital.plan import (
    Plan,
    Size,
    column_names,
    evaluation_event,
    normalisation_event,
    numeric_columns,
    own_noise,
    own_normalisation_noise,
    quality_event,
    size_of,
    training_event,
)
from gateway.hospital.policy import decide
from gateway.task_file import MICRO, TaskFile, TaskFileError, parse
from privacy.accounting import SpendEvent
from privacy.noise import NoiseSource
from tests.support.hospitals import task_document

BUDGET = BudgetSection(dataset="records", epsilon=10, delta=1e-3)


def task(**changes: Any) -> TaskFile:
    text = task_document(**{key: value for key, value in changes.items() if key in ("rounds", "epsilon")}).decode()
    for section, line in changes.get("lines", {}).items():
        text = text.replace(f"[{section}]\n", f"[{section}]\n{line}\n", 1)
    for old, new in changes.get("replace", {}).items():
        assert old in text
        text = text.replace(old, new)
    return parse(text.encode())


SQL = "1" * 64


def policy(**changes: Any) -> PolicySection:
    return PolicySection(**{"approve": "automatic", "max_epsilon": 10.0, **changes})


def test_what_the_policy_allows_is_approved() -> None:
    assert decide(task(), policy=policy(), budget=BUDGET, patients=50, views_digest=SQL).verdict == "approve"


def test_sql_that_nobody_has_read_waits_for_a_person() -> None:
    pinned = policy(views_digests=("0" * 64,))
    found = decide(task(), policy=pinned, budget=BUDGET, patients=50, views_digest=SQL)
    assert (found.verdict, SQL in found.reason) == ("ask a person", True)
    assert decide(task(), policy=pinned, budget=BUDGET, patients=50, views_digest="0" * 64).verdict == "approve"
    assert decide(task(epsilon=11), policy=pinned, budget=BUDGET, patients=50, views_digest=SQL).verdict == "reject"


def test_a_hospital_whose_policy_wants_a_person_asks_one() -> None:
    assert decide(task(), policy=policy(approve="manual"), budget=BUDGET, patients=50, views_digest=SQL).verdict == "ask a person"


@pytest.mark.parametrize(
    ("changes", "settings_changed", "patients", "reason"),
    [
        ({"epsilon": 9}, {"max_epsilon": 8.0}, 50, "asks for epsilon 9, this hospital allows at most 8"),
        ({"epsilon": 11}, {"max_epsilon": 50.0}, 50, "asks for epsilon 11, this hospital allows at most 10"),
        ({}, {"purposes": ("research",)}, 50, "the purpose 'testing' is not among those"),
        ({}, {"minimum_patients": 60}, 50, "too few patients"),
        ({}, {"minimum_patients": 1}, 9, "at least 10 are needed"),
        ({"replace": {"delta = 1e-3": "delta = 1e-2"}}, {}, 50, "asks for delta 0.01, this hospital allows at most 0.001"),
    ],
)
@pytest.mark.parametrize("approve", ["automatic", "manual"])
def test_what_is_not_allowed_is_rejected_with_the_reason(
    changes: dict[str, Any], settings_changed: dict[str, Any], patients: int, reason: str, approve: str
) -> None:
    found = decide(task(**changes), policy=policy(approve=approve, **settings_changed), budget=BUDGET, patients=patients, views_digest=SQL)
    assert (found.verdict, reason in found.reason) == ("reject", True), found.reason


def spent(event: SpendEvent) -> tuple[int, ...]:
    """The ledger's own integer arithmetic."""
    noise, rate = round(event.noise_multiplier * MICRO), round(event.sampling_rate * MICRO)
    return ledger_budget.rdp_cost_micro(event.mechanism, noise, rate, event.steps)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.sampled_from([1.0, 3.0, 6.0, 10.0]), st.integers(10, 3000), st.sampled_from(["1.0", "0.5", "0.013"]))
def test_the_ledger_s_filter_allows_every_round_of_a_plan_and_not_twice_as_many(
    rounds: int, epsilon: float, patients: int, rate: str
) -> None:
    planned = task(rounds=rounds, epsilon=epsilon, replace={"sampling_rate = 1.0": f"sampling_rate = {rate}"})
    caps = ledger_budget.caps_micro(planned.privacy.epsilon_micro, planned.privacy.delta_inverse)
    cost = spent(training_event(planned, patients=patients))
    assert ledger_budget.fits(tuple((rounds - 1) * each for each in cost), cost, caps)
    assert not ledger_budget.fits(tuple((2 * rounds + 20) * each for each in cost), cost, caps)


def test_scores_of_every_round_fit_their_budget_too() -> None:
    planned = task(rounds=24, epsilon=6)
    plan = Plan(planned, {f"h{n}": Size(60, 60) for n in range(7)})
    assert plan.utilities_per_round == 2
    caps = ledger_budget.caps_micro(planned.privacy.score_epsilon_micro, planned.privacy.delta_inverse)
    cost = spent(plan.score_event())
    assert ledger_budget.fits(tuple(23 * each for each in cost), cost, caps)


def test_a_third_may_be_away_and_no_third_opens_anything() -> None:
    for hospitals in range(3, 17):
        plan = Plan(task(), {f"h{n:02d}": Size(60, 60) for n in range(hospitals)})
        assert plan.threshold * 3 >= 2 * hospitals > (plan.threshold - 1) * 3


def test_a_batch_size_weighs_hospitals_alike_whatever_their_size() -> None:
    planned = task(replace={"sampling_rate = 1.0": "batch_size = 10"})
    assert [size_of(planned, patients=patients).batch for patients in (5, 30, 3000)] == [5, 10, 10]
    assert training_event(planned, patients=30).sampling_rate == pytest.approx(1 / 3, abs=1e-6)


def test_in_mode_distributed_three_shares_of_noise_make_the_whole() -> None:
    local, shared = task(), task(lines={"privacy": 'mode = "distributed"'})
    assert 3 * own_noise(shared, patients=50) ** 2 == pytest.approx(own_noise(local, patients=50) ** 2)


def test_the_bound_of_a_group_is_that_of_honest_members() -> None:
    plan = Plan(task(), {"a": Size(60, 60), "b": Size(30, 30), "c": Size(90, 90)})
    assert plan.bound() > 90
    assert plan.group_bound(["a", "b", "c"]).norm > plan.group_bound(["a", "b"]).norm > 90
    assert plan.batch(["a", "c"]) == 150


@pytest.mark.parametrize("kind", [None, "label-flip", "noise", "replay", "scale", "offline"])
def test_cheating_is_confined_to_its_kind(kind: Any) -> None:
    labels = np.array([0, 1, 1], dtype=np.float32)
    vector = np.array([1.0, -2.0, 0.5])
    forge: Callable[[], Any] = lambda: forged_update(kind, vector, bound=50.0, noise=NoiseSource(bytes(32)))  # noqa: E731
    assert (flipped_labels(kind, labels) != labels).all() == (kind == "label-flip")
    assert np.array_equal(forge(), vector) == (kind not in ("noise", "scale"))
    assert np.abs(forge()).max() <= 50.0
    assert replays(kind, LAST_HONEST_ROUND + 1) == (kind == "replay") and not replays(kind, LAST_HONEST_ROUND)
    assert goes_silent(kind, LAST_HONEST_ROUND + 1) == (kind == "offline") and not goes_silent(kind, LAST_HONEST_ROUND)


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.9])
@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_a_task_that_normalises_stays_within_the_ledger_s_filter_and_uses_it_up(epsilon: float, share: float, rate: float) -> None:
    normalised = task(rounds=20, epsilon=epsilon, replace={"\n[training]": f"\n[normalisation]\nshare = {share}\n[training]"})
    caps = ledger_budget.caps_micro(normalised.privacy.epsilon_micro, normalised.privacy.delta_inverse)
    sampled = normalised.model_copy(update={"training": normalised.training.model_copy(update={"sampling_rate": rate})})
    events = [normalisation_event(sampled), *[training_event(sampled, patients=100)] * 20]
    done = (0,) * len(ledger_budget.ORDERS)
    for event in events:
        cost = spent(event)
        assert ledger_budget.fits(done, cost, caps)
        done = ledger_budget.add(done, cost)
    used = ledger_budget.epsilon_spent_micro(done, normalised.privacy.delta_inverse)
    assert 0.99 * normalised.privacy.epsilon_micro <= used <= normalised.privacy.epsilon_micro


def test_round_0_has_its_share_of_the_divergence_at_every_order() -> None:
    normalised = task(replace={"\n[training]": "\n[normalisation]\nshare = 0.25\n[training]"})
    alone = SpendEvent("gaussian", normalisation_event(normalised).noise_multiplier * 0.5, 1.0, 1)
    caps = ledger_budget.caps_micro(normalised.privacy.epsilon_micro, normalised.privacy.delta_inverse)
    assert ledger_budget.fits((0,) * len(caps), spent(alone), caps)
    louder = SpendEvent("gaussian", alone.noise_multiplier * 0.999, 1.0, 1)
    assert not ledger_budget.fits((0,) * len(caps), spent(louder), caps)


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 20), st.one_of(st.none(), st.floats(0.2, 1.0)))
def test_what_held_out_patients_give_stays_within_what_is_approved_and_uses_it_up(epsilon: float, share: float | None) -> None:
    """As the contract counts it: two debits, one after the other."""
    changed = task(epsilon=epsilon)
    chosen = {} if share is None else {"evaluation_epsilon": share * epsilon}
    file = changed.model_copy(update={"privacy": changed.privacy.model_copy(update=chosen)})
    delta_inverse = file.privacy.delta_inverse
    events = [quality_event(file), evaluation_event(file)]
    spent = (0,) * len(ledger_budget.ORDERS)
    caps = ledger_budget.caps_micro(file.privacy.evaluation_epsilon_micro, delta_inverse)
    for event in events:
        cost = ledger_budget.rdp_cost_micro("gaussian", round(event.noise_multiplier * MICRO), MICRO, 1)
        assert ledger_budget.fits(spent, cost, caps)
        spent = ledger_budget.add(spent, cost)
    used = ledger_budget.epsilon_spent_micro(spent, delta_inverse)
    assert 0.999 * file.privacy.evaluation_epsilon_micro < used <= file.privacy.evaluation_epsilon_micro
    assert events[0].noise_multiplier == pytest.approx(3 * events[1].noise_multiplier, rel=1e-5)


def test_an_evaluation_for_more_than_hospitals_approve_is_refused() -> None:
    with pytest.raises(TaskFileError, match="evaluation_epsilon is above score_epsilon"):
        task(epsilon=3, lines={"privacy": "evaluation_epsilon = 3.1"})


def test_the_hospitals_share_the_noise_of_round_0_in_mode_distributed() -> None:
    lines = {"\n[training]": "\n[normalisation]\n[training]", "clip = 1.0": 'clip = 1.0\nmode = "distributed"'}
    normalised = task(replace=lines)
    assert own_normalisation_noise(normalised) == pytest.approx(normalisation_event(normalised).noise_multiplier / 3**0.5)


def test_inputs_are_named_in_order_with_the_hospitals_own_intercepts_last() -> None:
    chosen = task(replace={"intercepts = []": 'intercepts = ["A", "B-1"]'})
    assert column_names(chosen) == ["f0", "f1", "hospital=A", "hospital=B-1"]
    assert numeric_columns(chosen) == (0, 1)


def test_a_hospital_has_its_own_intercept_and_no_other() -> None:
    chosen = task(replace={"intercepts = []": 'intercepts = ["A", "B"]'})
    values = np.zeros((2, 2), dtype=np.float32)
    extracted = SimpleNamespace(features=values, observed=values == 1, labels=np.zeros(2))
    for mspid, expected in (("A", [0, 0, 1, 0]), ("B", [0, 0, 0, 1]), ("C", [0, 0, 0, 0])):
        features, observed = with_intercepts(chosen, cast(Extracted, extracted), mspid)
        assert features.tolist() == [expected] * 2
        assert observed.tolist() == [[False, False, True, True]] * 2
