"""What trust does to each way of cheating it, as hundreds of rounds of the pure rules: groups, ranks, credits, quarantine and pay.

A round's scores are what the hospitals are worth, so that only the rules are tried; how they fare with noise is `consortium bench trust`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from fabric.contract import incentives, judgement, trust
from fabric.contract.accounts import BOND
from fabric.contract.election import capped, stake_weight
from fabric.contract.groups import partition, with_suspects_apart
from fabric.contract.records import GroupScore, Scores
from fabric.contract.trust import S, Signals, TrustState

HONEST = [f"H{number:02d}" for number in range(12)]
BAD = HONEST[4]
WORTH = 10_000  # micro-nats that an honest hospital adds to its group
CLIP = 1_000_000


@dataclass
class Consortium:
    """`worth` tells what a hospital adds in a round; `lies` what a validator says of a group instead of what it is worth."""

    names: Sequence[str]
    worth: Callable[[str, int], int]
    lies: Mapping[str, Callable[[Sequence[str]], int]] = field(default_factory=dict)
    absent: Callable[[str, int], bool] = lambda mspid, number: False
    states: dict[str, TrustState] = field(default_factory=dict)
    pay: dict[str, int] = field(default_factory=dict)
    number: int = 0

    def play(self, rounds: int) -> "Consortium":
        for _ in range(rounds):
            self.number += 1
            self._round()
        return self

    def trust(self, mspid: str) -> int:
        return self.states[mspid].trust_ppm

    def _round(self) -> None:
        before = {mspid: self.states.get(mspid, TrustState()) for mspid in self.names}
        here = [mspid for mspid in self.names if not self.absent(mspid, self.number)]
        suspects = {mspid for mspid in here if before[mspid].quarantined}
        groups = with_suspects_apart(here, suspects, 3, f"{self.number:064x}")
        ranks = judgement.utilities_ppm({mspid: self._scores(mspid, groups) for mspid in here[:9]}, set())
        for mspid in self.names:
            place = next((place for place, members in enumerate(groups) if mspid in members), None)
            self.states[mspid] = trust.update(before[mspid], self._signals(mspid, place, groups, ranks, before))
        weights = {mspid: incentives.weight(self.states[mspid]) for mspid in here if not before[mspid].quarantined}
        for mspid, amount in incentives.split(10**9, weights)[0].items():
            self.pay[mspid] = self.pay.get(mspid, 0) + amount

    def _signals(
        self,
        mspid: str,
        place: int | None,
        groups: Sequence[Sequence[str]],
        ranks: Mapping[int, int | None],
        before: Mapping[str, TrustState],
    ) -> Signals:
        rank = None if place is None else ranks[place]
        if place is None or rank is None:
            return Signals(0, True, None, None, S, None)
        others = [before[other].effect_ppm for other in groups[place] if other != mspid]
        return Signals(S, True, trust.credit_ppm(rank, others), None, S, None)

    def _scores(self, validator: str, groups: Sequence[Sequence[str]]) -> Scores:
        lie = self.lies.get(validator)
        scores = [
            GroupScore(group=place, utility_micro=lie(members) if lie else sum(self.worth(each, self.number) for each in members))
            for place, members in enumerate(groups)
            if validator not in members
        ]
        return Scores(candidate_digest="c", candidate_micro=0, groups=scores)


def useless(*names: str) -> Callable[[str, int], int]:
    """These add nothing. Nobody is exactly like another."""
    return lambda mspid, number: 0 if mspid in names else WORTH + 17 * HONEST.index(mspid)


def lowest(consortium: Consortium) -> str:
    return min(consortium.states, key=consortium.trust)


def test_without_anybody_bad_nobody_is_quarantined() -> None:
    """Equals differ by next to nothing, and ranks make much of it: quarantine must not."""
    consortium = Consortium(HONEST, lambda mspid, number: WORTH + hash_of(mspid, number) % 1000).play(300)
    assert not any(state.quarantined for state in consortium.states.values())


def hash_of(mspid: str, number: int) -> int:
    return int(partition(HONEST, 3, f"{mspid}{number}")[0][0][1:]) * 977 + number * 7919 + HONEST.index(mspid) * 104_729


def test_free_riding_costs_trust_pay_and_in_the_end_the_vote() -> None:
    consortium = Consortium(HONEST, useless(BAD)).play(40)
    assert lowest(consortium) == BAD
    assert consortium.states[BAD].quarantined
    assert consortium.pay[BAD] < sum(consortium.pay.values()) / len(HONEST) / 5


def test_replaying_the_last_step_earns_what_it_is_worth() -> None:
    """It is less than fresh work and more than nothing: trust follows the worth, and cannot tell how it came about."""
    consortium = Consortium(HONEST, lambda mspid, number: WORTH // 2 if mspid == BAD else WORTH + 17 * HONEST.index(mspid)).play(40)
    assert lowest(consortium) == BAD


def test_whose_company_is_bad_gets_its_name_back() -> None:
    """By ranks alone, six rounds beside a bad hospital would look like its own doing; credits take the company off."""
    consortium = Consortium(HONEST, useless(BAD)).play(60)
    honest = [consortium.states[mspid].effect_ppm for mspid in HONEST if mspid != BAD]
    assert min(honest) > consortium.states[BAD].effect_ppm + S // 2


@pytest.mark.parametrize("period", [3, 10])
def test_on_off_pays_less_than_being_good(period: int) -> None:
    consortium = Consortium(HONEST, lambda mspid, n: useless(BAD)(mspid, n) if n // period % 2 else useless()(mspid, n)).play(120)
    equal = sum(consortium.pay.values()) / len(HONEST)
    assert consortium.pay[BAD] < equal * 3 / 4


def test_quarantine_ends_with_good_rounds_and_not_before() -> None:
    consortium = Consortium(HONEST, useless(BAD)).play(40)
    consortium.worth = useless()
    consortium.play(2)
    assert consortium.states[BAD].quarantined
    consortium.play(40)
    assert not consortium.states[BAD].quarantined


def test_whitewashing_gives_no_trust_and_a_newcomer_s_say() -> None:
    """A new name costs a new bond, has no trust, and counts a tenth of full trust in elections, whatever it did before."""
    consortium = Consortium(HONEST, useless()).play(60)
    newcomer = stake_weight(TrustState().trust_ppm, BOND)
    assert TrustState().trust_ppm == 0 == incentives.weight(TrustState())
    assert newcomer * 4 < stake_weight(consortium.trust(HONEST[6]), BOND)


def test_many_names_of_one_owner_cannot_buy_more_than_twice_an_equal_say_each_and_no_trust() -> None:
    """Sybils share a stake: their bonds are what they weigh, and trust must be earned by each."""
    honest = {mspid: stake_weight(700_000, BOND) for mspid in HONEST}
    sybils = {f"Z{number:02d}": stake_weight(0, BOND) for number in range(12)}
    weights = capped(honest | sybils)
    assert sum(weights[mspid] for mspid in sybils) * 7 < sum(weights.values())
    split_bond = {f"Z{number:02d}": stake_weight(0, BOND // 12) for number in range(12)}
    assert sum(split_bond.values()) <= stake_weight(0, BOND)


def test_a_minority_of_colluding_validators_cannot_save_a_free_rider() -> None:
    def lie(members: Sequence[str]) -> int:
        return CLIP if BAD in members else -CLIP

    consortium = Consortium(HONEST, useless(BAD), lies={HONEST[0]: lie, HONEST[1]: lie}).play(40)
    assert lowest(consortium) == BAD
    assert consortium.states[BAD].quarantined


def test_colluding_validators_cannot_get_an_honest_hospital_quarantined() -> None:
    def slander(members: Sequence[str]) -> int:
        return -CLIP if BAD in members else CLIP

    consortium = Consortium(HONEST, useless(), lies={HONEST[0]: slander, HONEST[1]: slander})
    for _ in range(60):
        consortium.play(1)
        assert not consortium.states[BAD].quarantined


def test_absence_is_not_measured_and_still_costs() -> None:
    consortium = Consortium(HONEST, useless(), absent=lambda mspid, number: mspid == BAD and number > 30).play(30)
    before = consortium.states[BAD]
    after = consortium.play(5).states[BAD]
    assert (after.history_ppm, after.streak) == (before.history_ppm, 0)
    assert after.trust_ppm < before.trust_ppm


def test_suspects_are_grouped_apart_only_where_both_sides_fill_a_group() -> None:
    seed = "ab" * 32
    suspects = set(HONEST[:3])
    apart = with_suspects_apart(HONEST, suspects, 3, seed)
    assert apart[-1] == HONEST[:3] and sorted(mspid for members in apart for mspid in members) == HONEST
    assert with_suspects_apart(HONEST, set(HONEST[:2]), 3, seed) == partition(HONEST, 3, seed)
    assert with_suspects_apart(HONEST[:5], suspects, 3, seed) == partition(HONEST[:5], 3, seed)
