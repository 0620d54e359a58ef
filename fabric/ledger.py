"""The contract as the rest of the product calls it: one async method a function, frozen dataclasses as answers.

Every submitting method returns once the transaction is committed and raises what the client raises: ContractRefused
(code and sentence, see fabric.contract) where a rule says no. Amounts are micro-tokens, ε micro-units, shares ppm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from fabric import canonical
from fabric.decoding import decode
from fabric.ledger_views import (
    BudgetView,
    DatasetView,
    IdentityView,
    OrganisationView,
    RoundView,
    Scores,
    SettlementView,
    Spend,
    SpentView,
    Sum,
    TaskSummary,
    TaskView,
    TrustView,
    VersionView,
)


class Committed(Protocol):
    """A committed transaction, as fabric.client gives it."""

    @property
    def tx_id(self) -> str: ...

    @property
    def block_number(self) -> int: ...

    @property
    def result(self) -> bytes: ...


class Client(Protocol):
    """What this facade needs of fabric.client.gateway.Gateway."""

    async def evaluate(self, function: str, *args: bytes) -> bytes: ...

    async def submit(self, function: str, *args: bytes) -> Committed: ...


@dataclass(frozen=True)
class Receipt:
    """Where a transaction stands, and what the contract answered (a JSON object)."""

    tx_id: str
    block_number: int
    result: Mapping[str, Any]


class Ledger:
    """Typed access to the consortium contract for one identity. Holds no state; safe for concurrent calls."""

    def __init__(self, gateway: Client) -> None:
        self._gateway = gateway

    async def _submit(self, function: str, **argument: Any) -> Receipt:
        arguments = (canonical.dumps(argument),) if argument else ()
        committed = await self._gateway.submit(function, *arguments)
        return Receipt(committed.tx_id, committed.block_number, canonical.loads(committed.result))

    async def _evaluate(self, function: str, **argument: Any) -> Any:
        arguments = (canonical.dumps(argument),) if argument else ()
        return canonical.loads(await self._gateway.evaluate(function, *arguments))

    # Registry

    async def version(self) -> VersionView:
        return decode(VersionView, await self._evaluate("version"), strict=False)

    async def heartbeat(self) -> int:
        """Say that this hospital's gateway lives; returns its count."""
        return int((await self._submit("heartbeat")).result["count"])

    async def register_organisation(self, *, name: str, kind: str) -> Receipt:
        """By the organisation's admin. `kind`: hospital, research or audit."""
        return await self._submit("register_organisation", name=name, kind=kind)

    async def register_identity(self, *, role: str, fingerprint: str, endpoint: str) -> Receipt:
        """By the organisation's admin. `role`: gateway, researcher or auditor; `endpoint` "" where no calls are accepted."""
        return await self._submit("register_identity", role=role, fingerprint=fingerprint, endpoint=endpoint)

    async def revoke_identity(self, *, fingerprint: str) -> Receipt:
        return await self._submit("revoke_identity", fingerprint=fingerprint)

    async def register_dataset(self, *, dataset: str, epsilon_micro: int, delta_inverse: int) -> Receipt:
        """Fix a data set's privacy budget for ever: one Rényi filter for training patients, one for validation patients."""
        return await self._submit("register_dataset", dataset=dataset, epsilon_micro=epsilon_micro, delta_inverse=delta_inverse)

    async def declare_leave(self, *, on: bool) -> Receipt:
        return await self._submit("declare_leave", on=on)

    async def organisations(self) -> tuple[OrganisationView, ...]:
        return tuple(decode(OrganisationView, entry, strict=False) for entry in await self._evaluate("organisations"))

    async def organisation(self, mspid: str) -> OrganisationView:
        return decode(OrganisationView, await self._evaluate("organisation", mspid=mspid), strict=False)

    async def identities(self) -> tuple[IdentityView, ...]:
        return tuple(decode(IdentityView, entry, strict=False) for entry in await self._evaluate("identities"))

    async def budget(self, mspid: str, dataset: str) -> BudgetView:
        return decode(BudgetView, await self._evaluate("budget", mspid=mspid, dataset=dataset), strict=False)

    async def datasets(self) -> tuple[DatasetView, ...]:
        return tuple(decode(DatasetView, entry, strict=False) for entry in await self._evaluate("datasets"))

    async def spends(self, mspid: str, dataset: str) -> tuple[SpentView, ...]:
        """The events that a data set's budget paid for, by task."""
        return tuple(decode(SpentView, entry, strict=False) for entry in await self._evaluate("spends", mspid=mspid, dataset=dataset))

    # Tasks

    async def submit_task(
        self,
        *,
        task_id: str,
        digest: str,
        title: str,
        purpose: str,
        permit: str,
        rounds: int,
        min_hospitals: int,
        group_size: int,
        reward_micro: int,
        epsilon_micro: int,
        delta_inverse: int,
        score_epsilon_micro: int,
        score_clip_micro: int,
        heartbeat_limit: int,
        parameters: int,
        normalisation: bool = False,
        permit_expires: str = "",
        training_limit: int = 1,
    ) -> Receipt:
        """By a researcher; escrows the reward. `normalisation`: the task begins with round 0. `permit_expires`: a day, YYYY-MM-DD.

        `training_limit`: heartbeats for which a round waits for a hospital that trains, if more than `heartbeat_limit`.
        """
        return await self._submit(
            "submit_task",
            task_id=task_id,
            digest=digest,
            title=title,
            purpose=purpose,
            permit=permit,
            rounds=rounds,
            min_hospitals=min_hospitals,
            group_size=group_size,
            reward_micro=reward_micro,
            epsilon_micro=epsilon_micro,
            delta_inverse=delta_inverse,
            score_epsilon_micro=score_epsilon_micro,
            score_clip_micro=score_clip_micro,
            heartbeat_limit=heartbeat_limit,
            parameters=parameters,
            normalisation=normalisation,
            permit_expires=permit_expires,
            training_limit=training_limit,
        )

    async def approve_task(
        self,
        *,
        task_id: str,
        digest: str,
        dataset: str,
        epsilon_micro: int,
        score_epsilon_micro: int,
        delta_inverse: int,
        batch: int,
        patients: int,
        quality_ppm: int,
        last_round: int,
        views_digest: str | None = None,
        cohort_digest: str | None = None,
    ) -> Receipt:
        """By a hospital; the caps may be stricter than the task asks, never laxer. `batch`: expected patients per step.

        `views_digest`: SHA-256 of the SQL that the hospital runs; `cohort_digest`: of the resources that it reads, with a salt of its own.
        """
        return await self._submit(
            "approve_task",
            task_id=task_id,
            digest=digest,
            dataset=dataset,
            epsilon_micro=epsilon_micro,
            score_epsilon_micro=score_epsilon_micro,
            delta_inverse=delta_inverse,
            batch=batch,
            patients=patients,
            quality_ppm=quality_ppm,
            last_round=last_round,
            views_digest=views_digest,
            cohort_digest=cohort_digest,
        )

    async def reject_task(self, *, task_id: str, digest: str, reason: str) -> Receipt:
        return await self._submit("reject_task", task_id=task_id, digest=digest, reason=reason)

    async def advance(self, task_id: str) -> Receipt:
        """Perform the transition that is due. ContractRefused NOT_DUE where none is; result {"task_id","round","phase"}."""
        return await self._submit("advance", task_id=task_id)

    async def try_advance(self, task_id: str) -> Mapping[str, Any]:
        """Ask, without writing, what `advance` would do now: its result, or ContractRefused NOT_DUE."""
        result: Mapping[str, Any] = await self._evaluate("advance", task_id=task_id)
        return result

    async def abort_task(self, *, task_id: str, reason: str) -> Receipt:
        return await self._submit("abort_task", task_id=task_id, reason=reason)

    async def rejoin(self, task_id: str) -> Receipt:
        """By a hospital that was marked absent: take part again from the next round."""
        return await self._submit("rejoin", task_id=task_id)

    async def tasks(self) -> tuple[TaskSummary, ...]:
        return tuple(decode(TaskSummary, entry, strict=False) for entry in await self._evaluate("tasks"))

    async def task(self, task_id: str) -> TaskView:
        return decode(TaskView, await self._evaluate("task", task_id=task_id), strict=False)

    # Keys

    async def commit_key_share(self, *, task_id: str, attempt: int, digest: str, sealing_key: str) -> Receipt:
        """`digest` of the public key share; `sealing_key`: this hospital's X25519 public key for the ceremony, 32 bytes in hex."""
        return await self._submit("commit_key_share", task_id=task_id, attempt=attempt, digest=digest, sealing_key=sealing_key)

    async def confirm_key(self, *, task_id: str, attempt: int, key_digest: str) -> Receipt:
        return await self._submit("confirm_key", task_id=task_id, attempt=attempt, key_digest=key_digest)

    # Rounds

    async def debit(self, *, task_id: str, round_number: int, spends: Sequence[Spend]) -> Receipt:
        """Once a round and before anything is released. ContractRefused ALREADY_DEBITED or BUDGET_EXCEEDED."""
        return await self._submit("debit", task_id=task_id, round=round_number, spends=[asdict(spend) for spend in spends])

    async def commit(self, *, task_id: str, round_number: int, digest: str) -> Receipt:
        """`digest` from fabric.contract.commitments.commitment."""
        return await self._submit("commit", task_id=task_id, round=round_number, digest=digest)

    async def reveal(self, *, task_id: str, round_number: int, nonce: str, ciphertext_digest: str, size: int) -> Receipt:
        return await self._submit(
            "reveal", task_id=task_id, round=round_number, nonce=nonce, ciphertext_digest=ciphertext_digest, size=size
        )

    async def post_sums(self, *, task_id: str, round_number: int, sums: Sequence[Sum]) -> Receipt:
        """By the aggregator whose turn it is."""
        entries = [{"group": entry.group, "members": list(entry.members), "digest": entry.digest} for entry in sums]
        return await self._submit("post_sums", task_id=task_id, round=round_number, sums=entries)

    async def post_share(self, *, task_id: str, round_number: int, attempt: int, digest: str) -> Receipt:
        """By a quorum member, before it hands its partial decryption to anyone."""
        return await self._submit("post_share", task_id=task_id, round=round_number, attempt=attempt, digest=digest)

    async def object_sums(self, *, task_id: str, round_number: int, reason: str) -> Receipt:
        """By a quorum member that cannot fetch the ciphertexts or finds another sum; the next aggregator takes over."""
        return await self._submit("object_sums", task_id=task_id, round=round_number, reason=reason)

    async def post_candidate(self, *, task_id: str, round_number: int, digest: str, rejected_groups: Sequence[int]) -> Receipt:
        return await self._submit(
            "post_candidate", task_id=task_id, round=round_number, digest=digest, rejected_groups=list(rejected_groups)
        )

    async def commit_scores(self, *, task_id: str, round_number: int, digest: str) -> Receipt:
        """`digest` from fabric.contract.commitments.score_commitment over `scores.to_json()`."""
        return await self._submit("commit_scores", task_id=task_id, round=round_number, digest=digest)

    async def reveal_scores(self, *, task_id: str, round_number: int, nonce: str, scores: Scores) -> Receipt:
        return await self._submit("reveal_scores", task_id=task_id, round=round_number, nonce=nonce, scores=scores.to_json())

    async def round(self, task_id: str, round_number: int) -> RoundView:
        return decode(RoundView, await self._evaluate("round", task_id=task_id, round=round_number), strict=False)

    async def settlement(self, task_id: str, round_number: int) -> SettlementView:
        return decode(SettlementView, await self._evaluate("settlement", task_id=task_id, round=round_number), strict=False)

    async def trust(self) -> tuple[TrustView, ...]:
        """Every hospital's trust, by MSP id."""
        return tuple(decode(TrustView, entry, strict=False) for entry in await self._evaluate("trust"))
