"""A hospital's part in one dispute: as the accused it hands over its ciphertext, as a key holder it opens it, as a judge it finds.

Every blob goes to all gateways that accept connections, so that no single one decides a dispute by withholding.
"""

import asyncio
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from consortium.v1 import exchange_pb2

from fabric.contract.commitments import finding_commitment
from fabric.contract.verdicts import MALFORMED, UNREADABLE
from fabric.ledger_views import DisputeView, TaskView
from gateway.aggregator.blobs import Name
from gateway.errors import Unavailable, VerificationFailed
from gateway.hospital.context import GatewayContext
from gateway.hospital.detectors import DETECTORS, OpenedUpdate
from gateway.hospital.frames import pack, unpack
from gateway.hospital.plan import SUM_GRID, Plan
from gateway.hospital.rounds import Rounds
from privacy import sealing, threshold
from privacy.ckks import ciphertext_size
from privacy.models import Vector

_NONCE_BYTES = 32
_KEY, _SEALED, _FINDING, _CIPHERTEXT = "sealing-key", "sealed", "finding", "ciphertext"
_ASKED, _TAKEN = b"asked for", b"taken"


class DisputePlace(TypedDict):
    """Which dispute, as the ledger's methods take it."""

    task_id: str
    round_number: int
    accused: str


@dataclass(frozen=True)
class DisputeDuty:
    """What a gateway needs to do its part."""

    context: GatewayContext
    task: TaskView
    dispute: DisputeView
    rounds: Rounds

    @property
    def plan(self) -> Plan:
        return self.rounds.plan

    async def act(self) -> None:
        """Do what this hospital owes in the dispute's phase; doing it again does no harm."""
        mspid, dispute = self.context.mspid, self.dispute
        if dispute.phase in ("seating", "opening") and mspid == dispute.accused:
            await self._hand_over()
        if dispute.phase == "seating" and mspid in dispute.committee:
            await self._take_seat()
        elif dispute.phase == "opening" and mspid in dispute.quorum:
            await self._open()
        elif dispute.phase == "finding" and mspid in dispute.committee:
            await self._find()
        elif dispute.phase == "revealing" and mspid in dispute.committed:
            await self._reveal()

    async def _hand_over(self) -> None:
        """The accused: give the committed ciphertext, once, and write down to whom it will be opened."""
        if self._kept(_CIPHERTEXT) == _TAKEN:
            return
        kept = self.context.state.contribution(self.dispute.task_id, self.dispute.round)
        if kept is None:
            raise VerificationFailed(
                f"the update of round {self.dispute.round} of task {self.dispute.task_id} is disputed and lost; restore the state folder"
            )
        self._keep(_CIPHERTEXT, _ASKED)  # from here on the round is not forgotten
        for judge in self.dispute.committee:
            self.context.records.disclosed(
                self.task.terms, "opened update", recipient=judge, round_number=self.dispute.round, digest=kept.ciphertext_digest
            )
        await self.context.hub.push_to_all(self.task.endpoints, self._ciphertext_name(), kept.ciphertext)
        self._keep(_CIPHERTEXT, _TAKEN)

    async def _take_seat(self) -> None:
        if any(seat.mspid == self.context.mspid for seat in self.dispute.seats):
            return
        if (kept := self._kept(_KEY)) is None:
            kept = pack(sealing.generate_keypair())
            self._keep(_KEY, kept)
        _, public = unpack(kept, count=2)
        await self.context.ledger.take_seat(**self._place(), sealing_key=public.hex())

    async def _open(self) -> None:
        """A key holder: decrypt its part of the one ciphertext and seal it to each judge; or say that the ciphertext is not to be had."""
        if any(share.mspid == self.context.mspid for share in self.dispute.shares):
            return
        try:
            ciphertext = await self._ciphertext()
        except Unavailable:
            # The accused has half of the time that the others have.
            if 2 * self.dispute.elapsed < self.dispute.limit:
                raise
            await self.context.ledger.share_disputed(**self._place(), digest=None)
            return
        partial = await asyncio.to_thread(self._partial, self.context.state.holder_key(self.dispute.task_id), ciphertext)
        for judge, blob in zip(self.dispute.committee, self._sealed(partial), strict=True):
            await self.context.hub.push_to_all(self.task.endpoints, self._share_name(self.context.mspid, judge), blob)
        await self.context.ledger.share_disputed(**self._place(), digest=hashlib.sha256(partial).hexdigest())

    def _partial(self, holder_key: bytes, ciphertext: bytes) -> bytes:
        quorum, index = self._quorum(), self.task.holder_index(self.context.mspid)
        return threshold.partial_decrypt(holder_key, index=index, quorum=quorum, ciphertext=ciphertext, members=self.plan.members)

    def _sealed(self, partial: bytes) -> list[bytes]:
        """The part for each judge, sealed once: other bytes under the same name would be refused after a restart."""
        if (kept := self._kept(_SEALED)) is None:
            keys = {seat.mspid: bytes.fromhex(seat.sealing_key) for seat in self.dispute.seats}
            judges = self.dispute.committee
            kept = pack([pack(sealing.seal_parts(keys[judge], partial, context=self._seal(self.context.mspid, judge))) for judge in judges])
            self._keep(_SEALED, kept)
        return unpack(kept, count=len(self.dispute.committee))

    async def _find(self) -> None:
        """A judge: open the update, judge it, and commit to what was found."""
        if self.context.mspid in self.dispute.committed:
            return
        if (kept := self._kept(_FINDING)) is None:
            ciphertext = await self._ciphertext()
            partials = {share.mspid: await self._received(share.mspid, share.digest) for share in self.dispute.shares}
            finding = await asyncio.to_thread(self._judged, ciphertext, partials, await self.rounds.progress(self.task))
            opened = hashlib.sha256(pack([partials[mspid] for mspid in self.dispute.quorum])).hexdigest()
            found = {"mspid": self.context.mspid, "finding": finding, "nonce": secrets.token_hex(_NONCE_BYTES), "opened_digest": opened}
            kept = json.dumps(found).encode()
            self._keep(_FINDING, kept)
        place = (self.dispute.task_id, self.dispute.round, self.dispute.accused)
        await self.context.ledger.commit_finding(**self._place(), digest=finding_commitment(*place, json.loads(kept)))

    def _judged(self, ciphertext: bytes, partials: dict[str, bytes], progress: Vector) -> str:
        fusion = threshold.Fusion(ciphertext, quorum=self._quorum(), count=self.plan.parameters)
        try:
            for mspid, partial in partials.items():
                fusion.add(self.task.holder_index(mspid), partial)
            opened = fusion.values(bound=self.plan.bound(), members=self.plan.members)
        except threshold.BoundError:
            return MALFORMED
        except threshold.DecryptionError:
            return UNREADABLE
        vector = np.asarray(np.round(opened / SUM_GRID) * SUM_GRID)
        update = OpenedUpdate(vector, self.plan.group_bound([self.dispute.accused]), progress)
        return DETECTORS[self.context.config.gateway.detector](update)

    async def _reveal(self) -> None:
        kept = self._kept(_FINDING)
        if kept is None or any(found.mspid == self.context.mspid for found in self.dispute.findings):
            return
        found = json.loads(kept)
        del found["mspid"]
        await self.context.ledger.reveal_finding(**self._place(), **found)

    async def _ciphertext(self) -> bytes:
        def committed(data: bytes) -> bytes | None:
            return data if hashlib.sha256(data).hexdigest() == self.dispute.ciphertext_digest else None

        limit = ciphertext_size(self.plan.parameters)
        return await self.context.hub.pull_from_any(self.task.endpoints, self._ciphertext_name(), accept=committed, limit_bytes=limit)

    async def _received(self, holder: str, digest: str | None) -> bytes:
        """A key holder's part, opened with this judge's key and checked against the ledger."""
        private, _ = unpack(self._required(_KEY), count=2)

        def opened(blob: bytes) -> bytes | None:
            try:
                partial = sealing.open_parts(private, unpack(blob), context=self._seal(holder, self.context.mspid))
            except (sealing.SealingError, VerificationFailed):
                return None
            return partial if hashlib.sha256(partial).hexdigest() == digest else None

        name, limit = self._share_name(holder, self.context.mspid), 2 * ciphertext_size(self.plan.parameters)
        return await self.context.hub.pull_from_any(self.task.endpoints, name, accept=opened, limit_bytes=limit)

    def _quorum(self) -> list[int]:
        return sorted(self.task.holder_index(mspid) for mspid in self.dispute.quorum)

    def _ciphertext_name(self) -> Name:
        return Name(self.dispute.task_id, self.dispute.round, exchange_pb2.BLOB_KIND_CIPHERTEXT, self.dispute.accused)

    def _share_name(self, holder: str, judge: str) -> Name:
        accused = self.task.holder_index(self.dispute.accused)
        kind = exchange_pb2.BLOB_KIND_SEALED_DECRYPTION_SHARE
        return Name(self.dispute.task_id, self.dispute.round, kind, holder, judge, group=accused)

    def _seal(self, holder: str, judge: str) -> bytes:
        """Binds a sealed part to its place, so that it cannot be passed off as another one."""
        dispute = self.dispute
        return f"consortium disputed update {dispute.task_id} {dispute.round} {dispute.accused} {holder} {judge}".encode()

    def _place(self) -> DisputePlace:
        return DisputePlace(task_id=self.dispute.task_id, round_number=self.dispute.round, accused=self.dispute.accused)

    def _kept(self, what: str) -> bytes | None:
        return self.context.state.dispute_part(self.dispute.task_id, self.dispute.round, self.dispute.accused, what)

    def _required(self, what: str) -> bytes:
        kept = self._kept(what)
        if kept is None:
            raise VerificationFailed(f"the {what} of a dispute in task {self.dispute.task_id} is not in this gateway's state; restore it")
        return kept

    def _keep(self, what: str, part: bytes) -> None:
        self.context.state.keep_dispute_part(self.dispute.task_id, self.dispute.round, self.dispute.accused, what, part)
