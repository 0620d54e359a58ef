"""The inputs' mean and deviation: against NumPy on plain data, and what one patient can change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from privacy.models import ModelError, ModelSpec, digest, from_safetensors, to_safetensors
from privacy.noise import NoiseSource
from privacy.normalisation import GRID, InputNormalisation, derive, noisy_statistics, sensitivity, statistics

COLUMNS = (0, 2)


def patients(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Three inputs, the second one no number; a third of the last one missing, with 0 in its place."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.uniform(-1, 0.2, count), rng.integers(0, 2, count), np.clip(rng.normal(0.3, 0.2, count), -1, 1)])
    observed = np.ones(features.shape, dtype=bool)
    observed[:, 2] = rng.uniform(size=count) > 1 / 3
    return np.where(observed, features, 0.0), observed


def test_exact_sums_of_several_hospitals_give_mean_and_deviation_of_all_observed_values() -> None:
    hospitals = [patients(50, 1), patients(80, 2), patients(30, 3)]
    total = sum(statistics(features, observed, COLUMNS) for features, observed in hospitals)
    found = derive([total], [160], COLUMNS, inputs=3)
    features = np.concatenate([each for each, _ in hospitals])
    seen = np.where(np.concatenate([each for _, each in hospitals]), features, np.nan)
    np.testing.assert_allclose(found.mean, [np.nanmean(seen[:, 0]), 0, np.nanmean(seen[:, 2])], atol=GRID)
    np.testing.assert_allclose(found.deviation, [np.nanstd(seen[:, 0]), 1, np.nanstd(seen[:, 2])], atol=GRID)


def test_applied_to_the_values_it_came_from_it_standardises_them_and_puts_the_mean_where_nothing_was_observed() -> None:
    features, observed = patients(300, 4)
    made = derive([statistics(features, observed, COLUMNS)], [300], COLUMNS, inputs=3).apply(features, observed)
    for column in COLUMNS:
        seen = made[observed[:, column], column]
        assert abs(seen.mean()) < 0.01 and abs(seen.std() - 1) < 0.01
    assert not made[~observed].any()
    assert (made[:, 1] == features[:, 1]).all()


@settings(max_examples=200)
@given(
    st.integers(1, 6).flatmap(
        lambda columns: st.tuples(
            arrays.arrays(np.float64, (4, columns), elements=st.floats(-1e6, 1e6)), arrays.arrays(np.bool_, (4, columns))
        )
    )
)
def test_one_patient_changes_the_sum_by_at_most_one_unit(matrix: tuple[NDArray[np.float64], NDArray[np.bool_]]) -> None:
    # Whatever the matrix holds: values beyond the bounds, or values where none was observed.
    features, observed = matrix
    columns = tuple(range(features.shape[1]))
    change = statistics(features, observed, columns) - statistics(features[1:], observed[1:], columns)
    assert np.linalg.norm(change) <= 1 + 1e-9


def test_the_bound_on_a_patient_is_reached() -> None:
    for value, observed in ((1.0, True), (0.0, True), (0.7, False)):
        whole = statistics(np.full((1, 5), value), np.full((1, 5), observed), range(5))
        assert np.linalg.norm(whole) == pytest.approx(1)
    assert sensitivity(5) == pytest.approx(5**0.5)


def test_the_noise_has_the_deviation_that_is_accounted_for() -> None:
    columns = tuple(range(1000))
    noise = NoiseSource(b"k" * 32)
    released = noisy_statistics(np.zeros((3, 1000)), np.ones((3, 1000), dtype=bool), columns, noise_multiplier=7.0, noise=noise)
    exact = statistics(np.zeros((3, 1000)), np.ones((3, 1000), dtype=bool), columns)
    assert np.std(released - exact) == pytest.approx(7.0, rel=0.05)


def test_much_noise_leaves_what_was_believed_before() -> None:
    features, observed = patients(100, 5)
    sums = statistics(features, observed, (0, 2))
    quiet = derive([sums], [100], (0, 2), inputs=3, noise_deviation=1e-6)
    loud = derive([sums], [100], (0, 2), inputs=3, noise_deviation=1e6)
    assert np.abs(quiet.vector - derive([sums], [100], (0, 2), inputs=3).vector).max() <= GRID
    np.testing.assert_allclose(loud.mean, 0, atol=1e-3)
    assert (loud.deviation == 1).all(), "an input of which only noise is known is not made louder than its bounds make it"


@settings(max_examples=100)
@given(arrays.arrays(np.float64, 6, elements=st.floats(-1e9, 1e9)), st.floats(0, 1e3))
def test_whatever_is_decrypted_gives_a_usable_normalisation_on_the_grid(total: NDArray[np.float64], noise: float) -> None:
    found = derive([total], [3], (0, 1), inputs=2, noise_deviation=noise)
    assert (np.abs(found.mean) <= 1).all()
    assert ((found.deviation > 0) & (found.deviation <= 1)).all()
    assert (found.vector / GRID == np.round(found.vector / GRID)).all()
    again = InputNormalisation.from_vector(found.vector)
    assert (again.mean == found.mean).all() and (again.deviation == found.deviation).all()


def test_one_group_of_three_that_lies_is_outvoted() -> None:
    honest = [statistics(*patients(100, seed), COLUMNS) for seed in (6, 7)]
    lie = np.full(6, 100.0)
    found = derive([*honest, lie], [100, 100, 100], COLUMNS, inputs=3)
    expected = derive([honest[0] + honest[1]], [200], COLUMNS, inputs=3)
    assert np.abs(found.vector - expected.vector).max() < 0.1


@pytest.mark.parametrize("vector", [[0.0], [0.0, 0.0], [0.0, -1.0], [np.nan, 1.0], [[0.0, 1.0]]])
def test_a_vector_that_is_no_normalisation_is_refused(vector: object) -> None:
    with pytest.raises(ValueError, match="as many finite means as positive"):
        InputNormalisation.from_vector(np.array(vector))


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        statistics([[np.nan]], [[True]], (0,))


class TestInAModelFile:
    SPEC = ModelSpec("logistic_regression", 2)
    PARAMETERS = np.array([1.0, -2.0, 0.5])
    NORMALISATION = InputNormalisation(np.array([0.25, 0.0]), np.array([0.5, 1.0]))

    def test_it_comes_back_and_is_part_of_the_digest(self) -> None:
        saved = from_safetensors(to_safetensors(self.SPEC, self.PARAMETERS, {}, self.NORMALISATION))
        assert saved.normalisation is not None
        assert saved.normalisation.vector.tolist() == self.NORMALISATION.vector.tolist()
        assert digest(saved.parameters, saved.normalisation) == digest(self.PARAMETERS, self.NORMALISATION) != digest(self.PARAMETERS)

    def test_a_model_without_one_has_none(self) -> None:
        assert from_safetensors(to_safetensors(self.SPEC, self.PARAMETERS, {})).normalisation is None

    @pytest.mark.parametrize(
        ("mean", "deviation", "problem"),
        [
            ([0.0], [1.0], "not that of the model's inputs"),
            ([0.0, 0.0], [1.0], "not a mean and a standard deviation for each"),
            ([0.0, 0.0], [1.0, 0.0], "cannot be used"),
        ],
    )
    def test_one_that_does_not_fit_the_model_is_refused(self, mean: list[float], deviation: list[float], problem: str) -> None:
        broken = InputNormalisation(np.array(mean), np.array(deviation))
        with pytest.raises(ModelError, match=problem):
            from_safetensors(to_safetensors(self.SPEC, self.PARAMETERS, {}, broken))
