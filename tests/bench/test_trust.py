"""What `bench trust` and `bench attacks` play, on made-up hospitals: the conduct of the bad, the rules' part, and the tables."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fabric.contract.trust import CONSTANTS
from gateway.bench import attacks, conduct, trust
from gateway.bench.defences import CosineReputation, FLTrust, root_set
from gateway.bench.machine import describe
from gateway.bench.models import QuickUpdates, quick_probabilities
from gateway.bench.simulated_data import SimulatedData, enlarged
from gateway.bench.simulation import Setup, Simulation
from gateway.hospital.cohort import Patients
from gateway.hospital.plan import Plan, size_of
from gateway.hospital.summed import GroupSum
from gateway.task_file import parse
from privacy.models import ModelSpec, Vector, predict
from privacy.noise import NoiseSource
from privacy.robust import combine_groups
from tests.support.hospitals import task_document

NAMES = [f"h{number:02d}" for number in range(12)]


def patients(seed: int, count: int = 120) -> Patients:
    draws = np.random.default_rng(seed)
    features = np.clip(draws.normal(0, 0.5, size=(count, 2)), -1, 1)
    labels = (features.sum(axis=1) + draws.normal(scale=0.2, size=count) > 0).astype(np.float32)
    return Patients(features.astype(np.float32), np.ones((count, 2), dtype=bool), labels)


def data() -> SimulatedData:
    hospitals = {name: patients(number) for number, name in enumerate(NAMES)}
    return SimulatedData(
        "made up", parse(task_document()), hospitals, {name: tuple(f"{name}-{row}" for row in range(120)) for name in NAMES}
    )


def setup(rounds: int = 12, **changes: Any) -> Setup:
    made = data()
    return replace(Setup(trust.task_for(made.task, None, rounds=rounds), made.divide(1), 1, None, {}), **changes)


def sender(number: int = 4) -> conduct.Sender:
    task = trust.task_for(data().task, None, rounds=5)
    plan = Plan(task, {"a": size_of(task, patients=120)})
    return conduct.Sender(
        QuickUpdates(plan, noisy=False), patients(3), np.array([0.5, -1.0, 0.2]), np.ones(3), number, NoiseSource(b"n" * 32)
    )


def test_the_quick_prediction_is_the_product_s() -> None:
    model = np.array([0.7, -3.0, 0.4])
    expected = predict(ModelSpec("logistic_regression", 2, ()), model, patients(1).features)
    np.testing.assert_allclose(quick_probabilities(model, patients(1).features), expected, atol=1e-6)


def test_each_conduct_sends_what_its_name_says() -> None:
    honest = sender().send(conduct.HONEST)
    np.testing.assert_allclose(sender().send(conduct.SIGN_FLIP), -honest)
    np.testing.assert_allclose(sender().send(conduct.SCALING), -10 * honest)
    flip = replace(sender(), patients=conduct.flipped(patients(3))).send(conduct.HONEST)
    np.testing.assert_allclose(sender().send(conduct.LABEL_FLIP), flip)
    np.testing.assert_allclose(sender(number=4).send(conduct.ON_OFF), flip)
    np.testing.assert_allclose(sender(number=3).send(conduct.ON_OFF), honest)
    replayed = np.mean([sender().send(conduct.REPLAY) / 120])
    assert replayed == pytest.approx(1.0, abs=3.0) and not np.allclose(sender().send(conduct.NOISE_ONLY), honest)
    assert not np.allclose(sender().send(conduct.BACKDOOR), honest)


def test_the_same_seed_plays_the_same_federation() -> None:
    first, second = Simulation(setup(rounds=3)), Simulation(setup(rounds=3))
    assert [each.states for each in first.play(3)] == [each.states for each in second.play(3)]
    assert first.parameters.tobytes() == second.parameters.tobytes()


def test_label_flippers_lose_trust_and_pay() -> None:
    bad = dict.fromkeys(NAMES[:2], conduct.LABEL_FLIP)
    made = setup(rounds=25, conduct=bad)
    outcome = trust._outcome(made, Simulation(made).play(25))
    assert outcome.by_conduct[conduct.LABEL_FLIP] > 0.9 and outcome.share < 0.5 and outcome.fined == 0


def test_rounds_judged_again_with_the_same_constants_are_the_same() -> None:
    made = setup(conduct=dict.fromkeys(NAMES[:3], conduct.LABEL_FLIP))
    played = Simulation(made).play(12)
    assert [each.states for each in trust.judged_again(played, CONSTANTS)] == [each.states for each in played]
    strict = replace(CONSTANTS, fewest_measured=1, quarantine_below_ppm=500_000, return_above_ppm=900_000)
    assert any(state.quarantined for state in trust.judged_again(played, strict)[-1].states.values())


def test_a_quarantined_group_has_no_part_in_the_model() -> None:
    made = setup(conduct=dict.fromkeys(NAMES[:3], conduct.SIGN_FLIP))
    simulation = Simulation(made)
    simulation.states = {
        name: replace(state, quarantined=name in NAMES[:3], history_ppm=(-(10**6),) * 9) for name, state in simulation.states.items()
    }
    taken: list[list[str]] = []

    def combine(_: Simulation, sums: Sequence[GroupSum], parameters: Vector) -> Vector:
        taken.extend(list(each.members) for each in sums)
        return parameters

    simulation.setup = replace(made, combine=combine)
    (played,) = simulation.play(1)
    assert NAMES[:3] in [list(members) for members in played.groups] and NAMES[:3] not in taken
    assert not set(NAMES[:3]) & {mspid for mspid, pay in played.pay_micro.items() if pay}


def test_fltrust_leaves_out_what_points_away_and_a_reputation_falls() -> None:
    bad = dict.fromkeys(NAMES[:3], conduct.SIGN_FLIP)
    alone = setup(conduct=bad, judged=False)
    alone = replace(alone, task=trust.grouped(alone.task, 1, "mean"))
    trusted, plain = Simulation(replace(alone, combine=FLTrust(root_set(alone.parts)))), Simulation(alone)
    for each in (trusted, plain):
        each.play(1)
    exact = Simulation(replace(alone, conduct={}))
    exact.play(1)
    assert np.linalg.norm(trusted.parameters - exact.parameters) < np.linalg.norm(plain.parameters - exact.parameters)
    reputation = CosineReputation()
    Simulation(replace(alone, combine=reputation)).play(12)
    assert max(reputation.reputation[name] for name in NAMES[:3]) < min(reputation.reputation[name] for name in NAMES[3:])


def test_a_larger_hospital_has_its_own_patients_more_often() -> None:
    parts = data().divide(0)["h00"]
    larger = enlarged(parts, 10, 0)
    assert len(larger.train) == 10 * len(parts.train) and larger.test is parts.test
    assert {tuple(row) for row in larger.train.features} <= {tuple(row) for row in parts.train.features}


def test_the_tables_have_a_row_for_each_condition_and_each_set_of_constants() -> None:
    condition = trust.Condition("made up", 8.0, 1, colluding=True)
    outcome = trust.play(data(), condition, 0, rounds=3)
    report = trust.report(describe([]), {condition: [outcome]}, {("made up", 8.0, "none"): [(0.9, None)]}, rounds=3)
    assert len(report.results) == 2 + len(trust.swept())
    first = report.results[0]
    assert first.conditions["validators"] == "two collude" and first.values["honest_slashed"] == 0


def test_every_attack_is_measured_with_every_combination() -> None:
    attack = attacks.Attack("made up", None, conduct.SIGN_FLIP, 30)
    found = attacks.combine(data(), attack, 0, rounds=2)
    assert set(found) == {"trimmed_mean", "mean", "median", "fltrust"}
    lazy = attacks.be_lazy(data(), None, 0, rounds=3)
    report = attacks.report(describe([]), {attack: [found]}, {("made up", None): [lazy]})
    assert [row.what for row in report.results] == [attacks.QUALITY, attacks.LAZINESS]
    assert {(each.conduct, each.percent) for each in attacks.attacks([data()])} >= {("none", 0), ("backdoor", 30), ("scaling", 10)}


def test_the_task_chooses_the_combination() -> None:
    task = trust.grouped(data().task, 3, "median")
    updates = QuickUpdates(Plan(task, {name: size_of(task, patients=120) for name in NAMES}), noisy=False)
    sums = [Simulation(setup())._sum([name], {name: np.full(3, float(place))}) for place, name in enumerate(NAMES[:6])]
    step = combine_groups([each.vector for each in sums], [updates.plan.batch(each.members) for each in sums], "median")
    expected = -task.training.learning_rate * task.privacy.clip * step
    np.testing.assert_allclose(updates.candidate(sums, np.zeros(3)), expected)
