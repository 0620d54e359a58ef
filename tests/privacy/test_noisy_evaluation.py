"""Noisy counts of scores: what one patient can change, that nothing else comes out, and what is read off them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from privacy.accounting import SpendEvent, epsilon_pld
from privacy.evaluation import EvaluationError, auc, exact_auc, score_histogram
from privacy.noise import NoiseSource
from privacy.noisy_counts import GRID
from privacy.noisy_evaluation import BINS, NoisyHistogram, interval, merge_noisy, plausible, private_histogram
from tests.support.noise_sources import Counting, Silent

scored = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), max_size=40)
counts = st.lists(st.floats(-20, 60), min_size=BINS, max_size=BINS)


def released(patients: list[tuple[float, int]], noise: NoiseSource) -> np.ndarray:
    scores, labels = np.array([score for score, _ in patients]), np.array([label for _, label in patients], dtype=np.int64)
    found = private_histogram(scores, labels, noise_multiplier=2.0, noise=noise)
    assert found.deviation == 2.0
    return np.array([*found.positives, *found.negatives])


@given(scored, st.floats(0, 1), st.integers(0, 1))
def test_one_patient_changes_one_count_by_one(patients: list[tuple[float, int]], score: float, label: int) -> None:
    change = released([*patients, (score, label)], Silent()) - released(patients, Silent())
    assert sorted(change) == [0.0] * (2 * BINS - 1) + [1.0]


def test_every_count_gets_noise_of_its_own_also_where_nobody_is() -> None:
    noise = Counting()
    released([], noise)
    assert noise.drawn == [(2 * BINS, 2.0)]
    assert len(set(released([], NoiseSource(b"k" * 32)))) > BINS


@given(scored)
def test_what_comes_out_lies_on_one_grid_whoever_is_in(patients: list[tuple[float, int]]) -> None:
    """Otherwise the lowest bits would say which sums of a count and a number of the noise's are possible."""
    noisy = released(patients, NoiseSource(b"g" * 32))
    assert (noisy / GRID == np.rint(noisy / GRID)).all()
    assert (noisy - released([], NoiseSource(b"g" * 32)) == np.array(_exact(patients))).all()


def _exact(patients: list[tuple[float, int]]) -> list[float]:
    histogram = score_histogram([score for score, _ in patients], [label for _, label in patients], BINS)
    return [*histogram.positives, *histogram.negatives]


def test_a_distinguisher_of_neighbours_stays_below_the_epsilon_that_is_debited() -> None:
    """The best test between two neighbours: whether the count that differs is above the middle."""
    delta, draws = 1e-3, 20_000
    claimed = epsilon_pld([SpendEvent("gaussian", 2.0, 1.0, 1)], delta=delta)
    noise = NoiseSource(b"d" * 32)
    with_patient = 1 + noise.gaussian(draws, scale=2.0)
    without = noise.gaussian(draws, scale=2.0)
    hit, false_alarm = np.mean(with_patient > 2.5), np.mean(without > 2.5)
    assert hit - delta <= np.exp(claimed) * false_alarm
    assert hit - delta > np.exp(claimed / 4) * false_alarm  # and a claim of a quarter would be found out


@settings(max_examples=30, deadline=None)
@given(counts)
def test_the_plausible_counts_are_the_nearest_that_can_be(noisy: list[float]) -> None:
    found = np.array(plausible(NoisyHistogram(tuple(noisy), (0.0,) * BINS, 1.0)).positives)
    assert (found >= 0).all()
    total = max(sum(noisy), 0.0)
    assert found.sum() == pytest.approx(total, abs=1e-6)
    if total:
        same_sum = {"type": "eq", "fun": lambda x: x.sum() - total}
        start = np.full(BINS, total / BINS)
        best = minimize(lambda x: ((x - noisy) ** 2).sum(), start, bounds=[(0, None)] * BINS, constraints=[same_sum]).x
        assert ((found - noisy) ** 2).sum() <= ((best - noisy) ** 2).sum() + 1e-4


def test_hospitals_counts_add_up_and_so_does_their_noise() -> None:
    one, two = NoisyHistogram((1.0,) * BINS, (2.0,) * BINS, 3.0), NoisyHistogram((-4.0,) * BINS, (0.5,) * BINS, 4.0)
    assert merge_noisy([one, two]) == NoisyHistogram((-3.0,) * BINS, (2.5,) * BINS, 5.0)
    with pytest.raises(EvaluationError):
        merge_noisy([])


@pytest.mark.parametrize(
    ("positives", "negatives", "deviation"),
    [
        ((1.0,), (1.0,) * BINS, 1.0),
        ((float("nan"),) * BINS, (1.0,) * BINS, 1.0),
        ((1.0,) * BINS, (1e10,) * BINS, 1.0),
        ((1.0,) * BINS, (1.0,) * BINS, -1.0),
        ((1.0,) * BINS, (1.0,) * BINS, float("inf")),
    ],
)
def test_what_no_hospital_can_have_sent_is_refused(positives: tuple[float, ...], negatives: tuple[float, ...], deviation: float) -> None:
    with pytest.raises(EvaluationError, match="finite counts"):
        NoisyHistogram(positives, negatives, deviation)


def _patients(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, 2, number)
    return np.clip(rng.normal(0.35 + 0.3 * labels, 0.18), 0, 1), labels


def test_figures_of_a_hospital_and_of_all_are_useful_and_their_intervals_hold() -> None:
    """At the demo's noise and sizes: six hospitals, 28 held-out patients each."""
    rng, noise, sigma = np.random.default_rng(5), NoiseSource(b"u" * 32), 0.68
    truth = exact_auc(*_patients(np.random.default_rng(0), 200_000))
    assert truth is not None
    inside, errors = 0, []
    for _ in range(40):
        hospitals = [private_histogram(*_patients(rng, 28), noise_multiplier=sigma, noise=noise) for _ in range(6)]
        together = merge_noisy(hospitals)
        found, bounds = auc(plausible(together)), interval(together, auc, rng=np.random.default_rng(1))
        assert found is not None and bounds is not None
        errors.append(found - truth)
        inside += bounds[0] <= truth <= bounds[1]
    assert abs(np.mean(errors)) < 0.06 and np.std(errors) < 0.06
    assert inside >= 30


def test_without_patients_there_is_no_figure_and_no_interval() -> None:
    nobody = NoisyHistogram((0.0,) * BINS, (0.0,) * BINS, 0.0)
    assert auc(plausible(nobody)) is None and interval(nobody, auc, rng=np.random.default_rng(1)) is None
    negative = NoisyHistogram((-1.0,) * BINS, (3.0,) * BINS, 1.0)
    assert auc(plausible(negative)) is None
