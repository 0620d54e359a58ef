"""Many rounds of a federation in one process, by the product's own rules, to see what they do about bad hospitals.

Election, groups, scoring, verdict, trust, quarantine and pay are the contract's functions; noise, calibration, bounds, grid and
combination are the gateways'. There is no ledger and no encryption: that sums are exact is shown elsewhere. A gradient is computed in
closed form, see `QuickUpdates`.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fabric.contract import incentives, judgement, trust
from fabric.contract.accounts import BOND
from fabric.contract.election import Stream, capped, draw, seed_of, stake_weight
from fabric.contract.groups import with_suspects_apart
from fabric.contract.opening import LARGEST_COMMITTEE
from fabric.contract.records import GroupScore, Scores
from fabric.contract.trust import CONSTANTS, Constants, S, Signals, TrustState
from gateway.bench.conduct import HONEST, Sender
from gateway.bench.models import QuickUpdates, quick_probabilities
from gateway.bench.simulated_data import Parts
from gateway.fhir.split import expected_validation
from gateway.hospital.plan import SUM_GRID, Plan, size_of
from gateway.hospital.summed import GroupSum
from gateway.task_file import MICRO, TaskFile
from privacy.models import Vector, initial_parameters
from privacy.noise import NoiseSource
from privacy.robust import within_bound
from privacy.scoring import log_losses, private_utility

_CANDIDATE = "candidate"
_NO_NOISE = 1e-9  # a multiplier: the rule for scores asks for one
_BUDGET_MICRO = 1_000_000_000
Combine = Callable[["Simulation", Sequence[GroupSum], Vector], Vector]
"""From the usable groups' sums and the model to the next model."""


def by_the_task(simulation: "Simulation", sums: Sequence[GroupSum], parameters: Vector) -> Vector:
    """As the product's gateways combine."""
    return simulation.updates.candidate(sums, parameters)


@dataclass(frozen=True)
class Setup:
    """One federation. `conduct` and `colluding` name the bad; `epsilon` None is without any noise, in updates and scores."""

    task: TaskFile
    parts: Mapping[str, Parts]
    seed: int
    epsilon: float | None
    conduct: Mapping[str, str]
    colluding: frozenset[str] = frozenset()
    constants: Constants = CONSTANTS
    committee: int = LARGEST_COMMITTEE
    combine: Combine = by_the_task
    judged: bool = True
    """Whether a committee scores, and trust, quarantine and verdict follow; without one every candidate is taken."""

    @property
    def names(self) -> list[str]:
        return sorted(self.parts)

    def bad(self, mspid: str) -> bool:
        return mspid in self.colluding or self.conduct.get(mspid, HONEST) != HONEST


@dataclass(frozen=True)
class Played:
    """A round's outcome: what was seen of each hospital, what its trust became, who was paid what, and whether the candidate was taken."""

    groups: Sequence[Sequence[str]]
    ranks_ppm: Mapping[int, int | None]
    signals: Mapping[str, Signals]
    states: Mapping[str, TrustState]
    pay_micro: Mapping[str, int]
    accepted: bool


@dataclass
class Simulation:
    """A federation that is played round by round; everything random follows from the setup's seed."""

    setup: Setup
    updates: QuickUpdates = field(init=False)
    parameters: Vector = field(init=False)
    states: dict[str, TrustState] = field(init=False)
    noise: NoiseSource = field(init=False)

    def __post_init__(self) -> None:
        names = self.setup.names
        sizes = {mspid: size_of(self.setup.task, patients=len(self.setup.parts[mspid].train)) for mspid in names}
        self.updates = QuickUpdates(Plan(self.setup.task, sizes), noisy=self.setup.epsilon is not None)
        self.parameters = initial_parameters(self.updates.plan.spec, seed=0)
        self.states = dict.fromkeys(names, TrustState())
        self._step = np.zeros_like(self.parameters)
        self.noise = NoiseSource(hashlib.sha256(f"simulation {self.setup.seed}".encode()).digest())
        self._bound = self.updates.bound()
        event = self.updates.plan.score_event()
        self._score_noise = event.noise_multiplier if self.updates.noisy else _NO_NOISE

    def play(self, rounds: int) -> list[Played]:
        """So many rounds, one after the other."""
        return [self._round(number) for number in range(1, rounds + 1)]

    def _round(self, number: int) -> Played:
        seed = seed_of({"simulation": self.setup.seed, "round": number})
        suspects = {mspid for mspid, state in self.states.items() if state.quarantined}
        groups = with_suspects_apart(self.setup.names, suspects, self.setup.task.task.group_size, seed)
        vectors = {mspid: self._sent(mspid, number) for mspid in self.setup.names}
        sums = {place: self._sum(members, vectors) for place, members in enumerate(groups)}
        usable = {place: each for place, each in sums.items() if within_bound(each.vector, self.updates.group_bound(each.members))}
        taken = [each for each in usable.values() if not set(each.members) <= suspects]
        candidate = self.setup.combine(self, taken, self.parameters) if taken else self.parameters
        played = self._settle(number, seed, suspects, groups, usable, candidate)
        if played.accepted:
            training = self.setup.task.training
            self._step = (self.parameters - candidate) / (training.learning_rate * self.setup.task.privacy.clip)
            self.parameters = candidate
        return played

    def _sent(self, mspid: str, number: int) -> Vector:
        sender = Sender(self.updates, self.setup.parts[mspid].train, self.parameters, self._step, number, self.noise)
        return np.clip(sender.send(self.setup.conduct.get(mspid, HONEST)), -self._bound, self._bound)

    def _sum(self, members: Sequence[str], vectors: Mapping[str, Vector]) -> GroupSum:
        total = np.sum([vectors[mspid] for mspid in members], axis=0)
        return GroupSum(members, np.round(total / SUM_GRID) * SUM_GRID)

    def _settle(
        self,
        number: int,
        seed: str,
        suspects: set[str],
        groups: Sequence[Sequence[str]],
        usable: Mapping[int, GroupSum],
        candidate: Vector,
    ) -> Played:
        if not self.setup.judged:
            return Played(groups, {}, {}, self.states, {}, accepted=True)
        rejected = set(range(len(groups))) - set(usable)
        scores = {mspid: self._scores(mspid, groups, usable, candidate) for mspid in self._committee(seed, suspects)}
        clip_micro = self.setup.task.privacy.score_clip_micro
        verdict = judgement.verdict(_CANDIDATE, scores, clip_micro=clip_micro)
        ranks = judgement.utilities_ppm(scores, rejected)
        seen, states, weights = {}, {}, {}
        for place, members in enumerate(groups):
            for mspid in members:
                validator = judgement.agreement_ppm(mspid, _CANDIDATE, scores, clip_micro=clip_micro) if mspid in scores else None
                signals = Signals(S, True, self._credit(mspid, members, ranks.get(place)), None, S, validator)
                seen[mspid] = signals
                states[mspid] = trust.update(self.states[mspid], signals, self.setup.constants)
                if place in usable and not self.states[mspid].quarantined:
                    weights[mspid] = incentives.weight(states[mspid])
        self.states = states
        pay, _ = incentives.split(_BUDGET_MICRO if verdict.accepted else 0, weights)
        return Played(groups, ranks, seen, states, pay, verdict.accepted)

    def _credit(self, mspid: str, members: Sequence[str], rank: int | None) -> int | None:
        if rank is None:
            return None
        return trust.credit_ppm(rank, [self.states[other].effect_ppm for other in members if other != mspid])

    def _committee(self, seed: str, suspects: set[str]) -> list[str]:
        raw = {mspid: stake_weight(state.trust_ppm, BOND) for mspid, state in self.states.items() if mspid not in suspects}
        return sorted(draw(capped(raw), min(len(raw), self.setup.committee), Stream(seed, "committee")))

    def _scores(self, mspid: str, groups: Sequence[Sequence[str]], usable: Mapping[int, GroupSum], candidate: Vector) -> Scores:
        """A validator's, as `gateway.hospital.score` makes them; who colludes lifts the groups of the bad and lowers the others."""
        judged = [place for place in usable if mspid not in groups[place]]
        clip_micro = self.setup.task.privacy.score_clip_micro
        if mspid in self.setup.colluding:
            lied = {place: clip_micro if any(self.setup.bad(each) for each in groups[place]) else -clip_micro for place in judged}
            utilities, of_candidate = lied, 0
        else:
            utility = self._utility(mspid)
            utilities = {place: utility(self.updates.candidate([usable[place]], self.parameters)) for place in judged}
            of_candidate = utility(candidate)
        scored = [GroupScore(group=place, utility_micro=value) for place, value in utilities.items()]
        return Scores(candidate_digest=_CANDIDATE, candidate_micro=of_candidate, groups=scored)

    def _utility(self, mspid: str) -> Callable[[Vector], int]:
        patients, clip = self.setup.parts[mspid].validation, self.setup.task.privacy.score_clip
        expected = expected_validation(self.updates.plan.sizes[mspid].patients)
        before = log_losses(quick_probabilities(self.parameters, patients.features), patients.labels)

        def utility(model: Vector) -> int:
            after = log_losses(quick_probabilities(model, patients.features), patients.labels)
            saved = private_utility(before, after, expected=expected, clip=clip, noise_multiplier=self._score_noise, noise=self.noise)
            return math.floor(saved * MICRO)

        return utility
