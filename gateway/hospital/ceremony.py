"""Step 2 of a task: the participants make a CKKS key together, without a dealer, and nobody ever holds its secret.

Each one commits on the ledger to its part of the public key before anyone shows theirs (so nobody can choose a part that
cancels another's), then shows it and gives every other participant a sealed Shamir share of its secret. A participant's key is
the sum of the shares it got; t of them open a sum. Roles, messages and what colluders learn: docs/threshold-ckks.md.
"""

import asyncio
import hashlib

from consortium.v1 import exchange_pb2

from fabric.crypto import fingerprint, load_certificate, verify_signature
from fabric.ledger_views import TaskView
from gateway.aggregator.blobs import Name
from gateway.errors import VerificationFailed
from gateway.hospital.context import GatewayContext
from gateway.hospital.frames import pack, unpack
from gateway.hospital.state import CeremonyPart
from privacy import sealing, threshold

# A part of the public key is four polynomials of 4096 coefficients of 8 bytes, a share one for each prime; both with room to spare.
BLOB_LIMIT_BYTES = 1 << 20


def crs_seed(view: TaskView) -> bytes:
    """The common reference string's seed: fixed by the task and the attempt, so nobody can choose it."""
    text = f"consortium ckks common reference string {view.terms.task_id} {view.terms.digest} {view.attempt}"
    return hashlib.sha256(text.encode()).digest()


async def commit_part(context: GatewayContext, view: TaskView) -> None:
    """Phase keys_commit: make this gateway's part, keep it, and put its digest on the ledger."""
    if any(share.mspid == context.mspid for share in view.key_shares):
        return
    part = context.state.ceremony_part(view.terms.task_id, view.attempt)
    if part is None:
        part = await asyncio.to_thread(_new_part, view)
        # Kept before the commitment: a crash here leaves a part nobody has heard of, which the next start commits to.
        context.state.keep_ceremony_part(view.terms.task_id, view.attempt, part)
    await context.ledger.commit_key_share(
        task_id=view.terms.task_id,
        attempt=view.attempt,
        digest=hashlib.sha256(part.public_share).hexdigest(),
        sealing_key=part.sealing_public.hex(),
    )


async def exchange_parts(context: GatewayContext, view: TaskView) -> None:
    """Phase keys_share: give the others their shares, take ours, and confirm the joint key on the ledger."""
    if any(confirmation.mspid == context.mspid for confirmation in view.confirmations):
        return
    task_id = view.terms.task_id
    part = context.state.ceremony_part(task_id, view.attempt)
    if part is None:
        raise VerificationFailed(f"the part of the key that this gateway committed to for task {task_id} is lost; restore its state folder")
    sealed = _sealed_shares(context, view, part)
    await _push_all(context, view, part.public_share, sealed)
    public_shares = await asyncio.gather(*(_public_share(context, view, mspid) for mspid in view.participants))
    public_key = await asyncio.to_thread(threshold.combine_public, crs_seed(view), public_shares)
    received = await asyncio.gather(*(_share_from(context, view, part, mspid) for mspid in view.participants))
    holder_key = await asyncio.to_thread(threshold.combine_shares, received, public_key=public_key)
    context.state.keep_holder_key(task_id, public_key=public_key, holder_key=holder_key)
    await context.ledger.confirm_key(task_id=task_id, attempt=view.attempt, key_digest=hashlib.sha256(public_key).hexdigest())


def _new_part(view: TaskView) -> CeremonyPart:
    contribution = threshold.generate(crs_seed(view))
    dealt = threshold.deal(contribution.secret, holders=len(view.participants), threshold=view.threshold)
    sealing_private, sealing_public = sealing.generate_keypair()
    return CeremonyPart(contribution.public_share, pack(dealt), sealing_private, sealing_public, sealed=None)


def _sealed_shares(context: GatewayContext, view: TaskView, part: CeremonyPart) -> dict[str, bytes]:
    """The share of every other participant, sealed to the key it put on the ledger. Sealed once: a hub change sends the same bytes."""
    others = [mspid for mspid in view.participants if mspid != context.mspid]
    if part.sealed is None:
        keys = {share.mspid: bytes.fromhex(share.sealing_key) for share in view.key_shares}
        shares = dict(zip(view.participants, unpack(part.dealt, count=len(view.participants)), strict=True))
        places = {other: _place(view, context.mspid, other) for other in others}
        blobs = [_signed(context, sealing.seal(keys[o], shares[o], context=place), place) for o, place in places.items()]
        part = CeremonyPart(part.public_share, part.dealt, part.sealing_private, part.sealing_public, sealed=pack(blobs))
        context.state.keep_ceremony_part(view.terms.task_id, view.attempt, part)
    assert part.sealed is not None
    return dict(zip(others, unpack(part.sealed, count=len(others)), strict=True))


async def _push_all(context: GatewayContext, view: TaskView, public_share: bytes, sealed: dict[str, bytes]) -> None:
    hub = view.aggregators[view.turn]
    own = _name(view, exchange_pb2.BLOB_KIND_PUBLIC_KEY_SHARE, context.mspid)
    await asyncio.gather(
        context.hub.push(hub, view.endpoints, own, public_share),
        *(
            context.hub.push(hub, view.endpoints, _name(view, exchange_pb2.BLOB_KIND_SEALED_KEY_SHARE, context.mspid, other), blob)
            for other, blob in sealed.items()
        ),
    )


async def _public_share(context: GatewayContext, view: TaskView, mspid: str) -> bytes:
    name = _name(view, exchange_pb2.BLOB_KIND_PUBLIC_KEY_SHARE, mspid)
    share = await context.hub.pull(view.aggregators[view.turn], view.endpoints, name, limit_bytes=BLOB_LIMIT_BYTES)
    committed = next(entry.digest for entry in view.key_shares if entry.mspid == mspid)
    if hashlib.sha256(share).hexdigest() != committed:
        raise VerificationFailed(f"the part of the key that came for {mspid} is not the one it committed to")
    return share


async def _share_from(context: GatewayContext, view: TaskView, part: CeremonyPart, mspid: str) -> bytes:
    if mspid == context.mspid:
        return unpack(part.dealt, count=len(view.participants))[view.holder_index(mspid) - 1]
    name = _name(view, exchange_pb2.BLOB_KIND_SEALED_KEY_SHARE, mspid, context.mspid)
    blob = await context.hub.pull(view.aggregators[view.turn], view.endpoints, name, limit_bytes=BLOB_LIMIT_BYTES)
    sealed = await _verified(context, blob, mspid, _place(view, mspid, context.mspid))
    return sealing.open_sealed(part.sealing_private, sealed, context=_place(view, mspid, context.mspid))


def _signed(context: GatewayContext, sealed: bytes, place: bytes) -> bytes:
    """A sealed share with its sender's signature: sealing alone does not prove who sealed, and the hub could put in its own."""
    identity = context.identity
    return pack([sealed, identity.certificate_pem, identity.sign(place + sealed)])


async def _verified(context: GatewayContext, blob: bytes, sender: str, place: bytes) -> bytes:
    """The sealed share, once a gateway that `sender` registered on the ledger is seen to have signed it."""
    sealed, certificate_pem, signature = unpack(blob, count=3)
    certificate = load_certificate(certificate_pem)
    registered = {gateway.fingerprint for gateway in (await context.ledger.organisation(sender)).gateways}
    if fingerprint(certificate) not in registered:
        raise VerificationFailed(f"the key share that came for {sender} is signed by a certificate that {sender} did not register")
    verify_signature(certificate, place + sealed, signature)
    return sealed


def _place(view: TaskView, sender: str, recipient: str) -> bytes:
    """Binds a sealed share to its place, so that it cannot be passed off as another one."""
    return f"consortium key share {view.terms.task_id} {view.attempt} {sender} {recipient}".encode()


def _name(view: TaskView, kind: int, owner: str, recipient: str = "") -> Name:
    return Name(view.terms.task_id, 0, kind, owner, recipient, attempt=view.attempt)
