"""Properties of the pure rules that hold whatever the numbers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.contract import clock, election, groups, incentives, judgement, trust
from fabric.contract.records import GroupScore, Scores
from fabric.contract.trust import S, Signals, TrustState

shares = st.integers(0, S)
maybe = st.none() | shares
signals = st.builds(
    Signals, attendance_ppm=shares, integrity=st.booleans(), utility_ppm=maybe, norm_ppm=maybe, quality_ppm=shares, validator_ppm=maybe
)
names = st.lists(st.sampled_from([f"H{number}" for number in range(20)]), min_size=1, unique=True)
seeds = st.binary(min_size=32, max_size=32).map(bytes.hex)
PERFECT = Signals(attendance_ppm=S, integrity=True, utility_ppm=S, norm_ppm=None, quality_ppm=S, validator_ppm=S)
ABSENT = Signals(attendance_ppm=0, integrity=True, utility_ppm=None, norm_ppm=None, quality_ppm=S, validator_ppm=None)


@given(st.lists(signals, max_size=60))
def test_trust_stays_a_share_and_history_short(rounds: list[Signals]) -> None:
    state = TrustState()
    for seen in rounds:
        state = trust.update(state, seen)
        assert 0 <= state.trust_ppm < S
        assert len(state.history_ppm) <= 20
        assert state.positive <= 50 * S and state.negative <= 267 * S  # limits of the two geometric series


def test_a_newcomer_has_no_trust_and_a_long_honest_record_much() -> None:
    state = TrustState()
    assert state.trust_ppm == 0
    for _ in range(300):
        state = trust.update(state, PERFECT)
    assert 820_000 < state.trust_ppm < 840_000
    assert 720_000 < trust.update(state, ABSENT).trust_ppm < 740_000  # one bad round


def test_who_misses_every_second_round_ends_far_below() -> None:
    state = TrustState()
    for number in range(400):
        state = trust.update(state, PERFECT if number % 2 else ABSENT)
    assert 100_000 < state.trust_ppm < 200_000


def test_a_missed_round_ends_the_streak_and_a_broken_word_too() -> None:
    state = TrustState(streak=7)
    assert trust.update(state, PERFECT).streak == 8
    assert trust.update(state, ABSENT).streak == 0
    assert trust.update(state, Signals(S, False, S, None, S, S)).streak == 0


@given(st.integers(0, 10**15), st.dictionaries(st.text(max_size=3), st.integers(0, 10**12), min_size=1))
def test_a_split_loses_nothing(amount: int, weights: dict[str, int]) -> None:
    pay, remainder = incentives.split(amount, weights)
    assert sum(pay.values()) + remainder == (amount if any(weights.values()) else 0)
    assert 0 <= remainder < len(weights)
    assert all(value >= 0 for value in pay.values())


def test_consistency_pays_up_to_half_as_much_again() -> None:
    assert [incentives.consistency_ppm(streak) for streak in (0, 1, 10, 50)] == [S, 1_050_000, 1_500_000, 1_500_000]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10**15), min_size=1, max_size=20))
def test_nobody_holds_more_than_twice_the_equal_share(weights: dict[str, int]) -> None:
    shares = election.capped(weights)
    assert all(shares[name] <= weights[name] for name in weights)
    assert all(value * len(shares) <= 2 * sum(shares.values()) + 2 * len(shares) ** 2 for value in shares.values())  # floors
    order = sorted(weights, key=lambda name: (weights[name], shares[name]))
    assert all(shares[a] <= shares[b] for a, b in itertools.pairwise(order))


def test_one_huge_stake_is_cut_to_twice_the_equal_share() -> None:
    shares = election.capped({"whale": 10**12} | {f"H{number}": 100 for number in range(9)})
    assert shares["whale"] == 2 * sum(shares.values()) // 10


@given(names, seeds, st.integers(1, 20))
def test_a_draw_is_of_distinct_members(members: list[str], seed: str, count: int) -> None:
    drawn = election.draw(dict.fromkeys(members, 5), count, election.Stream(seed, "test"))
    assert len(drawn) == len(set(drawn)) == min(count, len(members))
    assert set(drawn) <= set(members)


def test_draws_follow_the_weights() -> None:
    first = [election.draw({"A": 3, "B": 1}, 1, election.Stream(str(number), "test"))[0] for number in range(2000)]
    assert 1400 < first.count("A") < 1600  # 1500 expected, 19 standard deviation


def test_purposes_separate_draws_from_one_seed() -> None:
    assert [election.Stream("s", purpose).below(2**64) for purpose in ("a", "b")] == [
        election.Stream("s", "a").below(2**64),
        election.Stream("s", "b").below(2**64),
    ]
    assert election.Stream("s", "a").below(2**64) != election.Stream("s", "b").below(2**64)


@given(names, seeds, st.integers(3, 8))
def test_groups_are_a_partition_of_nearly_equal_sizes(members: list[str], seed: str, group_size: int) -> None:
    parts = groups.partition(members, group_size, seed)
    assert sorted(itertools.chain(*parts)) == sorted(members)
    assert len(parts) == max(1, len(members) // group_size)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == 1 or min(sizes) >= group_size


@pytest.mark.parametrize(("members", "agreeing"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (16, 11)])
def test_quorum_is_two_thirds_rounded_up(members: int, agreeing: int) -> None:
    assert clock.quorum(members) == agreeing


@pytest.mark.parametrize(
    ("counts", "elapsed"),
    [([7], 7), ([9, 5], 5), ([9, 5, 0], 5), ([9, 8, 0, 0], 0), ([9, 8, 8, 0, 0], 2), ([9, 8, 7, 6, 0], 6), ([99, 99, 99, 0, 0, 0], 0)],
)
def test_time_passes_for_a_quorum_and_slower_for_a_majority(counts: list[int], elapsed: int) -> None:
    assert clock.agreed(counts) == elapsed


def test_median_and_ranks() -> None:
    assert [judgement.median(values) for values in ([5], [1, 4], [-3, -2], [9, 1, 5])] == [5, 2, -3, 5]
    assert judgement.ranks_ppm({0: 5}) == {0: None}
    assert judgement.ranks_ppm({0: 5, 1: 7}) == {0: 0, 1: S}
    assert judgement.ranks_ppm({0: 5, 1: 5, 2: 9}) == {0: 250_000, 1: 250_000, 2: S}


def scores(model: str, candidate: int, **utilities: int) -> Scores:
    given = [GroupScore(group=int(name[1:]), utility_micro=value) for name, value in utilities.items()]
    return Scores(candidate_digest=model, candidate_micro=candidate, groups=given)


def test_a_minority_of_validators_can_neither_accept_nor_refuse() -> None:
    honest = {"A": scores("m", 10), "B": scores("m", 20), "C": scores("x", -(10**9))}
    assert judgement.verdict("m", honest, clip_micro=83_334).accepted
    liars = {"A": scores("m", -60_000), "B": scores("m", -70_000), "C": scores("m", 10**9)}
    assert not judgement.verdict("m", liars, clip_micro=83_334).accepted
    tie = judgement.verdict("m", {"A": scores("m", 1), "B": scores("x", 1)}, clip_micro=83_334)
    assert (tie.accepted, tie.confirmed, tie.disputed) == (False, False, False)


def test_a_validator_far_from_the_others_agrees_less() -> None:
    given = {"A": scores("m", 0, g0=0), "B": scores("m", 10, g0=10), "C": scores("m", 10, g0=900_000), "D": scores("x", 0, g0=0)}
    assert [judgement.agreement_ppm(name, "m", given, clip_micro=83_334) for name in given] == [S, S, S // 2, 0]
    assert judgement.agreement_ppm("A", "m", {"A": given["A"], "B": given["B"]}, clip_micro=83_334) is None
