"""Shares of a key on their way between gateways: names, seals, signatures, and the check of what came."""

import hashlib
from dataclasses import dataclass

from consortium.v1 import exchange_pb2

from fabric.crypto import fingerprint, load_certificate, verify_signature
from fabric.ledger_views import TaskView
from gateway.aggregator.blobs import Name
from gateway.errors import VerificationFailed
from gateway.hospital.context import GatewayContext
from gateway.hospital.frames import unpack
from privacy import dealing, sealing, threshold

# A dealer's part is two polynomials of 4096 coefficients of 8 bytes and a digest a holder, a share one polynomial; both with room to spare.
BLOB_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Received:
    """What a dealer gave one holder: its committed part, the share, the proof, and the signed blob that they came in."""

    dealer: str
    part: dealing.Part
    share: bytes
    proof: bytes
    blob: bytes


class DealtFalselyError(VerificationFailed):
    """A dealer signed a share that is not the one it committed to, or not on its polynomial."""

    def __init__(self, sentence: str, dealer: str, blob: bytes) -> None:
        super().__init__(sentence)
        self.dealer = dealer
        self.blob = blob


def crs_seed(view: TaskView) -> bytes:
    """The common reference string's seed: fixed by the task and the attempt, so nobody can choose it."""
    text = f"consortium ckks common reference string {view.terms.task_id} {view.terms.digest} {view.attempt}"
    return hashlib.sha256(text.encode()).digest()


def challenge(view: TaskView) -> bytes:
    """What all dealers answer with their proofs: it follows from all that they committed to."""
    digests = {share.mspid: bytes.fromhex(share.digest) for share in view.key_shares}
    return dealing.challenge(crs_seed(view), [digests[mspid] for mspid in view.participants])


async def committed_part(context: GatewayContext, view: TaskView, mspid: str) -> dealing.Part:
    """A dealer's part from the hub, the one it committed to; raises DealtFalselyError where that is none."""
    name = blob_name(view, exchange_pb2.BLOB_KIND_PUBLIC_KEY_SHARE, mspid)
    data = await context.hub.pull(view.aggregators[view.turn], view.endpoints, name, limit_bytes=BLOB_LIMIT_BYTES)
    committed = next(entry.digest for entry in view.key_shares if entry.mspid == mspid)
    if hashlib.sha256(data).hexdigest() != committed:
        raise VerificationFailed(f"the part of the key that came for {mspid} is not the one it committed to")
    try:
        return dealing.parse_part(data, holders=len(view.participants))
    except threshold.KeyMaterialError as error:
        raise DealtFalselyError(f"{mspid}: {error}", mspid, b"") from error


async def opened(
    context: GatewayContext, view: TaskView, blob: bytes, part: dealing.Part, *, dealer: str, recipient: str, sealing_private: bytes
) -> Received:
    """The share and proof in a blob, once a gateway that `dealer` registered is seen to have signed it; `share` is not checked.

    Raises VerificationFailed or IdentityError where the blob is not the dealer's, DealtFalselyError where it is and cannot be opened.
    """
    at = place(view, dealer, recipient)
    sealed, proof, certificate_pem, signature = unpack(blob, count=4)
    certificate = load_certificate(certificate_pem)
    registered = {gateway.fingerprint for gateway in (await context.ledger.organisation(dealer)).gateways}
    if fingerprint(certificate) not in registered:
        raise VerificationFailed(f"the key share that came for {dealer} is signed by a certificate that {dealer} did not register")
    verify_signature(certificate, signed_bytes(sealed, proof, at), signature)
    try:
        share = sealing.open_sealed(sealing_private, sealed, context=at)
    except sealing.SealingError as error:
        raise DealtFalselyError(f"what {dealer} dealt to {recipient} does not open: {error}", dealer, blob) from error
    return Received(dealer, part, share, proof, blob)


def check_received(recipient: str, view: TaskView, received: Received) -> None:
    """Raise DealtFalselyError unless the share is the one its dealer committed to and fits its proof."""
    try:
        threshold.check_public_share(crs_seed(view), received.part.public_share)
        dealing.check_share(
            received.share,
            part=received.part,
            proof=received.proof,
            challenge=challenge(view),
            dealer=view.holder_index(received.dealer),
            index=view.holder_index(recipient),
            threshold=view.threshold,
        )
    except threshold.KeyMaterialError as error:
        raise DealtFalselyError(f"{received.dealer}: {error}", received.dealer, received.blob) from error


def signed_bytes(sealed: bytes, proof: bytes, at: bytes) -> bytes:
    """What a dealer signs: the proof as well, so that it cannot show each holder another one unseen."""
    return at + hashlib.sha256(proof).digest() + sealed


def place(view: TaskView, sender: str, recipient: str) -> bytes:
    """Binds a sealed share to its place, so that it cannot be passed off as another one."""
    return f"consortium key share {view.terms.task_id} {view.attempt} {sender} {recipient}".encode()


def blob_name(view: TaskView, kind: int, owner: str, recipient: str = "") -> Name:
    return Name(view.terms.task_id, 0, kind, owner, recipient, attempt=view.attempt)
