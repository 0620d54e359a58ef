"""Hospitals on the real network, registered with the consortium's contract, and a task of theirs from submission to settlement."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fabric.client.errors import ContractRefused
from fabric.client.gateway import Gateway
from fabric.contract.commitments import commitment, score_commitment
from fabric.ledger import Ledger
from fabric.ledger_views import RoundView, Scores, Spend, Sum
from tests.support.fabric_network import FabricNetwork

MSPIDS = ("AlphaMSP", "BetaMSP", "GammaMSP")
GATEWAY, RESEARCHER = "user1", "user2"
DATASET = "patients"
SPENDS = (
    Spend(partition="train", mechanism="sampled_gaussian", noise_multiplier_micro=4_000_000, sampling_rate_ppm=500_000, steps=1),
    Spend(partition="validation", mechanism="gaussian", noise_multiplier_micro=20_000_000, sampling_rate_ppm=1_000_000, steps=1),
)


# A peer may be a block behind the one on which the step before was committed; it then refuses what comes too early for it.
BEHIND = ("NOT_FOUND", "WRONG_PHASE", "SHARES_MISSING")
CATCH_UP_TRIES, CATCH_UP_SECONDS = 50, 0.1


async def _once_caught_up(step: Callable[[str, Ledger], Awaitable[Any]], mspid: str, ledger: Ledger) -> None:
    """Take a step as soon as the endorsing peers have seen what it builds on, as gateways do by trying again."""
    for left in reversed(range(CATCH_UP_TRIES)):
        try:
            await step(mspid, ledger)
        except ContractRefused as refusal:
            if refusal.code not in BEHIND or not left:
                raise
            await asyncio.sleep(CATCH_UP_SECONDS)
        else:
            return


def digest(*words: object) -> str:
    return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()


async def registered(network: FabricNetwork, connect: Callable[..., Gateway]) -> "Consortium":
    """The hospitals with their gateways, a researcher and data sets, registered once in a network's life."""

    def ledger(mspid: str, user: str) -> Ledger:
        return Ledger(connect(mspid, user, chaincode="consortium"))

    members = Consortium({mspid: ledger(mspid, GATEWAY) for mspid in MSPIDS}, ledger(MSPIDS[0], RESEARCHER))
    await asyncio.gather(*(_enrol(ledger(mspid, "admin"), mspid) for mspid in MSPIDS))
    await asyncio.gather(*(_register(network, ledger(mspid, "admin"), mspid) for mspid in MSPIDS))
    return members


async def _enrol(admin: Ledger, mspid: str) -> None:
    with suppress_code("ALREADY_REGISTERED"):
        await admin.register_organisation(name=f"Hospital of {mspid}", kind="hospital")


async def _register(network: FabricNetwork, admin: Ledger, mspid: str) -> None:
    """The data set comes when all hospitals are there: with fewer than three its keys have no policy of their own."""
    gateway, researcher = network.identity(mspid, GATEWAY), network.identity(mspid, RESEARCHER)
    with suppress_code("ALREADY_REGISTERED"):
        await admin.register_identity(role="gateway", fingerprint=gateway.fingerprint, endpoint="gateway.example:7443")
        await admin.register_identity(role="researcher", fingerprint=researcher.fingerprint, endpoint="")
        await admin.register_dataset(dataset=DATASET, epsilon_micro=20_000_000, delta_inverse=10_000)


@contextmanager
def suppress_code(code: str) -> Iterator[None]:
    """Take one refusal of the contract for an answer."""
    try:
        yield
    except ContractRefused as refused:
        assert refused.code == code


@dataclass(frozen=True)
class Consortium:
    """`hospitals` are the gateways' ledgers by MSP id; the researcher is AlphaMSP's."""

    hospitals: dict[str, Ledger]
    researcher: Ledger

    @property
    def any(self) -> Ledger:
        return self.hospitals[MSPIDS[0]]

    async def each(self, step: Callable[[str, Ledger], Awaitable[Any]], mspids: tuple[str, ...] = MSPIDS) -> None:
        """A step of several hospitals at the same time."""
        await asyncio.gather(*(_once_caught_up(step, mspid, self.hospitals[mspid]) for mspid in mspids))

    async def all_advance(self, task_id: str) -> None:
        """Every gateway tries the transition that is due, as gateways do; one of them makes it."""
        made: list[Any] = []
        results: list[Any] = []
        for _ in range(CATCH_UP_TRIES):
            results = await asyncio.gather(*(ledger.advance(task_id) for ledger in self.hospitals.values()), return_exceptions=True)
            made = [result for result in results if not isinstance(result, BaseException)]
            if made:
                break
            await asyncio.sleep(CATCH_UP_SECONDS)
        refused = [result.code for result in results if isinstance(result, ContractRefused)]
        assert (len(made), set(refused) - {"NOT_DUE", "WRONG_PHASE"}) == (1, set()), results  # the latter once the task is over

    async def submit(self, task_id: str, *, rounds: int) -> None:
        await self.researcher.submit_task(
            task_id=task_id,
            digest=digest(task_id),
            title="A task on real peers",
            purpose="testing",
            permit="none",
            rounds=rounds,
            min_hospitals=3,
            group_size=3,
            reward_micro=30_000_000,
            epsilon_micro=8_000_000,
            delta_inverse=10_000,
            score_epsilon_micro=8_000_000,
            score_clip_micro=20_000,
            heartbeat_limit=20,
            parameters=31,
        )

    async def approve(self, task_id: str, *, rounds: int) -> None:
        async def step(mspid: str, ledger: Ledger) -> None:
            await ledger.approve_task(
                task_id=task_id,
                digest=digest(task_id),
                dataset=DATASET,
                epsilon_micro=8_000_000,
                score_epsilon_micro=8_000_000,
                delta_inverse=10_000,
                batch=50,
                patients=100,
                quality_ppm=900_000,
                last_round=rounds,
                views_digest=digest("sql"),
                cohort_digest=digest(mspid, "cohort"),
            )

        await self.each(step)
        await self.all_advance(task_id)

    async def make_key(self, task_id: str) -> None:
        async def share(mspid: str, ledger: Ledger) -> None:
            await ledger.commit_key_share(task_id=task_id, attempt=1, digest=digest(mspid), sealing_key=digest("sealing", mspid))

        async def confirm(mspid: str, ledger: Ledger) -> None:
            await ledger.confirm_key(task_id=task_id, attempt=1, key_digest=digest("key"))

        for step in (share, confirm):
            await self.each(step)
            await self.all_advance(task_id)

    async def contribute(self, task_id: str, number: int) -> None:
        """Debit, commit, reveal."""
        await self.debit_and_commit(task_id, number)
        await self.reveal(task_id, number)

    async def debit_and_commit(self, task_id: str, number: int) -> None:
        async def step(mspid: str, ledger: Ledger) -> None:
            await ledger.debit(task_id=task_id, round_number=number, spends=SPENDS)
            bound = commitment(task_id, number, mspid, digest("nonce", mspid), digest("update", task_id, number, mspid))
            await ledger.commit(task_id=task_id, round_number=number, digest=bound)

        await self.each(step)
        await self.all_advance(task_id)

    async def reveal(self, task_id: str, number: int) -> None:
        async def step(mspid: str, ledger: Ledger) -> None:
            update = digest("update", task_id, number, mspid)
            await ledger.reveal(task_id=task_id, round_number=number, nonce=digest("nonce", mspid), ciphertext_digest=update, size=1000)

        await self.each(step)
        await self.all_advance(task_id)

    async def decrypt(self, task_id: str, number: int) -> None:
        """Sums, shares, candidate."""
        view = await self.any.round(task_id, number)
        aggregator = self.hospitals[view.aggregator]
        sums = [Sum(group, members, digest("sum", group)) for group, members in enumerate(view.groups)]
        await aggregator.post_sums(task_id=task_id, round_number=number, sums=sums)

        async def share(mspid: str, ledger: Ledger) -> None:
            await ledger.post_share(task_id=task_id, round_number=number, attempt=view.attempt, digest=digest("share", mspid))

        async def candidate(_: str, ledger: Ledger) -> None:
            await ledger.post_candidate(task_id=task_id, round_number=number, digest=digest("model", number), rejected_groups=[])

        await self.each(share, view.quorum)
        await self.each(candidate, (view.aggregator,))

    async def judge(self, task_id: str, number: int) -> None:
        """Scores, committed and revealed; the last advance settles the round."""
        view: RoundView = await self.any.round(task_id, number)
        scores = Scores(candidate_digest=digest("model", number), candidate_micro=10_000, groups=())

        async def commit(mspid: str, ledger: Ledger) -> None:
            bound = score_commitment(task_id, number, mspid, digest("score", mspid), scores.to_json())
            await ledger.commit_scores(task_id=task_id, round_number=number, digest=bound)

        async def reveal(mspid: str, ledger: Ledger) -> None:
            await ledger.reveal_scores(task_id=task_id, round_number=number, nonce=digest("score", mspid), scores=scores)

        for step in (commit, reveal):
            await self.each(step, view.committee)
            await self.all_advance(task_id)

    async def run(self, task_id: str, *, rounds: int) -> None:
        """The whole task."""
        await self.submit(task_id, rounds=rounds)
        await self.approve(task_id, rounds=rounds)
        await self.make_key(task_id)
        for number in range(1, rounds + 1):
            await self.contribute(task_id, number)
            await self.decrypt(task_id, number)
            await self.judge(task_id, number)
