"""Step 2 of a task: the participants make a CKKS key together, without a dealer, and nobody ever holds its secret.

Each one commits on the ledger to its part of the public key before anyone shows theirs (so nobody can choose a part that
cancels another's) and to the shares it deals, then shows its part and gives every other participant a sealed Shamir share of its
secret, with a proof that all shares fit together. Who gets a false one accuses the dealer (gateway/hospital/accusations.py). A
participant's key is the sum of the shares it got; t of them open a sum. Roles, messages, what colluders learn: docs/threshold-ckks.md.
"""

import asyncio
import hashlib
import logging
from dataclasses import replace

from consortium.v1 import exchange_pb2

from fabric.ledger_views import TaskView
from gateway.errors import VerificationFailed
from gateway.hospital.accusations import accuse, judge
from gateway.hospital.context import GatewayContext
from gateway.hospital.dealt_shares import (
    BLOB_LIMIT_BYTES,
    DealtFalselyError,
    Received,
    blob_name,
    challenge,
    check_received,
    committed_part,
    crs_seed,
    opened,
    place,
    signed_bytes,
)
from gateway.hospital.frames import pack, unpack
from gateway.hospital.misbehave import forged_shares
from gateway.hospital.plan import largest_group
from gateway.hospital.state import CeremonyPart
from privacy import dealing, sealing, threshold
from privacy.flooding import choose

log = logging.getLogger(__name__)


async def commit_part(context: GatewayContext, view: TaskView) -> None:
    """Phase keys_commit: make this gateway's part, keep it, and put its digest on the ledger."""
    if any(share.mspid == context.mspid for share in view.key_shares):
        return
    part = context.state.ceremony_part(view.terms.task_id, view.attempt)
    if part is None:
        _choose_parameters(view)
        part = await asyncio.to_thread(_new_part, view, context.mspid)
        # Kept before the commitment: a crash here leaves a part nobody has heard of, which the next start commits to.
        context.state.keep_ceremony_part(view.terms.task_id, view.attempt, part)
    await context.ledger.commit_key_share(
        task_id=view.terms.task_id,
        attempt=view.attempt,
        digest=hashlib.sha256(part.public_part).hexdigest(),
        sealing_key=part.sealing_public.hex(),
    )


def _choose_parameters(view: TaskView) -> None:
    """Whether a key of these participants serves the task, by this hospital's own reckoning; raises KeyWornError where it does not."""
    terms, hospitals = view.terms, len(view.participants)
    chosen = choose(
        hospitals=hospitals,
        threshold=view.threshold,
        members=largest_group(hospitals, group_size=terms.group_size),
        parameters=terms.parameters,
        sums=(terms.rounds + 1 - terms.first_round) * max(1, hospitals // terms.group_size),
        clip=1.0,
    )
    log.info(
        "task %s: a key of %d bits for ring degree %d, flooding of 2^%d, at most %d sums, errors at most %.1e of the largest value",
        terms.task_id,
        chosen.security_bits,
        chosen.degree,
        chosen.flooding_bits,
        chosen.decryptions,
        chosen.error_bound,
    )


async def exchange_parts(context: GatewayContext, view: TaskView) -> None:
    """Phase keys_share: give the others their shares, check ours, and confirm the joint key on the ledger, or accuse who cheats."""
    task_id = view.terms.task_id
    part = context.state.ceremony_part(task_id, view.attempt)
    if part is None:
        raise VerificationFailed(f"the part of the key that this gateway committed to for task {task_id} is lost; restore its state folder")
    if view.accusations:
        await judge(context, view)
        return
    if any(confirmation.mspid == context.mspid for confirmation in view.confirmations):
        return
    await _push_all(context, view, part)
    try:
        public_key, holder_key = await _made_key(context, view, part)
    except DealtFalselyError as cheat:
        await accuse(context, view, part, cheat)
        return
    context.state.keep_holder_key(task_id, public_key=public_key, holder_key=holder_key)
    await context.ledger.confirm_key(task_id=task_id, attempt=view.attempt, key_digest=hashlib.sha256(public_key).hexdigest())


async def _made_key(context: GatewayContext, view: TaskView, part: CeremonyPart) -> tuple[bytes, bytes]:
    """The joint public key and this gateway's holder key, of what the others sent; raises DealtFalselyError."""
    received = await asyncio.gather(*(_received(context, view, part, mspid) for mspid in view.participants))
    for each in received:
        await asyncio.to_thread(check_received, context.mspid, view, each)
    public_key = await asyncio.to_thread(
        threshold.combine_public, crs_seed(view), [each.part.public_share for each in received], proofs=[each.proof for each in received]
    )
    dealt = await asyncio.to_thread(_dealt, view, context.mspid, part)
    shares = [each.share for each in received]
    return public_key, await asyncio.to_thread(threshold.combine_shares, shares, dealt=dealt.shares, public_key=public_key)


def _new_part(view: TaskView, mspid: str) -> CeremonyPart:
    contribution = threshold.generate(crs_seed(view))
    dealt = dealing.deal(contribution.secret, public_share=contribution.public_share, **_place_of_dealer(view, mspid))
    sealing_private, sealing_public = sealing.generate_keypair()
    return CeremonyPart(contribution.secret, dealt.part, sealing_private, sealing_public, sealed=None)


def _place_of_dealer(view: TaskView, mspid: str) -> dict[str, int]:
    return {"dealer": view.holder_index(mspid), "holders": len(view.participants), "threshold": view.threshold}


def _dealt(view: TaskView, mspid: str, part: CeremonyPart) -> dealing.Dealing:
    """This gateway's own dealing, made again from its secret."""
    public_share = dealing.parse_part(part.public_part, holders=len(view.participants)).public_share
    return dealing.deal(part.secret, public_share=public_share, **_place_of_dealer(view, mspid))


def _proof(view: TaskView, mspid: str, part: CeremonyPart) -> bytes:
    return dealing.prove(part.secret, challenge=challenge(view), **_place_of_dealer(view, mspid))


async def _sealed_shares(context: GatewayContext, view: TaskView, part: CeremonyPart) -> dict[str, bytes]:
    """The share of every other participant, sealed to the key it put on the ledger, and this gateway's proof, signed.

    Sealed once: a hub change sends the same bytes.
    """
    others = [mspid for mspid in view.participants if mspid != context.mspid]
    if part.sealed is None:
        keys = {share.mspid: bytes.fromhex(share.sealing_key) for share in view.key_shares}
        dealt = await asyncio.to_thread(_dealt, view, context.mspid, part)
        shares = dict(zip(view.participants, forged_shares(context.misbehaviour, dealt.shares), strict=True))
        places = {other: place(view, context.mspid, other) for other in others}
        proof = await asyncio.to_thread(_proof, view, context.mspid, part)
        blobs = [_signed(context, sealing.seal(keys[o], shares[o], context=at), proof, at) for o, at in places.items()]
        part = replace(part, sealed=pack(blobs))
        context.state.keep_ceremony_part(view.terms.task_id, view.attempt, part)
    assert part.sealed is not None
    return dict(zip(others, unpack(part.sealed, count=len(others)), strict=True))


async def _push_all(context: GatewayContext, view: TaskView, part: CeremonyPart) -> None:
    sealed = await _sealed_shares(context, view, part)
    hub = view.aggregators[view.turn]
    own = blob_name(view, exchange_pb2.BLOB_KIND_PUBLIC_KEY_SHARE, context.mspid)
    await asyncio.gather(
        context.hub.push(hub, view.endpoints, own, part.public_part),
        *(
            context.hub.push(hub, view.endpoints, blob_name(view, exchange_pb2.BLOB_KIND_SEALED_KEY_SHARE, context.mspid, other), blob)
            for other, blob in sealed.items()
        ),
    )


async def _received(context: GatewayContext, view: TaskView, part: CeremonyPart, mspid: str) -> Received:
    """What `mspid` dealt to this gateway, opened and not yet checked."""
    if mspid == context.mspid:
        share = _dealt(view, mspid, part).shares[view.holder_index(mspid) - 1]
        return Received(mspid, dealing.parse_part(part.public_part, holders=len(view.participants)), share, _proof(view, mspid, part), b"")
    public = await committed_part(context, view, mspid)
    name = blob_name(view, exchange_pb2.BLOB_KIND_SEALED_KEY_SHARE, mspid, context.mspid)
    blob = await context.hub.pull(view.aggregators[view.turn], view.endpoints, name, limit_bytes=BLOB_LIMIT_BYTES)
    return await opened(context, view, blob, public, dealer=mspid, recipient=context.mspid, sealing_private=part.sealing_private)


def _signed(context: GatewayContext, sealed: bytes, proof: bytes, at: bytes) -> bytes:
    """A sealed share and its dealer's proof with the dealer's signature: sealing alone does not prove who sealed."""
    identity = context.identity
    return pack([sealed, proof, identity.certificate_pem, identity.sign(signed_bytes(sealed, proof, at))])
