"""Step 7 of a round for the elected aggregator: add what has come, group by group, and put the sums' digests on the ledger."""

import asyncio
import hashlib
import logging
from collections.abc import Sequence

from fabric.ledger_views import RoundView, Sum
from gateway.errors import ProductError
from gateway.hospital.context import GatewayContext
from gateway.hospital.contribute import ciphertext_name
from gateway.hospital.open_sums import AddedSum, sum_name
from gateway.hospital.plan import SMALLEST_SUM
from gateway.hospital.timing import Stopwatch
from privacy import ckks

log = logging.getLogger(__name__)


async def post_sums(context: GatewayContext, length: int, view: RoundView, *, limit_bytes: int, stopwatch: Stopwatch) -> None:
    """Add each group's ciphertexts, of `length` numbers each, and post the digests.

    A member whose ciphertext does not come, or is not one, is left out, and a group that becomes too small with it.
    Without any group the next aggregator gets its turn.
    """
    wanted = [view.pinned.get(str(group)) or members for group, members in enumerate(view.groups)]
    # Half of the time that the others give this aggregator; they bring their ciphertexts as soon as it is its turn.
    patience_seconds = view.limit * context.config.gateway.heartbeat_seconds / 2
    arrived = await asyncio.gather(*(_arrived(context, view, members, patience_seconds=patience_seconds) for members in wanted))
    sums = []
    # One group after the other, so that memory holds one sum.
    for group, members in enumerate(arrived):
        total = AddedSum(context, length, view, limit_bytes=limit_bytes, stopwatch=stopwatch)
        answers = await asyncio.gather(*(_added(total, view, mspid) for mspid in members))
        added = [mspid for mspid, good in zip(members, answers, strict=True) if good]
        # An aggregator before this one posted a pinned group with all of it: with fewer, two overlapping sums would stand side by side.
        if len(added) < SMALLEST_SUM or (str(group) in view.pinned and len(added) < len(wanted[group])):
            log.warning("task %s round %d: group %d has too few ciphertexts and is left out", view.task_id, view.round, group)
            continue
        data = await total.to_bytes()
        # Held before the digest is posted: whoever sees it on the ledger can fetch the sum.
        await context.blobs.put_own(sum_name(view, group), data)
        sums.append(Sum(group, tuple(added), hashlib.sha256(data).hexdigest()))
    with stopwatch.measure("ledger"):
        await context.ledger.post_sums(task_id=view.task_id, round_number=view.round, sums=sums)


async def _arrived(context: GatewayContext, view: RoundView, members: Sequence[str], *, patience_seconds: float) -> list[str]:
    """Those of the members whose ciphertexts come in time."""

    async def comes(mspid: str) -> bool:
        try:
            await context.blobs.arrival(ciphertext_name(view, mspid), timeout_seconds=patience_seconds)
        except ProductError as error:
            log.warning("task %s round %d: the ciphertext of %s is left out: %s", view.task_id, view.round, mspid, error)
            return False
        return True

    answers = await asyncio.gather(*(comes(mspid) for mspid in members))
    return [mspid for mspid, here in zip(members, answers, strict=True) if here]


async def _added(total: AddedSum, view: RoundView, mspid: str) -> bool:
    """Whether the member's ciphertext is one, and now in the sum."""
    try:
        await total.add(mspid)
    except (ProductError, ckks.CiphertextError) as error:
        log.warning("task %s round %d: the ciphertext of %s is left out: %s", view.task_id, view.round, mspid, error)
        return False
    return True
