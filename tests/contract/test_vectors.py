"""The pure rules against golden vectors that vectors/generate.py made from the published formulas without their code."""

import json
from pathlib import Path
from typing import Any

import pytest

from fabric.contract import budget, commitments, election, groups, incentives, trust, vesting

VECTORS = Path(__file__).parent / "vectors"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def state_of(entry: dict[str, Any]) -> trust.TrustState:
    return trust.TrustState(**{**entry, "history_ppm": tuple(entry["history_ppm"])})


@pytest.mark.parametrize("case", vectors("trust"))
def test_trust(case: dict[str, Any]) -> None:
    after = trust.update(state_of(case["state"]), trust.Signals(**case["signals"]))
    assert after == state_of(case["after"])
    assert (after.trust_ppm, after.utility_ppm, after.effect_ppm) == (case["trust_ppm"], case["utility_ppm"], case["effect_ppm"])


@pytest.mark.parametrize("case", vectors("credit"))
def test_credit(case: dict[str, Any]) -> None:
    assert trust.credit_ppm(case["rank_ppm"], case["companions_ppm"]) == case["credit_ppm"]


@pytest.mark.parametrize("case", vectors("incentives"))
def test_incentives(case: dict[str, Any]) -> None:
    weights = {mspid: incentives.weight(state_of(entry["state"])) for mspid, entry in case["hospitals"].items()}
    assert weights == {mspid: entry["weight"] for mspid, entry in case["hospitals"].items()}
    assert incentives.split(case["budget_micro"], weights) == (case["pay_micro"], case["remainder_micro"])


@pytest.mark.parametrize("case", vectors("vesting"))
def test_vesting(case: dict[str, Any]) -> None:
    due: tuple[int, ...] = ()
    released = []
    for pay in case["pay_micro"]:
        now, due = vesting.after_round(due, pay)
        released.append(now)
    assert (released, list(due)) == (case["released_micro"], case["due_micro"])
    assert sum(released) + sum(due) == sum(case["pay_micro"])


@pytest.mark.parametrize("case", vectors("forfeits")["shares"])
def test_forfeits(case: dict[str, Any]) -> None:
    assert incentives.share_out(case["forfeited_micro"], case["honest"]) == (case["share_micro"], case["treasury_micro"])


@pytest.mark.parametrize("case", vectors("forfeits")["fairness"])
def test_fairness(case: dict[str, Any]) -> None:
    assert incentives.fairness_ppm(case["attested"]) == case["fairness_ppm"]


@pytest.mark.parametrize("case", vectors("election"))
def test_election(case: dict[str, Any]) -> None:
    shares = election.capped(case["weights"])
    assert shares == case["capped"]
    assert election.draw(shares, len(shares), election.Stream(case["seed"], "aggregators")) == case["order"]


@pytest.mark.parametrize("case", vectors("groups"))
def test_groups(case: dict[str, Any]) -> None:
    assert groups.partition(case["members"], case["group_size"], case["seed"]) == case["groups"]
    assert groups.partition(case["members"][::-1], case["group_size"], case["seed"]) == case["groups"]


@pytest.mark.parametrize("case", vectors("budget")["costs"])
def test_rdp_cost(case: dict[str, Any]) -> None:
    expected = tuple(case.pop("rdp_micro"))
    assert budget.rdp_cost_micro(**case) == expected


@pytest.mark.parametrize("case", vectors("budget")["caps"])
def test_caps(case: dict[str, Any]) -> None:
    assert budget.caps_micro(case["epsilon_micro"], case["delta_inverse"]) == tuple(case["caps_micro"])


@pytest.mark.parametrize("case", vectors("budget")["bad"])
def test_bad_events_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        budget.rdp_cost_micro(**case)


def test_orders_are_those_of_the_vectors() -> None:
    assert list(budget.ORDERS) == vectors("budget")["orders"]


def test_commitments() -> None:
    case = vectors("commitments")
    assert commitments.commitment(**case["good"]) == case["digest"]
    assert all(commitments.commitment(**bad) != case["digest"] for bad in case["bad"])
