"""`consortium bench attacks`: what each way of combining group means does under attack, and what becomes of lazy hospitals.

Twenty hospitals in groups of three. For the combinations there is no committee and no trust, so that each stands alone: only the bounds on
sums hold everywhere, as in the product. Lazy hospitals (a copy of the global model with noise on it) are met by all of the product's rules.
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import get_args

import numpy as np
from sklearn.metrics import roc_auc_score

from gateway.bench.conduct import ATTACKS, BACKDOOR, LAZY, triggered
from gateway.bench.defences import FLTrust, root_set
from gateway.bench.machine import Machine, describe
from gateway.bench.models import one_thread, quick_probabilities
from gateway.bench.results import BenchReport, Measurement, Value
from gateway.bench.simulated_data import SimulatedData
from gateway.bench.simulation import Setup, Simulation
from gateway.bench.trust import JUDGED_AT, grouped, model_auc, task_for
from privacy.robust import Combination

HOSPITALS = 20
GROUP_SIZE = 3
NOBODY = "none"
FLTRUST = "fltrust"
WAYS = (*get_args(Combination), FLTRUST)
SHARES_PERCENT = (10, 20, 30)
EPSILONS = (None, 8.0)
LAZY_PERCENT = 30
QUALITY, TRIGGERED, LAZINESS = "AUC of the model", "Patients with the trigger whose illness the model misses, percent", "Lazy hospitals"
Say = Callable[[str], None]
Combined = dict[str, tuple[float, float]]
"""By combination: AUC of the model, and the share of ill patients with the trigger whose illness it misses."""


@dataclass(frozen=True)
class Attack:
    """One row: who does what, at which ε."""

    data: str
    epsilon: float | None
    conduct: str
    percent: int


@dataclass(frozen=True)
class Laziness:
    """One seed with LAZY_PERCENT lazy hospitals, and the same without: trust and quarantine, and the model in each case."""

    auc: float
    found: float
    wrongly: float
    model_all_honest: float
    model_unguarded: float
    model_guarded: float


def attacks(data: Sequence[SimulatedData]) -> list[Attack]:
    """What is measured, in the order of the table."""
    kinds = [(NOBODY, 0), *product(ATTACKS, SHARES_PERCENT)]
    return [Attack(each.name, epsilon, *kind) for each in data for epsilon in EPSILONS for kind in kinds]


def run(data: Sequence[SimulatedData], *, seeds: int, rounds: int, processes: int, say: Say) -> BenchReport:
    """Measure every attack with every combination, and lazy hospitals. CPU-heavy."""
    machine = describe(["numpy"])
    by_name = {each.name: each for each in data}
    found: dict[Attack, list[Combined]] = {}
    lazy: dict[tuple[str, float | None], list[Laziness]] = {}
    # Not forked: torch's threads do not survive that.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"), initializer=one_thread) as pool:
        attacking: dict[Future[Combined], Attack] = {
            pool.submit(combine, by_name[each.data], each, seed, rounds): each for each in attacks(data) for seed in range(seeds)
        }
        idling: dict[Future[Laziness], tuple[str, float | None]] = {
            pool.submit(be_lazy, each, epsilon, seed, rounds): (each.name, epsilon)
            for each in data
            for epsilon in EPSILONS
            for seed in range(seeds)
        }
        for done, job in enumerate(as_completed(attacking), start=1):
            found.setdefault(attacking[job], []).append(job.result())
            say(f"{done} of {len(attacking)} attacked federations played")
        for done, other in enumerate(as_completed(idling), start=1):
            lazy.setdefault(idling[other], []).append(other.result())
            say(f"{done} of {len(idling)} federations with lazy hospitals played")
    return report(machine, {each: found[each] for each in attacks(data)}, lazy)


def report(
    machine: Machine,
    found: Mapping[Attack, Sequence[Combined]],
    lazy: Mapping[tuple[str, float | None], Sequence[Laziness]],
) -> BenchReport:
    """The three tables."""
    rows = [_row(QUALITY, each, {way: round(fmean(one[way][0] for one in seeds), 3) for way in WAYS}) for each, seeds in found.items()]
    rows += [
        _row(TRIGGERED, each, {way: 100 * fmean(one[way][1] for one in seeds) for way in WAYS})
        for each, seeds in found.items()
        if each.conduct in (NOBODY, BACKDOOR)
    ]
    return BenchReport(machine, [*rows, *(_lazy_row(*place, lazy[place]) for place in sorted(lazy, key=str))])


def combine(data: SimulatedData, attack: Attack, seed: int, rounds: int) -> Combined:
    """By combination: the model's AUC, and the share of ill patients it takes for healthy once they carry the backdoor's trigger."""
    parts = data.divide(seed)
    task = task_for(data.task, attack.epsilon, rounds=rounds)
    conduct = _bad(sorted(parts), attack.conduct, attack.percent, seed) if attack.percent else {}
    found = {}
    for way in WAYS:
        setup = Setup(grouped(task, GROUP_SIZE, _combination(way)), parts, seed, attack.epsilon, conduct, judged=False)
        simulation = Simulation(replace(setup, combine=FLTrust(root_set(parts))) if way == FLTRUST else setup)
        simulation.play(rounds)
        found[way] = (model_auc(simulation), _missed(simulation))
    return found


def be_lazy(data: SimulatedData, epsilon: float | None, seed: int, rounds: int) -> Laziness:
    """The same federation three times: all honest, with lazy hospitals and nobody to judge them, and with the product's rules."""
    parts = data.divide(seed)
    names = sorted(parts)
    conduct = _bad(names, LAZY, LAZY_PERCENT, seed)
    guarded = Setup(grouped(task_for(data.task, epsilon, rounds=rounds), GROUP_SIZE, "trimmed_mean"), parts, seed, epsilon, conduct)
    unguarded = replace(guarded, task=grouped(guarded.task, GROUP_SIZE, "mean"), judged=False)
    simulations = [Simulation(each) for each in (replace(guarded, conduct={}), unguarded, guarded)]
    played = [each.play(rounds) for each in simulations][-1]
    states = played[min(JUDGED_AT, rounds) - 1].states
    ever = {mspid: any(each.states[mspid].quarantined for each in played) for mspid in names}
    return Laziness(
        float(roc_auc_score([mspid in conduct for mspid in names], [-states[mspid].trust_ppm for mspid in names])),
        fmean(ever[mspid] for mspid in conduct),
        fmean(ever[mspid] for mspid in names if mspid not in conduct),
        *(model_auc(each) for each in simulations),
    )


def _combination(way: str) -> Combination:
    """What the task names; FLTrust takes its place afterwards."""
    return "trimmed_mean" if way == FLTRUST else next(each for each in get_args(Combination) if each == way)


def _bad(names: Sequence[str], conduct: str, percent: int, seed: int) -> dict[str, str]:
    drawn = np.random.default_rng(seed).permutation(len(names))[: len(names) * percent // 100]
    return {names[place]: conduct for place in drawn}


def _missed(simulation: Simulation) -> float:
    missed: list[float] = []
    for each in simulation.setup.parts.values():
        ill = triggered(each.test).features[each.test.labels == 1]
        missed.extend(quick_probabilities(simulation.parameters, ill) < 0.5)
    return fmean(missed)


def _row(what: str, attack: Attack, values: Mapping[str, Value]) -> Measurement:
    conditions = {"data": attack.data, "epsilon": attack.epsilon, "attack": attack.conduct, "bad_percent": attack.percent}
    return Measurement(what, conditions, values)


def _lazy_row(data: str, epsilon: float | None, found: Sequence[Laziness]) -> Measurement:
    values: dict[str, Value] = {
        f"auc_of_trust_by_round_{JUDGED_AT}": fmean(each.auc for each in found),
        "lazy_quarantined_percent": 100 * fmean(each.found for each in found),
        "honest_wrongly_quarantined_percent": 100 * fmean(each.wrongly for each in found),
        "model_auc_all_honest": round(fmean(each.model_all_honest for each in found), 3),
        "model_auc_unguarded": round(fmean(each.model_unguarded for each in found), 3),
        "model_auc_guarded": round(fmean(each.model_guarded for each in found), 3),
    }
    return Measurement(LAZINESS, {"data": data, "epsilon": epsilon, "lazy_percent": LAZY_PERCENT}, values)
