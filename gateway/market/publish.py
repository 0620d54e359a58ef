"""Publish a listing: pay for its statistics, draw their noise once, keep the description, put it on the ledger."""

import asyncio
import hashlib
import os
from datetime import datetime
from pathlib import Path

from fabric.client.errors import ContractRefused
from fabric.contract.registry import PARTITIONS
from fabric.ledger import Ledger, Receipt
from gateway.config import GatewayConfig
from gateway.errors import InputError
from gateway.market.description import Description, describe, parse_description
from gateway.market.listing_file import ListingFile
from gateway.market.statistics import private_statistics, read_people, statistics_event
from gateway.spends import to_ledger
from privacy.accounting import SpendEvent
from privacy.noise import NoiseSource


async def publish(ledger: Ledger, config: GatewayConfig, file: ListingFile, *, out: Path, now: datetime, noise: NoiseSource) -> Receipt:
    """Run by the hospital. `out`: where the description is kept; one that is there already is published as it is.

    Raises AccountingError, InputError where what was paid for is lost, VerificationFailed for another file at `out`, DataError for data
    that cannot be read, and ContractRefused.
    """
    delta = 1 / config.budget.delta_inverse
    event = statistics_event(epsilon=file.statistics.epsilon, delta=delta)
    if await asyncio.to_thread(out.exists):
        description = _kept(out, file, event)
    else:
        consents = None if config.consents is None else await asyncio.to_thread(config.consents.read, now)
        left_out = None if consents is None else consents.left_out
        people = await asyncio.to_thread(read_people, config.gateway.data, as_of=file.statistics.as_of, left_out=left_out)
        await _debit(ledger, config, file, event, out)
        statistics = private_statistics(people, noise_multiplier=event.noise_multiplier, noise=noise)
        description = describe(file, statistics, event, delta=delta)
        # Kept before it is told: drawing the noise again would be a second release for one debit.
        _keep(out, description)
    text = description.to_json()
    return await ledger.publish_listing(
        listing_id=file.listing.id,
        dataset=config.budget.dataset,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        description=text,
        price_micro=file.listing.price_micro,
        purposes=file.listing.purposes,
        legal_bases=file.listing.legal_bases,
        permit_required=file.listing.permit_required,
    )


async def _debit(ledger: Ledger, config: GatewayConfig, file: ListingFile, event: SpendEvent, out: Path) -> None:
    spends = [to_ledger(partition, event) for partition in PARTITIONS]
    try:
        await ledger.debit_listing(listing_id=file.listing.id, dataset=config.budget.dataset, spends=spends)
    except ContractRefused as refusal:
        if refusal.code != "ALREADY_DEBITED":
            raise
        raise InputError(
            f"listing {file.listing.id} is paid for, and its statistics are not in {out}; name their file, or choose another id"
        ) from refusal


def _kept(out: Path, file: ListingFile, event: SpendEvent) -> Description:
    found = parse_description(_read(out), source=str(out))
    listing, privacy = file.listing, found.privacy
    told = (
        found.identifier,
        found.permit_required,
        tuple(each.label for each in found.purposes),
        tuple(each.label for each in found.legal_bases),
    )
    if (
        told != (listing.id, listing.permit_required, listing.purposes, listing.legal_bases)
        or privacy.noise_multiplier != event.noise_multiplier
    ):
        raise InputError(f"{out} describes another listing than the file does; name another place for the description")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; name the description's file") from error


def _keep(path: Path, description: Description) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(description.to_json())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; its statistics are paid for: choose another id for the listing"
        ) from error
