"""`consortium bench trust`: what trust, quarantine and pay do about bad hospitals, over many seeds, beside published defences.

Twelve hospitals, five of them bad: two flip their labels, one sends noise only, one replays the last step, one is good and bad by turns.
Where validators collude, the two that flip labels lie on the committee too: the groups of the bad get the highest score, others the lowest.
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean, median

import numpy as np
from sklearn.metrics import roc_auc_score

from fabric.contract import incentives, trust
from fabric.contract.trust import CONSTANTS, Constants, TrustState
from gateway.bench.conduct import HONEST, LABEL_FLIP, NOISE_ONLY, ON_OFF, REPLAY
from gateway.bench.defences import CosineReputation, FLTrust, root_set
from gateway.bench.machine import Machine, describe
from gateway.bench.models import one_thread, quick_probabilities
from gateway.bench.results import BenchReport, Measurement, Value
from gateway.bench.simulated_data import Parts, SimulatedData, enlarged
from gateway.bench.simulation import Played, Setup, Simulation
from gateway.task_file import TaskFile
from privacy.evaluation import exact_auc
from privacy.robust import Combination

CAST = (LABEL_FLIP, LABEL_FLIP, NOISE_ONLY, REPLAY, ON_OFF)
COLLUDING = 2  # the first of the cast
EPSILONS = (None, 8.0, 3.0)
SIZES = (1, 10)
SEPARATED = 0.95
JUDGED_AT = 20  # the round by which the bad should be told
LEARNING_RATES = {None: 2.0, 8.0: 2.0, 3.0: 1.0}
TRUST, CONSTANTS_SWEPT, MODELS = "Trust against bad hospitals", "The same rounds, judged again with other constants", "The model"
Say = Callable[[str], None]
Compared = dict[tuple[float | None, str], tuple[float, float | None]]
"""By ε and defence: AUC of the model, and of the defence's own reputation where it has one."""


@dataclass(frozen=True)
class Condition:
    """One row of the first table. `times`: hospitals are so many times as large, patients drawn with replacement within each part."""

    data: str
    epsilon: float | None
    times: int
    colluding: bool


@dataclass(frozen=True)
class Outcome:
    """One seed's: AUC of trust by round, and by conduct at JUDGED_AT; shares of hospitals; pay of the bad, 1 being an equal share."""

    auc: tuple[float, ...]
    by_conduct: Mapping[str, float]
    wrongly_quarantined: float
    bad_quarantined: float
    fined: int
    share: float
    accepted: float


def conditions(data: Sequence[SimulatedData]) -> list[Condition]:
    """What is measured; larger hospitals at one ε only."""
    every = [Condition(each.name, *rest) for each in data for rest in product(EPSILONS, SIZES, (False, True))]
    return [each for each in every if each.times == 1 or each.epsilon == EPSILONS[1]]


def swept() -> dict[str, Constants]:
    """Constants beside the contract's own."""
    found = {"the contract's": CONSTANTS, "of contract 1.0": trust.FIRST}
    for keep in (900_000, 950_000):
        found[f"P and X kept at {keep / 1e6:g}"] = replace(CONSTANTS, keep_positive_ppm=keep, keep_negative_ppm=keep)
    for weight in (4, 64):
        found[f"X weighs {weight}"] = replace(CONSTANTS, negative_weight=weight)
    for below in (200_000, 0, -300_000):
        found[f"quarantine below {below / 1e6:g}"] = replace(CONSTANTS, quarantine_below_ppm=below)
    for fewest in (4, 8):
        found[f"quarantine from {fewest} rounds on"] = replace(CONSTANTS, fewest_measured=fewest)
    return found


def run(data: Sequence[SimulatedData], *, seeds: int, rounds: int, processes: int, say: Say) -> BenchReport:
    """Measure every condition and every defence. CPU-heavy."""
    machine = describe(["numpy"])
    by_name = {each.name: each for each in data}
    wanted = [(each, seed) for seed in range(seeds) for each in conditions(data)]
    judged: dict[Condition, list[Mapping[str, Outcome]]] = {}
    models: dict[tuple[str, float | None, str], list[tuple[float, float | None]]] = {}
    # Not forked: torch's threads do not survive that.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"), initializer=one_thread) as pool:
        playing: dict[Future[dict[str, Outcome]], Condition] = {
            pool.submit(play, by_name[each.data], each, seed, rounds): each for each, seed in wanted
        }
        comparing: dict[Future[Compared], str] = {
            pool.submit(compare, each, seed, rounds): each.name for each in data for seed in range(seeds)
        }
        for done, job in enumerate(as_completed(playing), start=1):
            judged.setdefault(playing[job], []).append(job.result())
            say(f"{done} of {len(playing)} federations judged")
        for done, other in enumerate(as_completed(comparing), start=1):
            for (epsilon, defence), found in other.result().items():
                models.setdefault((comparing[other], epsilon, defence), []).append(found)
            say(f"{done} of {len(comparing)} seeds compared with other defences")
    return report(machine, judged, models, rounds=rounds)


def report(
    machine: Machine,
    judged: Mapping[Condition, Sequence[Mapping[str, Outcome]]],
    models: Mapping[tuple[str, float | None, str], Sequence[tuple[float, float | None]]],
    *,
    rounds: int,
) -> BenchReport:
    """The three tables."""
    rows = [_trust_row(each, [found["the contract's"] for found in judged[each]], rounds) for each in sorted(judged, key=str)]
    rows += [_sweep_row(name, list(judged.values())) for name in swept()]
    for (name, epsilon, defence), found in sorted(models.items(), key=str):
        reputations = [reputation for _, reputation in found if reputation is not None]
        values: dict[str, Value] = {
            "model_auc": _mean([quality for quality, _ in found]),
            "auc_of_reputation": _mean(reputations) if reputations else None,
        }
        rows.append(Measurement(MODELS, {"data": name, "epsilon": epsilon, "defence": defence}, values))
    return BenchReport(machine, rows)


def play(data: SimulatedData, condition: Condition, seed: int, rounds: int) -> dict[str, Outcome]:
    """One federation: what the contract's constants did, and what others would have done with the same scores."""
    task = task_for(data.task, condition.epsilon, rounds=rounds)
    parts = {mspid: enlarged(each, condition.times, seed) for mspid, each in data.divide(seed).items()}
    conduct = cast(sorted(parts), seed)
    colluding = frozenset(list(conduct)[:COLLUDING]) if condition.colluding else frozenset()
    setup = Setup(task, parts, seed, condition.epsilon, conduct, colluding)
    played = Simulation(setup).play(rounds)
    return {
        name: _outcome(setup, played if constants == CONSTANTS else judged_again(played, constants)) for name, constants in swept().items()
    }


def compare(data: SimulatedData, seed: int, rounds: int) -> Compared:
    """Quality of the model after the rounds, and the AUC of a defence's own reputation where it has one, for each ε and defence."""
    found: Compared = {}
    for epsilon in EPSILONS:
        parts = data.divide(seed)
        task, conduct = task_for(data.task, epsilon, rounds=rounds), cast(sorted(parts), seed)
        ours = Setup(task, parts, seed, epsilon, conduct)
        alone = replace(ours, task=grouped(task, 1, "mean"), judged=False)
        reputation = CosineReputation()
        for name, setup in (
            ("ours", ours),
            ("ours, all honest", replace(ours, conduct={})),
            ("none", alone),
            ("FLTrust on single updates", replace(alone, combine=FLTrust(root_set(parts)))),
            ("cosine reputation on single updates", replace(alone, combine=reputation)),
        ):
            simulation = Simulation(setup)
            simulation.play(rounds)
            own = reputation.reputation if setup.combine is reputation else None
            found[epsilon, name] = model_auc(simulation), None if own is None else _auc(setup, own)
    return found


def task_for(task: TaskFile, epsilon: float | None, *, rounds: int) -> TaskFile:
    """The task at this ε, of training and of validation patients."""
    spent = {} if epsilon is None else {"epsilon": epsilon, "score_epsilon": epsilon}
    return task.model_copy(
        update={
            "task": task.task.model_copy(update={"rounds": rounds}),
            "training": task.training.model_copy(update={"learning_rate": LEARNING_RATES[epsilon]}),
            "privacy": task.privacy.model_copy(update=spent),
        }
    )


def grouped(task: TaskFile, size: int, combine: Combination) -> TaskFile:
    """The task with groups of this size, combined this way."""
    return task.model_copy(
        update={
            "task": task.task.model_copy(update={"group_size": size}),
            "training": task.training.model_copy(update={"combine": combine}),
        }
    )


def cast(names: Sequence[str], seed: int) -> dict[str, str]:
    """Who is bad, and how."""
    drawn = np.random.default_rng(seed).permutation(len(names))
    return {names[place]: conduct for place, conduct in zip(drawn, CAST, strict=False)}


def judged_again(played: Sequence[Played], constants: Constants) -> list[Played]:
    """The rounds' ranks and validators, judged from the beginning with other constants; groups and committees stay as they were."""
    states = dict.fromkeys(played[0].states, TrustState())
    found = []
    for each in played:
        before, weights = dict(states), {}
        for place, members in enumerate(each.groups):
            rank = each.ranks_ppm.get(place)
            for mspid in members:
                credit = None if rank is None else trust.credit_ppm(rank, [before[other].effect_ppm for other in members if other != mspid])
                states[mspid] = trust.update(before[mspid], replace(each.signals[mspid], utility_ppm=credit), constants)
                if not before[mspid].quarantined:
                    weights[mspid] = incentives.weight(states[mspid])
        pay, _ = incentives.split(sum(each.pay_micro.values()), weights)
        found.append(replace(each, states=dict(states), pay_micro=pay))
    return found


def model_auc(simulation: Simulation) -> float:
    """Of the model on all hospitals' test patients together."""
    tests: list[Parts] = list(simulation.setup.parts.values())
    scores = [quick_probabilities(simulation.parameters, each.test.features) for each in tests]
    area = exact_auc(np.concatenate(scores), np.concatenate([each.test.labels for each in tests]))
    if area is None:
        raise ValueError("the test patients of all hospitals have one label only")
    return area


def _outcome(setup: Setup, played: Sequence[Played]) -> Outcome:
    names, bad = setup.names, [mspid for mspid in setup.names if setup.bad(mspid)]
    good = [mspid for mspid in names if mspid not in bad]
    judged = played[min(JUDGED_AT, len(played)) - 1].states
    paid = {mspid: sum(each.pay_micro.get(mspid, 0) for each in played) for mspid in names}
    return Outcome(
        auc=tuple(_auc(setup, {mspid: each.states[mspid].trust_ppm for mspid in names}) for each in played),
        by_conduct={conduct: _auc(setup, _standing(setup, judged, (HONEST, conduct))) for conduct in dict.fromkeys(CAST)},
        wrongly_quarantined=fmean(any(each.states[mspid].quarantined for each in played) for mspid in good),
        bad_quarantined=fmean(any(each.states[mspid].quarantined for each in played) for mspid in bad),
        fined=sum(not each.signals[mspid].integrity for each in played for mspid in good),
        share=sum(paid[mspid] for mspid in bad) / max(1, sum(paid.values())) / (len(bad) / len(names)),
        accepted=fmean(each.accepted for each in played),
    )


def _standing(setup: Setup, states: Mapping[str, TrustState], conducts: Sequence[str]) -> dict[str, float]:
    """Trust of those with one of these conducts."""
    return {mspid: states[mspid].trust_ppm for mspid in setup.names if setup.conduct.get(mspid, HONEST) in conducts}


def _auc(setup: Setup, standing: Mapping[str, float]) -> float:
    """How well a low standing tells the bad: 1 where all of them are below every honest hospital."""
    return float(roc_auc_score([setup.bad(mspid) for mspid in standing], [-value for value in standing.values()]))


def _trust_row(condition: Condition, found: Sequence[Outcome], rounds: int) -> Measurement:
    at = min(JUDGED_AT, rounds) - 1
    separated = [_separated(each.auc) for each in found]
    never = rounds + 1
    typical = median(never if each is None else each for each in separated)
    values: dict[str, Value] = {
        f"auc_by_round_{at + 1}": _mean([each.auc[at] for each in found]),
        **{f"of_{conduct.replace(' ', '_')}": fmean(each.by_conduct[conduct] for each in found) for conduct in found[0].by_conduct},
        "rounds_until_separated": None if typical == never else typical,
        "honest_wrongly_quarantined_percent": 100 * fmean(each.wrongly_quarantined for each in found),
        "bad_quarantined_percent": 100 * fmean(each.bad_quarantined for each in found),
        "honest_slashed": sum(each.fined for each in found),
        "pay_of_bad_in_equal_shares": fmean(each.share for each in found),
        "candidates_taken_percent": 100 * fmean(each.accepted for each in found),
    }
    conditions = {
        "data": condition.data,
        "epsilon": condition.epsilon,
        "hospitals_times": condition.times,
        "validators": "two collude" if condition.colluding else "none colludes",
    }
    return Measurement(TRUST, conditions, values)


def _separated(auc: Sequence[float]) -> int | None:
    """The first round from which on the AUC is never below SEPARATED again."""
    below = [number for number, value in enumerate(auc, start=1) if value < SEPARATED]
    first = below[-1] + 1 if below else 1
    return first if first <= len(auc) else None


def _sweep_row(name: str, found: Sequence[Sequence[Mapping[str, Outcome]]]) -> Measurement:
    outcomes = [each[name] for condition in found for each in condition]
    at = min(JUDGED_AT, len(outcomes[0].auc)) - 1
    values: dict[str, Value] = {
        f"auc_by_round_{at + 1}": fmean(each.auc[at] for each in outcomes),
        "honest_wrongly_quarantined_percent": 100 * fmean(each.wrongly_quarantined for each in outcomes),
        "bad_quarantined_percent": 100 * fmean(each.bad_quarantined for each in outcomes),
        "pay_of_bad_in_equal_shares": fmean(each.share for each in outcomes),
    }
    return Measurement(CONSTANTS_SWEPT, {"constants": name}, values)


def _mean(values: Sequence[float]) -> float:
    return round(fmean(values), 3)
