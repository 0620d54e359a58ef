"""Listings and orders: debited before published, refused where an offer does not allow, settled by contribution, tokens conserved."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.consortium import LAB, TASK, TRAIN, Behaviour, Consortium, digest, refused

PARTITIONS = ("train", "validation", "test")
SPENDS = [{**TRAIN, "partition": partition} for partition in PARTITIONS]
PURPOSE, BASIS = "scientific research", "GDPR 9(2)(j)"


def offer(consortium: Consortium, mspid: str, listing_id: str, **changes: Any) -> None:
    consortium.by(mspid, "debit_listing", listing_id=listing_id, dataset="patients", spends=SPENDS)
    publish(consortium, mspid, listing_id, **changes)


def publish(consortium: Consortium, mspid: str, listing_id: str, **changes: Any) -> None:
    terms = {
        "listing_id": listing_id,
        "dataset": "patients",
        "digest": digest(listing_id),
        "description": '{"@type":"dcat:Dataset"}',
        "price_micro": 10_000_000,
        "purposes": [PURPOSE],
        "legal_bases": [BASIS],
        "permit_required": True,
    }
    consortium.by(mspid, "publish_listing", **{**terms, **changes})


def market(hospitals: int = 5, **changes: Any) -> Consortium:
    consortium = Consortium(hospitals)
    for number, mspid in enumerate(consortium.hospitals, start=1):
        offer(consortium, mspid, f"heart-{number}", **changes)
    return consortium


def order(consortium: Consortium, listings: list[str], *, legal_basis: str = BASIS, **changes: Any) -> None:
    terms = {"purpose": PURPOSE, "reward_micro": 60_000_000, **changes}
    consortium.propose(order={"listings": listings, "legal_basis": legal_basis}, **terms)


def test_statistics_are_paid_for_by_every_patient_before_they_are_published() -> None:
    consortium = Consortium(3)
    first, second = consortium.hospitals[:2]
    with refused("NOT_DEBITED"):
        publish(consortium, first, "heart-1")
    with refused("BAD_ARGUMENT"):
        consortium.by(first, "debit_listing", listing_id="heart-1", dataset="patients", spends=SPENDS[:2])
    with refused("NOT_FOUND"):
        consortium.by(first, "debit_listing", listing_id="heart-1", dataset="elsewhere", spends=SPENDS)
    consortium.by(first, "debit_listing", listing_id="heart-1", dataset="patients", spends=SPENDS)
    with refused("ALREADY_DEBITED"):
        consortium.by(first, "debit_listing", listing_id="heart-1", dataset="patients", spends=SPENDS)
    with refused("NOT_DEBITED"):
        publish(consortium, second, "heart-1")
    publish(consortium, first, "heart-1")
    with refused("LISTING_EXISTS"):
        publish(consortium, first, "heart-1", price_micro=1)
    filters = consortium.view("budget", mspid=first, dataset="patients")["filters"]
    assert [(each["partition"], any(each["spent_micro"])) for each in filters] == [(name, True) for name in PARTITIONS]
    told = consortium.view("spends", mspid=first, dataset="patients")
    assert {each["task_id"] for each in told} == {"listing heart-1"} and len(told) == 3


def test_a_listing_beyond_the_budget_is_refused() -> None:
    consortium = Consortium(3)
    loud = [{**spend, "noise_multiplier_micro": 200_000} for spend in SPENDS]
    with refused("BUDGET_EXCEEDED"):
        consortium.by(consortium.hospitals[0], "debit_listing", listing_id="heart-1", dataset="patients", spends=loud)
    assert not consortium.ledger.records("listing_debit")


def test_an_order_is_an_escrowed_task_for_the_hospitals_that_made_the_offers() -> None:
    consortium = market()
    order(consortium, ["heart-1", "heart-2", "heart-4"])
    asked = [consortium.hospitals[number] for number in (0, 1, 3)]
    assert consortium.task()["hospitals"] == asked
    assert consortium.task()["escrow_micro"] == 60_000_000
    assert consortium.view("organisation", mspid=LAB)["balance_micro"] == 940_000_000
    with refused("NOT_ASKED"):
        consortium.approve(consortium.hospitals[2])
    (found,) = consortium.view("orders")
    taken_up = {each["mspid"]: each["listing_id"] for each in found["offers"]}
    assert taken_up == dict(zip(asked, ("heart-1", "heart-2", "heart-4"), strict=True))
    assert consortium.tokens() == consortium.minted()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"purpose": "advertising"}, "PURPOSE_REFUSED"),
        ({"legal_basis": "GDPR 6(1)(f)"}, "LEGAL_BASIS_REFUSED"),
        ({"permit": ""}, "PERMIT_REQUIRED"),
        ({"reward_micro": 29_999_999}, "PRICE_NOT_MET"),
        ({"listings": ["heart-1", "heart-2", "nowhere"]}, "NOT_FOUND"),
        ({"listings": ["heart-1", "heart-2", "heart-2"]}, "BAD_ARGUMENT"),
        ({"listings": ["heart-1", "heart-2"]}, "TOO_FEW_HOSPITALS"),
        ({"listings": []}, "BAD_ARGUMENT"),
        ({"reward_micro": 2_000_000_000}, "INSUFFICIENT_BALANCE"),
    ],
)
def test_what_an_offer_does_not_allow_is_refused_and_costs_nothing(changes: dict[str, Any], code: str) -> None:
    consortium = market(3)
    listings = changes.pop("listings", ["heart-1", "heart-2", "heart-3"])
    with refused(code):
        order(consortium, listings, **changes)
    assert consortium.view("tasks") == consortium.view("orders") == []
    assert consortium.view("organisation", mspid=LAB)["balance_micro"] == 1_000_000_000


def test_a_closed_listing_is_offered_no_more_and_its_orders_go_on() -> None:
    consortium = market(3)
    order(consortium, ["heart-1", "heart-2", "heart-3"])
    first, second = consortium.hospitals[:2]
    with refused("DENIED"):
        consortium.by(second, "close_listing", listing_id="heart-1")
    consortium.by(first, "close_listing", listing_id="heart-1")
    with refused("LISTING_CLOSED"):
        consortium.by(first, "close_listing", listing_id="heart-1")
    with refused("LISTING_CLOSED"):
        order(consortium, ["heart-1", "heart-2", "heart-3"], task_id="second")
    consortium.approve(first)


def test_what_was_ordered_is_what_is_approved() -> None:
    consortium = market(3)
    first = consortium.hospitals[0]
    consortium.by(first, "register_dataset", dataset="other", epsilon_micro=8_000_000, delta_inverse=100_000)
    order(consortium, ["heart-1", "heart-2", "heart-3"])
    with refused("OTHER_DATASET"):
        consortium.approve(first, dataset="other")
    consortium.approve(first)


def test_settling_adds_up_what_contributions_earned() -> None:
    consortium = market(4)
    order(consortium, [f"heart-{number}" for number in range(1, 5)], rounds=2)
    for mspid in consortium.hospitals:
        consortium.approve(mspid)
    consortium.advance()
    consortium.make_key()
    lazy = consortium.hospitals[3]
    with refused("WRONG_PHASE"):
        consortium.by(lazy, "settle_order", task_id=TASK)
    consortium.play_round()
    consortium.play_round(Behaviour(silent={"commit": {lazy}}))
    outsider = "H09MSP"
    consortium.register_hospital(outsider)
    with refused("DENIED"):
        consortium.by(outsider, "settle_order", task_id=TASK)
    consortium.submit(consortium.researcher, "settle_order", task_id=TASK)
    with refused("ALREADY_SETTLED"):
        consortium.by(lazy, "settle_order", task_id=TASK)
    (found,) = consortium.view("orders")
    expected = dict.fromkeys(consortium.hospitals[:4], 0)
    for number in (1, 2):
        for entry in consortium.settlement(number)["hospitals"]:
            expected[entry["mspid"]] += entry["pay_micro"]
    assert (found["settled"], found["outcome"], found["paid_micro"]) == (True, "finished", expected)
    assert expected[lazy] < min(expected[mspid] for mspid in consortium.hospitals[:3])
    assert consortium.tokens() == consortium.minted()
    with refused("NOT_FOUND"):
        consortium.submit(consortium.researcher, "settle_order", task_id="no-order")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["order", "abort", "close", "play", "settle"]), max_size=8), st.integers(30_000_000, 200_000_000))
def test_tokens_are_conserved_whatever_is_done_in_the_market(steps: list[str], reward_micro: int) -> None:
    from fabric.contract.errors import ContractError

    consortium = market(3)
    for step in steps:
        try:
            if step == "order":
                order(consortium, ["heart-1", "heart-2", "heart-3"], reward_micro=reward_micro, rounds=1)
            elif step == "abort":
                consortium.submit(consortium.researcher, "abort_task", task_id=TASK, reason="changed our mind")
            elif step == "close":
                consortium.by(consortium.hospitals[0], "close_listing", listing_id="heart-1")
            elif step == "play":
                for mspid in consortium.hospitals:
                    consortium.approve(mspid)
                consortium.advance()
                consortium.make_key()
                consortium.play_round()
            else:
                consortium.submit(consortium.researcher, "settle_order", task_id=TASK)
        except ContractError:
            pass
        assert consortium.tokens() == consortium.minted()
