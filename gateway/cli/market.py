"""`consortium market`: offer data, look for them, order them, and see what came of an order."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from fabric.ledger_views import ListingView, OrderView
from gateway.cli.connected import with_gateways, with_ledger
from gateway.cli.options import PathType, config_option, format_option, task_id_option
from gateway.cli.output import Result, table
from gateway.config import MICRO
from gateway.errors import InputError, VerificationFailed

listing_option = click.option("--listing", "listing_id", required=True, metavar="ID", help="The listing's id on the ledger.")


@click.group()
def market() -> None:
    """Offer data sets to researchers, and order them."""


@market.command()
@config_option
@click.option("--listing", type=PathType(), required=True, metavar="FILE", help="What is offered, as TOML.")
@click.option("--out", type=PathType(), required=True, metavar="FILE", help="Where the description is kept; one that is there is used.")
@format_option
def publish(config: Path, listing: Path, out: Path) -> Result:
    """Pay for a listing's statistics, describe it in HealthDCAT-AP, and put it on the ledger. Run by a hospital."""
    from gateway.config import load_gateway_config
    from gateway.market.listing_file import load_listing
    from gateway.market.publish import publish as put
    from privacy.noise import NoiseSource

    settings, file = load_gateway_config(config), load_listing(listing)
    noise = NoiseSource.from_system()
    receipt = with_ledger(config, lambda ledger: put(ledger, settings, file, out=out, now=datetime.now(UTC), noise=noise))
    data = {"listing_id": file.listing.id, "tx_id": receipt.tx_id, "block": receipt.block_number, "description": str(out)}
    return Result(data, [f"listing {file.listing.id} is on the ledger in block {receipt.block_number}; its description is in {out}"])


@market.command(name="list")
@config_option
@click.option("--all", "closed_too", is_flag=True, help="Closed listings as well.")
@format_option
def list_listings(config: Path, closed_too: bool) -> Result:
    """List what hospitals offer."""
    found = [each for each in with_ledger(config, lambda ledger: ledger.listings()) if closed_too or not each.closed]
    described = [_described(each) for each in found]
    rows = [
        (each.listing_id, each.mspid, one["title"], one["patients"], f"{each.price_micro / MICRO:g}", "; ".join(each.purposes))
        for each, one in zip(found, described, strict=True)
    ]
    data = [{**asdict(each), "description": one["json_ld"]} for each, one in zip(found, described, strict=True)]
    return Result(data, table(("listing", "hospital", "title", "patients, about", "price", "purposes"), rows))


@market.command()
@config_option
@listing_option
@format_option
def close(config: Path, listing_id: str) -> Result:
    """Offer a listing no more. Run by its hospital; orders that took it up go on."""
    receipt = with_ledger(config, lambda ledger: ledger.close_listing(listing_id=listing_id))
    return Result({"listing_id": listing_id, "tx_id": receipt.tx_id}, [f"listing {listing_id} is closed"])


@market.command()
@config_option
@click.option("--document", type=PathType(), required=True, metavar="FILE", help="The task file.")
@click.option("--legal-basis", required=True, metavar="TEXT", help="On which the data are to be used, as the listings word it.")
@click.option("--listing", "wanted", multiple=True, metavar="ID", help="Take up this listing; default: all that match.")
@click.option("--id", "task_id", metavar="ID", help="The task's id; default: made of its title and digest.")
@format_option
def order(config: Path, document: Path, legal_basis: str, wanted: tuple[str, ...], task_id: str | None) -> Result:
    """Submit a task to the hospitals whose offers match it; its reward goes into escrow."""
    from gateway.market.order import order as submit_order
    from gateway.researcher.submit import task_id_for
    from gateway.task_file import parse

    try:
        data = document.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {document}: {error.strerror}") from error
    chosen = task_id or task_id_for(parse(data, source=str(document)).task.title, data)
    found, submitted = with_gateways(
        config,
        lambda access: submit_order(access, data, legal_basis=legal_basis, wanted=wanted, task_id=chosen, source=str(document)),
    )
    taken = {listing.listing_id: listing.mspid for listing in found.taken}
    return Result(
        {
            "task_id": submitted.task_id,
            "tx_id": submitted.tx_id,
            "block": submitted.block_number,
            "listings": taken,
            "refused": dict(found.refused),
            "delivered": list(submitted.delivered),
        },
        [
            f"task {submitted.task_id} is on the ledger in block {submitted.block_number}, offered to {', '.join(taken.values())}",
            *(f"not taken up: {listing_id}: {why}" for listing_id, why in found.refused.items()),
        ],
    )


@market.command()
@config_option
@format_option
def orders(config: Path) -> Result:
    """List the orders and what came of them."""
    return _orders(with_ledger(config, lambda ledger: ledger.orders()))


@market.command()
@config_option
@task_id_option
@format_option
def settle(config: Path, task_id: str) -> Result:
    """Add up on the ledger what each hospital earned in an order whose task is over."""
    with_ledger(config, lambda ledger: ledger.settle_order(task_id=task_id))
    return _orders([each for each in with_ledger(config, lambda ledger: ledger.orders()) if each.task_id == task_id])


def _orders(found: Sequence[OrderView]) -> Result:
    rows = [
        (
            each.task_id,
            each.organisation,
            f"{each.reward_micro / MICRO:g}",
            each.outcome or "not settled",
            ", ".join(f"{mspid} {paid / MICRO:g}" for mspid, paid in sorted(each.paid_micro.items())) or "–",
        )
        for each in found
    ]
    return Result([asdict(each) for each in found], table(("order", "by", "reward", "outcome", "earned"), rows))


def _described(listing: ListingView) -> dict[str, object]:
    """A listing's description, checked against its digest and against what the contract enforces."""
    from gateway.market.description import parse_description

    name = f"the description of listing {listing.listing_id}"
    if hashlib.sha256(listing.description.encode()).hexdigest() != listing.digest:
        raise VerificationFailed(f"{name} has not the digest that stands beside it; ask {listing.mspid}")
    found = parse_description(listing.description, source=name)
    if tuple(each.label for each in found.purposes) != listing.purposes or found.permit_required != listing.permit_required:
        raise VerificationFailed(f"{name} says other conditions than the contract enforces; ask {listing.mspid}")
    return {"title": found.title, "patients": found.patients, "json_ld": found.model_dump(mode="json", by_alias=True, exclude_none=True)}
