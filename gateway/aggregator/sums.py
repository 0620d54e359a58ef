"""Step 7 of a round for the elected aggregator: add what has come, group by group, and put the sums' digests on the ledger."""

import asyncio
import hashlib
import logging

from fabric.ledger_views import RoundView, Sum
from gateway.errors import ProductError
from gateway.hospital.context import GatewayContext
from gateway.hospital.contribute import ciphertext_name
from gateway.hospital.open_sums import add_members, at_once, fetch_ciphertext, sum_name
from gateway.hospital.plan import SMALLEST_SUM
from gateway.hospital.timing import Stopwatch
from privacy import ckks

log = logging.getLogger(__name__)


async def post_sums(context: GatewayContext, length: int, view: RoundView, *, limit_bytes: int, stopwatch: Stopwatch) -> None:
    """Add each group's ciphertexts, of `length` numbers each, and post the digests.

    A member whose ciphertext does not come, or is not one, is left out, and a group that becomes too small with it.
    Without any group the next aggregator gets its turn.
    """
    # Half of the time that the others give this aggregator; they bring their ciphertexts as soon as it is its turn.
    patience_seconds = view.limit * context.config.gateway.heartbeat_seconds / 2
    groups = await asyncio.gather(
        *(
            _members(context, length, view, group, limit_bytes=limit_bytes, patience_seconds=patience_seconds)
            for group in range(len(view.groups))
        )
    )
    sums = []
    for group, members in enumerate(groups):
        if not members:
            continue
        total = await add_members(context, length, view, members, limit_bytes=limit_bytes, stopwatch=stopwatch)
        # Held before the digest is posted: whoever sees it on the ledger can fetch the sum.
        await context.blobs.put_own(sum_name(view, group), total)
        sums.append(Sum(group, tuple(members), hashlib.sha256(total).hexdigest()))
    with stopwatch.measure("ledger"):
        await context.ledger.post_sums(task_id=view.task_id, round_number=view.round, sums=sums)


async def _members(
    context: GatewayContext, length: int, view: RoundView, group: int, *, limit_bytes: int, patience_seconds: float
) -> list[str]:
    """Whose ciphertexts go into the group's sum; nobody's where the group must be left out."""
    pinned = view.pinned.get(str(group))
    wanted = pinned or view.groups[group]
    public_key = context.state.public_key(view.task_id)

    room = asyncio.Semaphore(at_once(ckks.ciphertext_size(length)))

    async def usable(mspid: str) -> bool:
        try:
            await context.blobs.arrival(ciphertext_name(view, mspid), timeout_seconds=patience_seconds)
            async with room:
                data = await fetch_ciphertext(context, view, mspid, limit_bytes=limit_bytes)
                await asyncio.to_thread(ckks.check_ciphertext, public_key, data, count=length)
        except (ProductError, ckks.CiphertextError) as error:
            log.warning("task %s round %d: the ciphertext of %s is left out: %s", view.task_id, view.round, mspid, error)
            return False
        return True

    answers = await asyncio.gather(*(usable(mspid) for mspid in wanted))
    members = [mspid for mspid, good in zip(wanted, answers, strict=True) if good]
    # An aggregator before this one posted the group with all of `pinned`: with fewer, two overlapping sums would stand side by side.
    if len(members) < SMALLEST_SUM or (pinned and len(members) < len(pinned)):
        log.warning("task %s round %d: group %d has too few ciphertexts and is left out", view.task_id, view.round, group)
        return []
    return members
