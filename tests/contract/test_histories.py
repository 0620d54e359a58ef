"""Generated histories: whatever hospitals do or fail to do, tokens are conserved and the settlements explain the state."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.contract import incentives, trust, vesting
from tests.support.consortium import LAB, TASK, Behaviour, Consortium
from tests.support.stub import person

PHASES = ("commit", "reveal", "upload", "sum", "share", "candidate", "score_commit", "score_reveal")


@st.composite
def behaviours(draw: st.DrawFn, hospitals: list[str]) -> Behaviour:
    """Up to a third of the hospitals misbehave, each in phases of its own; sometimes scores go bad, too."""
    count = draw(st.integers(0, (len(hospitals) - 1) // 3))
    bad = draw(st.lists(st.sampled_from(hospitals), min_size=count, max_size=count, unique=True))
    silent: dict[str, set[str]] = {}
    for mspid in bad:
        for phase in draw(st.sets(st.sampled_from(PHASES), max_size=3)):
            silent.setdefault(phase, set()).add(mspid)
    offline = set(bad) if draw(st.booleans()) else set()
    return Behaviour(
        offline=offline,
        silent=silent,
        utility={mspid: draw(st.integers(-(10**6), 10**6)) for mspid in bad},
        candidate_micro=draw(st.sampled_from([10_000, 10_000, -60_000])),
        other_candidate=set(bad) if draw(st.booleans()) else set(),
        rejected_groups=draw(st.sampled_from([(), (0,)])),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, int, bool, list[Behaviour]]:
    count = draw(st.integers(3, 9))
    rounds = draw(st.integers(1, 4))
    names = [f"H{number:02d}MSP" for number in range(1, count + 1)]
    normalisation = draw(st.booleans())
    behaviour = [draw(behaviours(names)) for _ in range(rounds + normalisation)]
    return count, rounds, draw(st.integers(0, 10**9)), normalisation, behaviour


@settings(max_examples=25, deadline=None)
@given(histories())
def test_tokens_are_conserved_and_settlements_explain_the_state(history: tuple[int, int, int, bool, list[Behaviour]]) -> None:
    count, rounds, reward, normalisation, played = history
    consortium = Consortium(count)
    consortium.start(rounds=rounds, reward_micro=reward, heartbeat_limit=1, normalisation=normalisation)
    settlements, misbehaved = [], set()
    for behaviour in played:
        settlements.append(consortium.play_round(behaviour))
        misbehaved |= behaviour.offline.union(*behaviour.silent.values())
        assert consortium.tokens() == consortium.minted()
        assert_nobody_honest_lost(consortium, misbehaved)
        if settlements[-1]["task_phase"] != "rounds":
            break
        for mspid in consortium.task()["absent"]:
            consortium.by(mspid, "rejoin", task_id=TASK)
    assert consortium.task()["phase"] == settlements[-1]["task_phase"] != "rounds"
    assert consortium.task()["escrow_micro"] == 0
    check_settlements(consortium, settlements, reward)


def assert_nobody_honest_lost(consortium: Consortium, misbehaved: set[str]) -> None:
    """Whoever did its duties has its whole bond, and at least the balance it began with."""
    for entry in consortium.view("organisations"):
        if entry["kind"] == "hospital" and entry["mspid"] not in misbehaved:
            assert entry["bond_micro"] == 100_000_000
            assert entry["balance_micro"] >= 900_000_000


def steps(consortium: Consortium) -> Iterator[None]:
    """A task of two rounds, halted between any two transactions that move it."""
    consortium.propose()
    yield
    for mspid in consortium.hospitals:
        consortium.approve(mspid)
        yield
    consortium.advance()
    yield
    consortium.make_key()
    while consortium.task()["phase"] == "rounds":
        yield
        consortium.play_phase(consortium.round(), Behaviour())


STEPS = sum(1 for _ in steps(Consortium(4)))


@pytest.mark.parametrize("done", range(STEPS))
def test_a_researcher_who_aborts_at_any_step_costs_nobody_honest_anything(done: int) -> None:
    """Fairness under aborts: what rounds paid is paid, what is left of the escrow goes back, and every bond is whole."""
    consortium = Consortium(4)
    task = steps(consortium)
    for _ in range(done + 1):
        next(task)
    earned = {entry["mspid"]: entry["balance_micro"] for entry in consortium.view("organisations")}
    escrow = consortium.task()["escrow_micro"]
    consortium.submit(consortium.researcher, "abort_task", task_id=TASK, reason="permit withdrawn")
    assert consortium.tokens() == consortium.minted()
    assert_nobody_honest_lost(consortium, set())
    assert {entry["mspid"]: entry["balance_micro"] for entry in consortium.view("organisations")} == earned | {LAB: earned[LAB] + escrow}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("offline", [False, True])
def test_a_hospital_that_stops_at_any_step_costs_nobody_honest_anything(phase: str, offline: bool) -> None:
    consortium = Consortium(6)
    consortium.start(rounds=1, heartbeat_limit=1)
    quitter = consortium.round()["aggregators"][0]
    consortium.play_round(Behaviour(silent={phase: {quitter}}, offline={quitter} if offline else set()))
    assert consortium.task()["phase"] == "finished"
    assert consortium.tokens() == consortium.minted()
    assert_nobody_honest_lost(consortium, {quitter})


def check_settlements(consortium: Consortium, settlements: list[Any], reward: int) -> None:
    """Recompute trust and accounts from the settlements alone, as an auditor does."""
    states = {mspid: trust.TrustState() for mspid in consortium.hospitals}
    balances = dict.fromkeys(consortium.hospitals, 900000000) | {LAB: 1_000_000_000 - reward}
    bonds = dict.fromkeys(consortium.hospitals, 100000000) | {LAB: 0}
    dues: dict[str, tuple[int, ...]] = {}
    for settlement in settlements:
        weights = {}
        for entry in settlement["hospitals"]:
            names = ("attendance_ppm", "integrity", "utility_ppm", "quality_ppm", "validator_ppm")
            signals = trust.Signals(norm_ppm=None, **{name: entry[name] for name in names})
            states[entry["mspid"]] = trust.update(states[entry["mspid"]], signals)
            if entry["contributed"]:
                weights[entry["mspid"]] = incentives.weight(states[entry["mspid"]])
            bonds[entry["mspid"]] -= entry["deposit_micro"]
            balances[entry["mspid"]] += settlement["share_micro"] if entry["mspid"] in settlement["honest"] else 0
        pay, remainder = incentives.split(settlement["budget_micro"], weights)
        assert remainder == settlement["remainder_micro"]
        assert {entry["mspid"]: entry["pay_micro"] for entry in settlement["hospitals"] if entry["contributed"]} == pay
        for mspid in settlement["released_micro"]:
            released, dues[mspid] = vesting.after_round(dues.get(mspid, ()), pay.get(mspid, 0))
            assert settlement["released_micro"][mspid] == released
            balances[mspid] += released
        balances[LAB] += settlement["refund_micro"]
    for entry in consortium.view("trust"):
        state = states[entry["mspid"]]
        assert (entry["positive"], entry["negative"], entry["trust_ppm"]) == (state.positive, state.negative, state.trust_ppm)
    for entry in consortium.view("organisations"):
        assert entry["vesting_micro"] == sum(dues.get(entry["mspid"], ()))
        assert (entry["balance_micro"], entry["bond_micro"]) == (balances[entry["mspid"]], bonds[entry["mspid"]])


def test_a_hospital_may_be_the_researcher_too() -> None:
    """Its account is paid, refunded and charged in one transaction."""
    consortium = Consortium(4)
    own = consortium.hospitals[0]
    scientist = person(own, "researcher")
    admin = person(own, "admin", "admin")
    consortium.submit(admin, "register_identity", role="researcher", fingerprint=scientist.fingerprint, endpoint="")
    consortium.researcher = scientist
    consortium.start(rounds=1)
    silent = consortium.round()["aggregators"][0]
    settlement = consortium.play_round(Behaviour(silent={"sum": {silent}}))
    assert settlement["task_phase"] == "finished"
    assert consortium.tokens() == consortium.minted()
