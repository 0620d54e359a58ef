"""A task as the ledger sees it: hospitals that make every call the contract asks for and compute nothing.

The digests stand for nothing, so a round lasts as long as its ledger calls: what is measured is the ledger's part of a round alone.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fabric.client.errors import ContractRefused
from fabric.contract.commitments import commitment, score_commitment
from fabric.ledger import Ledger
from fabric.ledger_views import RoundView, Scores, Spend, Sum
from gateway.bench.meter import Meter

SPENDS = (
    Spend(partition="train", mechanism="sampled_gaussian", noise_multiplier_micro=4_000_000, sampling_rate_ppm=500_000, steps=1),
    Spend(partition="validation", mechanism="gaussian", noise_multiplier_micro=20_000_000, sampling_rate_ppm=1_000_000, steps=1),
)
EPSILON_MICRO = 8_000_000
DELTA_INVERSE = 10_000
_CATCH_UP_SECONDS = 0.02
_CATCH_UP_TRIES = 1500
Step = Callable[[str, Ledger], Awaitable[Any]]


@dataclass(frozen=True)
class RoundTiming:
    """A round of ledger calls only: how long it lasted, and how long its calls took if they are added up."""

    seconds: float
    calls_seconds: float
    transactions: int


class ScriptedTask:
    """One task of the given hospitals (their gateways' ledgers by MSP id), each call timed by `meter`.

    Every task has a data set of its own, so that tasks of one hospital do not collide in its budget.
    """

    def __init__(self, task_id: str, hospitals: Mapping[str, Ledger], meter: Meter, *, rounds: int) -> None:
        self._id = task_id
        self._hospitals = hospitals
        self._meter = meter
        self._rounds = rounds

    async def submit(self, researcher: Ledger) -> None:
        """Open the hospitals' data sets and submit the task."""
        await asyncio.gather(*(self._open_dataset(ledger) for ledger in self._hospitals.values()))
        await researcher.submit_task(
            task_id=self._id,
            digest=_digest(self._id),
            title="A measured task",
            purpose="measuring",
            permit="none",
            rounds=self._rounds,
            min_hospitals=3,
            group_size=3,
            reward_micro=1_000_000,
            epsilon_micro=EPSILON_MICRO,
            delta_inverse=DELTA_INVERSE,
            score_epsilon_micro=EPSILON_MICRO,
            score_clip_micro=20_000,
            heartbeat_limit=1000,
            parameters=31,
        )

    async def until_rounds(self) -> None:
        """Approvals and the key ceremony; the first round is open then."""
        await self._each("approve_task", self._approve)
        await self._advance()
        await self._each("commit_key_share", self._commit_key_share)
        await self._advance()
        await self._each("confirm_key", self._confirm_key)
        await self._advance()

    async def until_judged(self, number: int) -> None:
        """A round but for its settlement, which touches what all tasks of a hospital share."""
        await self._each("debit", lambda _, ledger: ledger.debit(task_id=self._id, round_number=number, spends=SPENDS))
        await self._each("commit", lambda mspid, ledger: self._commit(mspid, ledger, number))
        await self._advance()
        await self._each("reveal", lambda mspid, ledger: self._reveal(mspid, ledger, number))
        await self._advance()
        view = await self._sum(number)
        await self._score(number, view.committee)

    async def run_round(self, number: int) -> RoundTiming:
        """A whole round, with its settlement."""
        first, began = len(self._meter.calls), time.perf_counter()
        await self.until_judged(number)
        await self._advance()
        calls = self._meter.calls[first:]
        return RoundTiming(time.perf_counter() - began, sum(call.seconds for call in calls), len(calls))

    @property
    def _any(self) -> Ledger:
        return next(iter(self._hospitals.values()))

    async def _each(self, function: str, step: Step, mspids: Sequence[str] | None = None) -> None:
        names = self._hospitals if mspids is None else mspids
        await asyncio.gather(*(self._call(function, step, mspid) for mspid in names))

    async def _call(self, function: str, step: Step, mspid: str) -> Any:
        return await self._meter.timed(function, lambda: _once_caught_up(lambda: step(mspid, self._hospitals[mspid])))

    async def _advance(self) -> None:
        await self._call("advance", lambda _, ledger: ledger.advance(self._id), next(iter(self._hospitals)))

    async def _open_dataset(self, ledger: Ledger) -> None:
        await ledger.register_dataset(dataset=self._id, epsilon_micro=20_000_000, delta_inverse=DELTA_INVERSE)

    async def _approve(self, _: str, ledger: Ledger) -> None:
        await ledger.approve_task(
            task_id=self._id,
            digest=_digest(self._id),
            dataset=self._id,
            epsilon_micro=EPSILON_MICRO,
            score_epsilon_micro=EPSILON_MICRO,
            delta_inverse=DELTA_INVERSE,
            batch=50,
            patients=100,
            quality_ppm=900_000,
            last_round=self._rounds,
        )

    async def _commit_key_share(self, mspid: str, ledger: Ledger) -> None:
        await ledger.commit_key_share(task_id=self._id, attempt=1, digest=_digest(mspid), sealing_key=_digest("sealing", mspid))

    async def _confirm_key(self, _: str, ledger: Ledger) -> None:
        await ledger.confirm_key(task_id=self._id, attempt=1, key_digest=_digest("key", self._id))

    async def _commit(self, mspid: str, ledger: Ledger, number: int) -> None:
        bound = commitment(self._id, number, mspid, _digest("nonce", mspid), self._update(mspid, number))
        await ledger.commit(task_id=self._id, round_number=number, digest=bound)

    async def _reveal(self, mspid: str, ledger: Ledger, number: int) -> None:
        nonce, update = _digest("nonce", mspid), self._update(mspid, number)
        await ledger.reveal(task_id=self._id, round_number=number, nonce=nonce, ciphertext_digest=update, size=1000)

    async def _sum(self, number: int) -> RoundView:
        """Sums, shares and candidate; returns the round as it was when the sums were due."""
        view = await self._view(number, "sum")
        sums = [Sum(group, members, _digest("sum", group)) for group, members in enumerate(view.groups)]
        await self._call("post_sums", lambda _, ledger: ledger.post_sums(task_id=self._id, round_number=number, sums=sums), view.aggregator)

        async def share(mspid: str, ledger: Ledger) -> None:
            await ledger.post_share(task_id=self._id, round_number=number, attempt=view.attempt, digest=_digest("share", mspid))

        async def candidate(_: str, ledger: Ledger) -> None:
            await ledger.post_candidate(task_id=self._id, round_number=number, digest=_digest("model", number), rejected_groups=[])

        await self._each("post_share", share, view.quorum)
        await self._call("post_candidate", candidate, view.aggregator)
        return view

    async def _score(self, number: int, committee: Sequence[str]) -> None:
        scores = Scores(candidate_digest=_digest("model", number), candidate_micro=10_000, groups=())

        async def commit(mspid: str, ledger: Ledger) -> None:
            bound = score_commitment(self._id, number, mspid, _digest("score", mspid), scores.to_json())
            await ledger.commit_scores(task_id=self._id, round_number=number, digest=bound)

        async def reveal(mspid: str, ledger: Ledger) -> None:
            await ledger.reveal_scores(task_id=self._id, round_number=number, nonce=_digest("score", mspid), scores=scores)

        await self._each("commit_scores", commit, committee)
        await self._advance()
        await self._each("reveal_scores", reveal, committee)

    async def _view(self, number: int, phase: str) -> RoundView:
        for _ in range(_CATCH_UP_TRIES):
            view = await self._any.round(self._id, number)
            if view.phase == phase:
                return view
            await asyncio.sleep(_CATCH_UP_SECONDS)
        raise TimeoutError(f"round {number} of task {self._id} did not reach phase {phase}")

    def _update(self, mspid: str, number: int) -> str:
        return _digest("update", self._id, number, mspid)


async def _once_caught_up(step: Callable[[], Awaitable[Any]]) -> Any:
    """Take a step as soon as the peers have seen what it builds on, as gateways do by trying again.

    The script makes no call that the rules forbid: who refuses one is a block behind the step before.
    """
    for _ in range(_CATCH_UP_TRIES):
        try:
            return await step()
        except ContractRefused:
            await asyncio.sleep(_CATCH_UP_SECONDS)
    return await step()


def _digest(*words: object) -> str:
    return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()
