"""Order: take up the offers that match a task, and submit it to the hospitals that made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabric.ledger_views import ListingView
from gateway.connect import Access
from gateway.errors import InputError
from gateway.market.description import parse_description
from gateway.researcher.submit import Submitted, submit_task
from gateway.task_file import MICRO, TaskFile, parse


@dataclass(frozen=True)
class Match:
    """The listings that an order takes up, one of each hospital, and why it does not take up the others, by id."""

    taken: tuple[ListingView, ...]
    refused: Mapping[str, str]


async def order(
    access: Access, document: bytes, *, legal_basis: str, wanted: Sequence[str], task_id: str, source: str
) -> tuple[Match, Submitted]:
    """Submit the task to the hospitals whose offers match, all or those `wanted`; its reward is the escrow. Run by the researcher.

    Raises InputError where too few match, and what `submit_task` raises.
    """
    task = parse(document, source=source)
    found = match(task, await access.ledger.listings(), legal_basis=legal_basis, wanted=wanted)
    if len(found.taken) < task.task.minimum_hospitals:
        reasons = "; ".join(f"{listing_id}: {why}" for listing_id, why in found.refused.items()) or "none is open"
        raise InputError(f"{len(found.taken)} offers match and the task needs {task.task.minimum_hospitals} ({reasons})")
    terms = {"listings": [listing.listing_id for listing in found.taken], "legal_basis": legal_basis}
    return found, await submit_task(access, document, task_id=task_id, source=source, order=terms)


def match(task: TaskFile, listings: Sequence[ListingView], *, legal_basis: str, wanted: Sequence[str] = ()) -> Match:
    """Which listings a task may take up: the rules of the contract (fabric.contract.orders), asked before they refuse. No I/O.

    Of a hospital's listings the cheapest is taken. Of all, as many as leave each of them, in equal shares of the reward, its price.
    """
    refused = {listing_id: "there is no such listing" for listing_id in wanted if listing_id not in {each.listing_id for each in listings}}
    of_hospital: dict[str, ListingView] = {}
    for listing in sorted(listings, key=lambda each: (each.price_micro, each.listing_id)):
        if wanted and listing.listing_id not in wanted:
            continue
        why = _refusal(task, listing, legal_basis)
        if why is None and listing.mspid in of_hospital:
            why = f"{listing.mspid} offers {of_hospital[listing.mspid].listing_id} as well, which is no dearer"
        if why is None:
            of_hospital[listing.mspid] = listing
        else:
            refused[listing.listing_id] = why
    cheapest_first = list(of_hospital.values())
    while cheapest_first and task.task.reward_micro // len(cheapest_first) < cheapest_first[-1].price_micro:
        dearest = cheapest_first.pop()
        refused[dearest.listing_id] = f"its price is {dearest.price_micro / MICRO:g} tokens, and an equal share of the reward is less"
    return Match(tuple(sorted(cheapest_first, key=lambda each: each.listing_id)), refused)


def _refusal(task: TaskFile, listing: ListingView, legal_basis: str) -> str | None:
    if listing.closed:
        return "it is closed"
    if task.task.purpose not in listing.purposes:
        return f"it is not offered for {task.task.purpose!r}, but for {'; '.join(listing.purposes)}"
    if legal_basis not in listing.legal_bases:
        return f"it is not offered on the basis of {legal_basis!r}, but of {'; '.join(listing.legal_bases)}"
    if listing.permit_required and not task.task.permit:
        return "it needs a data permit, and the task names none"
    parse_description(listing.description, source=f"the description of listing {listing.listing_id}")
    return None
