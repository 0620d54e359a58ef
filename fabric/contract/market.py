"""The data market: what hospitals offer, and what came of the orders (fabric.contract.orders) that took it up.

A listing's statistics are released with noise, so its debit comes first, in a transaction of its own: every patient may be in them, and
each pays in the one partition that it belongs to. An order's reward is the escrow of its task, and the task's settlements split it by
contribution; `settle_order` adds up what came of it once the task is over.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fabric.contract.arguments import Amount, Description, Digest, FewEntries, Name, Statement, TaskId
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.orders import listing_of
from fabric.contract.records import Listing, ListingDebit, Order, Settlement
from fabric.contract.registry import PARTITIONS, put_owned, require_hospital
from fabric.contract.spending import SpendEvent, as_records, charge, costs
from fabric.contract.state import State
from fabric.contract.tasks import OVER, TaskArgument, progress_of, terms_of


@dataclass(frozen=True)
class DebitListing:
    listing_id: TaskId
    dataset: Name
    spends: Annotated[tuple[SpendEvent, ...], FewEntries]


@dataclass(frozen=True)
class PublishListing:
    listing_id: TaskId
    dataset: Name
    digest: Digest
    description: Description
    price_micro: Amount
    purposes: Annotated[tuple[Statement, ...], FewEntries]
    legal_bases: Annotated[tuple[Statement, ...], FewEntries]
    permit_required: bool


@dataclass(frozen=True)
class ListingArgument:
    listing_id: TaskId


def debit_listing(call: Call, argument: DebitListing) -> dict[str, Any]:
    require_hospital(call)
    if call.state.get("dataset", call.mspid, argument.dataset) is None:
        raise ContractError("NOT_FOUND", f"{call.mspid} has no data set {argument.dataset}; register it before offering it")
    if call.state.get("listing_debit", argument.listing_id) is not None:
        raise ContractError("ALREADY_DEBITED", f"listing {argument.listing_id} is debited; publish it, or choose another id")
    spent = costs(argument.spends)
    if set(spent) != set(PARTITIONS):
        raise ContractError("BAD_ARGUMENT", f"a listing is about all patients: debit each of the partitions {', '.join(PARTITIONS)}")
    for partition, cost in sorted(spent.items()):
        charge(call, argument.dataset, partition, cost)
    spends = as_records(argument.spends)
    record = ListingDebit(listing_id=argument.listing_id, mspid=call.mspid, dataset=argument.dataset, spends=spends)
    put_owned(call.state, call.mspid, "listing_debit", (argument.listing_id,), record)
    call.state.announce("listing_debited", dict(record))
    return {"listing_id": argument.listing_id}


def publish_listing(call: Call, argument: PublishListing) -> dict[str, Any]:
    debited: ListingDebit | None = call.state.get("listing_debit", argument.listing_id)
    if debited is None or (debited["mspid"], debited["dataset"]) != (call.mspid, argument.dataset):
        raise ContractError(
            "NOT_DEBITED", f"{call.mspid} has not debited {argument.dataset} for listing {argument.listing_id}; debit it first"
        )
    if call.state.get("listing", argument.listing_id) is not None:
        raise ContractError("LISTING_EXISTS", f"listing {argument.listing_id} is published and does not change; publish another one")
    record = Listing(
        listing_id=argument.listing_id,
        mspid=call.mspid,
        dataset=argument.dataset,
        digest=argument.digest,
        description=argument.description,
        price_micro=argument.price_micro,
        purposes=list(argument.purposes),
        legal_bases=list(argument.legal_bases),
        permit_required=argument.permit_required,
        closed=False,
    )
    put_owned(call.state, call.mspid, "listing", (argument.listing_id,), record)
    event = {"listing_id": argument.listing_id, "mspid": call.mspid, "digest": argument.digest, "price_micro": argument.price_micro}
    call.state.announce("listing_published", event)
    return {"listing_id": argument.listing_id}


def close_listing(call: Call, argument: ListingArgument) -> dict[str, Any]:
    """Offer it no more; orders that took it up go on."""
    found = listing_of(call.state, argument.listing_id)
    if found["mspid"] != call.mspid:
        raise ContractError("DENIED", f"listing {argument.listing_id} is {found['mspid']}'s; only its own hospital closes it")
    if found["closed"]:
        raise ContractError("LISTING_CLOSED", f"listing {argument.listing_id} is closed already")
    put_owned(call.state, call.mspid, "listing", (argument.listing_id,), {**found, "closed": True})
    call.state.announce("listing_closed", {"listing_id": argument.listing_id, "mspid": call.mspid})
    return {"listing_id": argument.listing_id}


def settle_order(call: Call, argument: TaskArgument) -> dict[str, Any]:
    """Add up what each hospital earned in an order's task, which is over; by its buyer or one of its hospitals."""
    terms, progress = terms_of(call.state, argument.task_id), progress_of(call.state, argument.task_id)
    found: Order | None = call.state.get("order", argument.task_id)
    if found is None:
        raise ContractError("NOT_FOUND", f"task {argument.task_id} is no order; the orders view lists those there are")
    if call.mspid not in (terms["organisation"], *(offer["mspid"] for offer in found["offers"])):
        raise ContractError("DENIED", f"{call.mspid} has no part in order {argument.task_id}; its buyer or one of its hospitals settles it")
    if progress["phase"] not in OVER:
        raise ContractError("WRONG_PHASE", f"task {argument.task_id} is {progress['phase']}; an order is settled when its task is over")
    if found["settled"]:
        raise ContractError("ALREADY_SETTLED", f"order {argument.task_id} is settled; the orders view tells what came of it")
    outcome, paid = progress["phase"], _paid(call.state, found, progress["round"])
    settled: Order = {**found, "settled": True, "outcome": outcome, "paid_micro": paid}
    call.state.put("order", (argument.task_id,), settled)
    event = {"task_id": argument.task_id, "outcome": outcome, "paid_micro": paid}
    call.state.announce("order_settled", event)
    return event


def _paid(state: State, order: Order, rounds: int) -> dict[str, int]:
    paid = {offer["mspid"]: 0 for offer in order["offers"]}
    for number in range(1, rounds + 1):
        settlement: Settlement | None = state.get("settlement", order["task_id"], number)
        for entry in settlement["hospitals"] if settlement is not None else ():
            paid[entry["mspid"]] += entry["pay_micro"]
    return paid
