"""Step 7 and 8 of a round: check the sums, give a decryption share, and compute the candidate model from t of them.

Everything after encryption is deterministic, so every gateway comes to the same candidate and the same digest.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from consortium.v1 import exchange_pb2

from fabric.ledger_views import RoundView, Sum, TaskView
from gateway.aggregator.blobs import Name
from gateway.errors import Unavailable, VerificationFailed
from gateway.hospital.context import GatewayContext
from gateway.hospital.contribute import ciphertext_name
from gateway.hospital.frames import pack, unpack
from gateway.hospital.hub import TRANSFER_TIMEOUT_SECONDS
from gateway.hospital.misbehave import forged_partials
from gateway.hospital.plan import SUM_GRID, Plan
from gateway.hospital.summed import GroupSum, Summed
from gateway.hospital.timing import Stopwatch
from privacy import ckks, threshold
from privacy.models import Vector, digest
from privacy.normalisation import InputNormalisation
from privacy.robust import within_bound

ROOM_BYTES = 32 << 20


class FalseSharesError(VerificationFailed):
    """The quorum's shares do not open the sums; `accused` gave a malformed one, None where each is well-formed."""

    def __init__(self, sentence: str, accused: str | None) -> None:
        super().__init__(sentence)
        self.accused = accused


@dataclass(frozen=True)
class Opened:
    """A round's opened sums: float64 by group in units of the clip, the candidate they give, and how the ledger names that."""

    sums: Mapping[int, Vector]
    rejected: tuple[int, ...]
    candidate: Vector
    digest: str


@dataclass(frozen=True)
class SumOpener:
    """What a gateway needs to check and open a round's sums."""

    context: GatewayContext
    plan: Plan
    summed: Summed
    normalisation: InputNormalisation | None
    """Of the model's inputs; None in round 0 and for a task without one."""
    limit_bytes: int
    stopwatch: Stopwatch

    async def give_share(self, task: TaskView, view: RoundView) -> None:
        """Phase decrypt, quorum members: recompute every sum bit for bit, then give a share; object where the sum is another one."""
        mspid = self.context.mspid
        if mspid not in view.quorum or any(share.mspid == mspid for share in view.shares):
            return
        blob = self.context.state.decryption_share(view.task_id, view.round, view.attempt)
        if blob is None:
            try:
                ciphertexts = [await self._recomputed(view, entry) for entry in view.sums]
            except (Unavailable, VerificationFailed, ckks.CiphertextError) as error:
                # The next aggregator takes over: sums are opened only where every quorum member could check them.
                await self.context.ledger.object_sums(task_id=view.task_id, round_number=view.round, reason=str(error)[:500])
                return
            with self.stopwatch.measure("aggregation"):
                blob = await asyncio.to_thread(self._partials, self.context.state.holder_key(view.task_id), task, view, ciphertexts)
            # Kept before its digest goes onto the ledger: another share for the same attempt would hold other noise.
            self.context.state.keep_decryption_share(view.task_id, view.round, view.attempt, blob)
        with self.stopwatch.measure("ledger"):
            await self.context.ledger.post_share(
                task_id=view.task_id, round_number=view.round, attempt=view.attempt, digest=hashlib.sha256(blob).hexdigest()
            )
        await self.hand_over_share(view)

    async def hand_over_share(self, view: RoundView) -> None:
        """Give our share to the aggregator whose turn it is, if we made one."""
        blob = self.context.state.decryption_share(view.task_id, view.round, view.attempt)
        if blob is not None:
            await self.context.hub.push(view.aggregator, view.endpoints, _share_name(view, self.context.mspid), blob)

    async def open(self, task: TaskView, view: RoundView, parameters: Vector) -> Opened:
        """Phases decrypt and after: fetch sums and shares, check them against the ledger, fuse, combine.

        Raises FalseSharesError where the shares do not open the sums. Shares of large sums are fetched and added one after the other:
        memory holds the sums and one share, however large the quorum.
        """
        quorum = [task.holder_index(mspid) for mspid in view.quorum]
        reading = asyncio.Semaphore(at_once(ckks.ciphertext_size(self.summed.length)))
        fusions = await asyncio.gather(*(self._fusion(view, entry, quorum, reading) for entry in view.sums))
        room, adding = asyncio.Semaphore(at_once(threshold.partial_size(self.summed.length) * len(fusions))), asyncio.Lock()

        async def add(mspid: str) -> None:
            async with room:
                shares = await self._share(view, mspid)
                async with adding:
                    with self.stopwatch.measure("aggregation"):
                        await asyncio.to_thread(_add_share, fusions, task.holder_index(mspid), mspid, shares)

        await asyncio.gather(*(add(mspid) for mspid in view.quorum))
        with self.stopwatch.measure("aggregation"):
            return await asyncio.to_thread(self._open, view, fusions, parameters)

    async def _fusion(self, view: RoundView, entry: Sum, quorum: Sequence[int], room: asyncio.Semaphore) -> threshold.Fusion:
        async with room:
            ciphertext = await self._sum(view, entry)
            return await asyncio.to_thread(threshold.Fusion, ciphertext, quorum=quorum, count=self.summed.length)

    def _open(self, view: RoundView, fusions: Sequence[threshold.Fusion], parameters: Vector) -> Opened:
        sums: dict[int, Vector] = {}
        rejected = []
        for entry, fusion in zip(view.sums, fusions, strict=True):
            vector = self._values(fusion)
            if vector is not None and within_bound(vector, self.summed.group_bound(entry.members)):
                sums[entry.group] = vector
            else:
                rejected.append(entry.group)
        candidate = self.candidate(view, {group: vector for group, vector in sums.items() if not view.apart(group)}, parameters)
        return Opened(sums, tuple(rejected), candidate, digest(candidate, self.normalisation))

    def _values(self, fusion: threshold.Fusion) -> Vector | None:
        """A decrypted sum, None where it is larger than its members' encodings could be."""
        try:
            opened = fusion.values(bound=self.summed.bound(), members=self.plan.members)
        except threshold.BoundError:
            return None
        except threshold.DecryptionError as error:
            raise FalseSharesError(str(error), None) from error
        return np.asarray(np.round(opened / SUM_GRID) * SUM_GRID)

    def candidate(self, view: RoundView, sums: Mapping[int, Vector], parameters: Vector) -> Vector:
        """What the sums of these groups give."""
        return self.summed.candidate([GroupSum(entry.members, sums[entry.group]) for entry in view.sums if entry.group in sums], parameters)

    def _partials(self, holder_key: bytes, task: TaskView, view: RoundView, ciphertexts: Sequence[bytes]) -> bytes:
        quorum = sorted(task.holder_index(mspid) for mspid in view.quorum)
        index = task.holder_index(self.context.mspid)
        parts = [
            threshold.partial_decrypt(holder_key, index=index, quorum=quorum, ciphertext=each, members=self.plan.members)
            for each in ciphertexts
        ]
        return pack(forged_partials(self.context.misbehaviour, parts))

    async def _recomputed(self, view: RoundView, entry: Sum) -> bytes:
        """The sum of the members' ciphertexts as their hospitals committed to them: nobody has to trust the aggregator."""
        total = AddedSum(self.context, self.summed.length, view, limit_bytes=self.limit_bytes, stopwatch=self.stopwatch)
        await asyncio.gather(*(total.add(mspid) for mspid in entry.members))
        own = await total.to_bytes()
        if _digest(own) != entry.digest:
            raise VerificationFailed(f"the sum of group {entry.group} is not the sum of its members' committed ciphertexts")
        return own

    async def _sum(self, view: RoundView, entry: Sum) -> bytes:
        data = await self.context.hub.pull(view.aggregator, view.endpoints, sum_name(view, entry.group), limit_bytes=self.limit_bytes)
        if _digest(data) != entry.digest:
            raise VerificationFailed(f"the sum of group {entry.group} that came is not the one on the ledger")
        return data

    async def _share(self, view: RoundView, mspid: str) -> list[bytes]:
        limit = self.limit_bytes * max(1, len(view.sums))
        data = await self.context.hub.pull(view.aggregator, view.endpoints, _share_name(view, mspid), limit_bytes=limit)
        posted = next((share.digest for share in view.shares if share.mspid == mspid), None)
        if _digest(data) != posted:
            raise VerificationFailed(f"the decryption share that came for {mspid} is not the one on the ledger")
        try:
            return unpack(data, count=len(view.sums))
        except VerificationFailed as error:
            raise FalseSharesError(f"{mspid}: {error}", mspid) from error


class AddedSum:
    """A group's sum being made of ciphertexts as they are fetched, each checked against its revealed digest.

    Small ones come all at once; of large ones a few are in memory at a time, however many members there are.
    """

    def __init__(self, context: GatewayContext, length: int, view: RoundView, *, limit_bytes: int, stopwatch: Stopwatch) -> None:
        self._context, self._view, self._limit_bytes, self._stopwatch = context, view, limit_bytes, stopwatch
        self._total = ckks.RunningSum(context.state.public_key(view.task_id), count=length)
        self._room, self._adding = asyncio.Semaphore(at_once(ckks.ciphertext_size(length))), asyncio.Lock()

    async def add(self, mspid: str) -> None:
        """Fetch a member's ciphertext, check and add it. What raises (also CiphertextError) leaves the sum as it was."""
        async with self._room:
            data = await fetch_ciphertext(self._context, self._view, mspid, limit_bytes=self._limit_bytes)
            async with self._adding:
                with self._stopwatch.measure("aggregation"):
                    await asyncio.to_thread(self._total.add, data)

    async def to_bytes(self) -> bytes:
        """The sum. The bytes depend on the members alone."""
        with self._stopwatch.measure("aggregation"):
            return await asyncio.to_thread(self._total.to_bytes)


def at_once(size_bytes: int) -> int:
    """How many blobs of this size may be in memory together."""
    return max(1, ROOM_BYTES // size_bytes)


def _add_share(fusions: Sequence[threshold.Fusion], index: int, mspid: str, parts: Sequence[bytes]) -> None:
    try:
        for fusion, part in zip(fusions, parts, strict=True):
            fusion.add(index, part)
    except threshold.DecryptionError as error:
        raise FalseSharesError(str(error), mspid) from error


async def fetch_ciphertext(
    context: GatewayContext, view: RoundView, mspid: str, *, limit_bytes: int, timeout_seconds: float = TRANSFER_TIMEOUT_SECONDS
) -> bytes:
    """A hospital's ciphertext from the hub; raise VerificationFailed unless it is the one it revealed."""
    name = ciphertext_name(view, mspid)
    data = await context.hub.pull(view.aggregator, view.endpoints, name, limit_bytes=limit_bytes, timeout_seconds=timeout_seconds)
    revealed = next((reveal.ciphertext_digest for reveal in view.reveals if reveal.mspid == mspid), None)
    if _digest(data) != revealed:
        raise VerificationFailed(f"the ciphertext that came for {mspid} is not the one it revealed")
    return data


def sum_name(view: RoundView, group: int) -> Name:
    return Name(view.task_id, view.round, exchange_pb2.BLOB_KIND_SUM, view.aggregator, group=group)


def _share_name(view: RoundView, owner: str) -> Name:
    return Name(view.task_id, view.round, exchange_pb2.BLOB_KIND_DECRYPTION_SHARE, owner, attempt=view.attempt)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
