"""Orders: tasks that take up hospitals' offers. Only who made them is asked, and what an offer does not allow is refused."""

from dataclasses import dataclass
from typing import Annotated

from fabric.contract.arguments import FewEntries, Statement, TaskId
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.records import Listing, Offer, Order
from fabric.contract.state import State


@dataclass(frozen=True)
class OrderTerms:
    """Part of `submit_task`: the offers that a task takes up."""

    listings: Annotated[tuple[TaskId, ...], FewEntries]
    legal_basis: Statement


def take_up(call: Call, task_id: str, terms: OrderTerms, *, purpose: str, permit: str, reward_micro: int) -> list[str]:
    """Write the order and return the hospitals that its task is offered to; refuse what an offer does not allow."""
    offers = [_offer(call.state, listing_id) for listing_id in terms.listings]
    hospitals = sorted(offer["mspid"] for offer in offers)
    if len(set(hospitals)) < len(hospitals):
        raise ContractError("BAD_ARGUMENT", "an order takes up one offer of each hospital; name one listing of each")
    share = reward_micro // len(offers)
    for offer in offers:
        _check(listing_of(call.state, offer["listing_id"]), terms.legal_basis, purpose=purpose, permit=permit, share=share)
    record = Order(
        task_id=task_id,
        organisation=call.mspid,
        legal_basis=terms.legal_basis,
        offers=offers,
        reward_micro=reward_micro,
        settled=False,
        outcome="",
        paid_micro={},
    )
    call.state.put("order", (task_id,), record)
    return hospitals


def check_dataset(state: State, task_id: str, mspid: str, dataset: str) -> None:
    """Refuse an approval of an ordered task with another data set than the one that was offered."""
    order: Order | None = state.get("order", task_id)
    offered = None if order is None else next(offer["dataset"] for offer in order["offers"] if offer["mspid"] == mspid)
    if offered is not None and offered != dataset:
        raise ContractError("OTHER_DATASET", f"task {task_id} ordered data set {offered} of {mspid}; approve with that one, or reject")


def _check(listing: Listing, legal_basis: str, *, purpose: str, permit: str, share: int) -> None:
    name = f"listing {listing['listing_id']} of {listing['mspid']}"
    if listing["closed"]:
        raise ContractError("LISTING_CLOSED", f"{name} is closed; choose among those that are open")
    if purpose not in listing["purposes"]:
        raise ContractError("PURPOSE_REFUSED", f"{name} is not offered for this purpose; it permits: {'; '.join(listing['purposes'])}")
    if legal_basis not in listing["legal_bases"]:
        raise ContractError(
            "LEGAL_BASIS_REFUSED", f"{name} is not offered on this legal basis; it permits: {'; '.join(listing['legal_bases'])}"
        )
    if listing["permit_required"] and not permit:
        raise ContractError("PERMIT_REQUIRED", f"{name} is offered to holders of a data permit only; name the permit in the task")
    if share < listing["price_micro"]:
        raise ContractError(
            "PRICE_NOT_MET", f"{name} asks for {listing['price_micro']} micro-tokens and an equal share would be {share}; raise the reward"
        )


def _offer(state: State, listing_id: str) -> Offer:
    found = listing_of(state, listing_id)
    return Offer(
        listing_id=listing_id, mspid=found["mspid"], dataset=found["dataset"], digest=found["digest"], price_micro=found["price_micro"]
    )


def listing_of(state: State, listing_id: str) -> Listing:
    found: Listing | None = state.get("listing", listing_id)
    if found is None:
        raise ContractError("NOT_FOUND", f"there is no listing {listing_id}; the listings view lists those there are")
    return found
