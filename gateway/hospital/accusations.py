"""A false share of the key: who got it shows it, all others check it, and all who find it false accuse its dealer on the ledger.

The evidence is the blob that the dealer signed, and the key that opens what is sealed in it. That key is the accuser's own and of this
attempt only, which is lost with the accusation; the next attempt has new secrets. Where the evidence does not hold, the others accuse
the accuser.
"""

import asyncio
import hashlib
import logging
from dataclasses import dataclass

from consortium.v1 import exchange_pb2

from fabric.crypto import IdentityError
from fabric.ledger_views import KeyAccusation, TaskView
from gateway.errors import VerificationFailed
from gateway.hospital.context import GatewayContext
from gateway.hospital.dealt_shares import (
    BLOB_LIMIT_BYTES,
    DealtFalselyError,
    blob_name,
    check_received,
    committed_part,
    opened,
)
from gateway.hospital.frames import pack, unpack
from gateway.hospital.state import CeremonyPart
from privacy import sealing

log = logging.getLogger(__name__)


async def accuse(context: GatewayContext, view: TaskView, part: CeremonyPart, cheat: DealtFalselyError) -> None:
    """Show the others what `cheat.dealer` dealt to us, and accuse it."""
    log.warning("task %s: %s", view.terms.task_id, cheat)
    evidence = _Evidence(cheat.dealer, context.mspid, cheat.blob, part.sealing_private).to_bytes()
    # Kept first: whoever judges asks for it at whichever hub has its turn.
    context.state.keep_evidence(view.terms.task_id, view.attempt, evidence)
    await _show(context, view, evidence)
    await _post(context, view, cheat.dealer, evidence)


async def judge(context: GatewayContext, view: TaskView) -> None:
    """Check the evidence of an accusation, and join it or accuse its maker. Who has accused already shows its evidence again."""
    own = context.state.evidence(view.terms.task_id, view.attempt)
    if own is not None:
        await _show(context, view, own)
    if any(accusation.mspid == context.mspid for accusation in view.accusations):
        return
    for accusation in view.accusations:
        data = await _shown(context, view, accusation)
        evidence = _Evidence.parse(data)
        # Evidence speaks for or against its maker only, who must have accused with it.
        made = any(each.mspid == evidence.recipient and each.evidence == accusation.evidence for each in view.accusations)
        if not made or evidence.dealer not in view.participants:
            continue
        culprit = evidence.dealer if await _holds(context, view, evidence) else evidence.recipient
        if culprit != context.mspid:
            context.state.keep_evidence(view.terms.task_id, view.attempt, data)
            await _show(context, view, data)
            await _post(context, view, culprit, data)
            return


@dataclass(frozen=True)
class _Evidence:
    """What `dealer` sealed for `recipient` and signed, and the key that opens it, the recipient's of this attempt."""

    dealer: str
    recipient: str
    blob: bytes
    sealing_private: bytes

    def to_bytes(self) -> bytes:
        return pack([self.dealer.encode(), self.recipient.encode(), self.blob, self.sealing_private])

    @staticmethod
    def parse(data: bytes) -> "_Evidence":
        dealer, recipient, blob, sealing_private = unpack(data, count=4)
        return _Evidence(dealer.decode(errors="replace"), recipient.decode(errors="replace"), blob, sealing_private)


async def _shown(context: GatewayContext, view: TaskView, accusation: KeyAccusation) -> bytes:
    name = blob_name(view, exchange_pb2.BLOB_KIND_KEY_ACCUSATION, accusation.mspid)
    data = await context.hub.pull(view.aggregators[view.turn], view.endpoints, name, limit_bytes=BLOB_LIMIT_BYTES)
    if hashlib.sha256(data).hexdigest() != accusation.evidence:
        raise VerificationFailed(f"the evidence that came for {accusation.mspid} is not the one it accuses {accusation.accused} with")
    return data


async def _show(context: GatewayContext, view: TaskView, evidence: bytes) -> None:
    name = blob_name(view, exchange_pb2.BLOB_KIND_KEY_ACCUSATION, context.mspid)
    await context.hub.push(view.aggregators[view.turn], view.endpoints, name, evidence)


async def _post(context: GatewayContext, view: TaskView, accused: str, evidence: bytes) -> None:
    digest = hashlib.sha256(evidence).hexdigest()
    await context.ledger.accuse_dealer(task_id=view.terms.task_id, attempt=view.attempt, accused=accused, evidence=digest)


async def _holds(context: GatewayContext, view: TaskView, evidence: _Evidence) -> bool:
    """Whether the evidence shows that the dealer dealt a false share to its maker."""
    committed = next((share.sealing_key for share in view.key_shares if share.mspid == evidence.recipient), "")
    try:
        if sealing.public_of(evidence.sealing_private).hex() != committed:
            return False
        received = await opened(
            context,
            view,
            evidence.blob,
            await committed_part(context, view, evidence.dealer),
            dealer=evidence.dealer,
            recipient=evidence.recipient,
            sealing_private=evidence.sealing_private,
        )
        await asyncio.to_thread(check_received, evidence.recipient, view, received)
    except DealtFalselyError:
        return True
    except (VerificationFailed, IdentityError, sealing.SealingError):
        return False
    return False
