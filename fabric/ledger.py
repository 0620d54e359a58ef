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
    DisputeView,
    IdentityView,
    ListingView,
    OrderView,
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
        mode: str = "unstated",
        order: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """By a researcher; escrows the reward. `normalisation`: the task begins with round 0. `permit_expires`: a day, YYYY-MM-DD.

        `training_limit`: heartbeats for which a round waits for a hospital that trains, if more than `heartbeat_limit`. `mode`: local or
        distributed. `order`: {"listings", "legal_basis"} of a task that takes up hospitals' offers, and is offered to these alone.
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
            mode=mode,
            **({} if order is None else {"order": order}),
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

    # Market

    async def debit_listing(self, *, listing_id: str, dataset: str, spends: Sequence[Spend]) -> Receipt:
        """Once a listing, for each partition, and before its statistics are made. ContractRefused ALREADY_DEBITED or BUDGET_EXCEEDED."""
        events = [asdict(spend) for spend in spends]
        return await self._submit("debit_listing", listing_id=listing_id, dataset=dataset, spends=events)

    async def publish_listing(
        self,
        *,
        listing_id: str,
        dataset: str,
        digest: str,
        description: str,
        price_micro: int,
        purposes: Sequence[str],
        legal_bases: Sequence[str],
        permit_required: bool,
    ) -> Receipt:
        """By a hospital that has debited it. `digest`: SHA-256 of the description, which is JSON-LD in one line."""
        return await self._submit(
            "publish_listing",
            listing_id=listing_id,
            dataset=dataset,
            digest=digest,
            description=description,
            price_micro=price_micro,
            purposes=list(purposes),
            legal_bases=list(legal_bases),
            permit_required=permit_required,
        )

    async def close_listing(self, *, listing_id: str) -> Receipt:
        return await self._submit("close_listing", listing_id=listing_id)

    async def settle_order(self, *, task_id: str) -> Receipt:
        """Once its task is over, by the buyer or one of the hospitals; result {"task_id","outcome","paid_micro"}."""
        return await self._submit("settle_order", task_id=task_id)

    async def listings(self) -> tuple[ListingView, ...]:
        return tuple(decode(ListingView, entry, strict=False) for entry in await self._evaluate("listings"))

    async def orders(self) -> tuple[OrderView, ...]:
        return tuple(decode(OrderView, entry, strict=False) for entry in await self._evaluate("orders"))

    # Keys

    async def commit_key_share(self, *, task_id: str, attempt: int, digest: str, sealing_key: str) -> Receipt:
        """`digest` of the public key share; `sealing_key`: this hospital's X25519 public key for the ceremony, 32 bytes in hex."""
        return await self._submit("commit_key_share", task_id=task_id, attempt=attempt, digest=digest, sealing_key=sealing_key)

    async def confirm_key(self, *, task_id: str, attempt: int, key_digest: str) -> Receipt:
        return await self._submit("confirm_key", task_id=task_id, attempt=attempt, key_digest=key_digest)

    async def accuse_dealer(self, *, task_id: str, attempt: int, accused: str, evidence: str) -> Receipt:
        """`accused` dealt a false share, or accused falsely, by the evidence with this digest. Once an attempt."""
        return await self._submit("accuse_dealer", task_id=task_id, attempt=attempt, accused=accused, evidence=evidence)

    # Rounds

    async def debit(self, *, task_id: str, round_number: int, spends: Sequence[Spend]) -> Receipt:
        """Once a round and before anything is released. ContractRefused ALREADY_DEBITED or BUDGET_EXCEEDED."""
        return await self._submit("debit", task_id=task_id, round=round_number, spends=[asdict(spend) for spend in spends])

    async def debit_release(self, *, task_id: str, release: str, dataset: str, spends: Sequence[Spend]) -> Receipt:
        """`release`: quality, before the approval that tells it, or evaluation. ContractRefused ALREADY_DEBITED or BUDGET_EXCEEDED."""
        events = [asdict(spend) for spend in spends]
        return await self._submit("debit_release", task_id=task_id, release=release, dataset=dataset, spends=events)

    async def record_withdrawals(self, *, task_id: str, digest: str) -> Receipt:
        """`digest` from fabric.contract.commitments.withdrawal_batch. ContractRefused ALREADY_RECORDED."""
        return await self._submit("record_withdrawals", task_id=task_id, digest=digest)

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

    async def object_shares(self, *, task_id: str, round_number: int, attempt: int, accused: str | None) -> Receipt:
        """The attempt's shares do not open the sums. `accused`: whose is malformed; None where each is well-formed."""
        return await self._submit("object_shares", task_id=task_id, round=round_number, attempt=attempt, accused=accused)

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

    async def delegate_stake(self, *, mspid: str, amount_micro: int) -> Receipt:
        """By an admin: set what the organisation lends to a hospital's weight in elections; 0 takes it back."""
        return await self._submit("delegate_stake", mspid=mspid, amount_micro=amount_micro)

    async def attest_fairness(self, *, mspid: str, fairness_ppm: int, evidence_digest: str) -> Receipt:
        """By an auditor. `evidence_digest`: SHA-256 of the report, which stays with the auditor."""
        return await self._submit("attest_fairness", mspid=mspid, fairness_ppm=fairness_ppm, evidence_digest=evidence_digest)

    # Disputes

    async def open_dispute(self, *, task_id: str, round_number: int, accused: str, reason: str) -> Receipt:
        """Put a bond on it that an update of one of the last rounds was no honest one."""
        return await self._submit("open_dispute", task_id=task_id, round=round_number, accused=accused, reason=reason)

    async def take_seat(self, *, task_id: str, round_number: int, accused: str, sealing_key: str) -> Receipt:
        """By an elected judge. `sealing_key`: a fresh X25519 public key, 32 bytes in hex."""
        return await self._submit("take_seat", task_id=task_id, round=round_number, accused=accused, sealing_key=sealing_key)

    async def share_disputed(self, *, task_id: str, round_number: int, accused: str, digest: str | None) -> Receipt:
        """By an elected key holder: digest of the shares it sealed to the judges, None where the ciphertext was not to be had."""
        return await self._submit("share_disputed", task_id=task_id, round=round_number, accused=accused, digest=digest)

    async def commit_finding(self, *, task_id: str, round_number: int, accused: str, digest: str) -> Receipt:
        """`digest` from fabric.contract.commitments.finding_commitment."""
        return await self._submit("commit_finding", task_id=task_id, round=round_number, accused=accused, digest=digest)

    async def reveal_finding(
        self, *, task_id: str, round_number: int, accused: str, nonce: str, finding: str, opened_digest: str
    ) -> Receipt:
        place = {"task_id": task_id, "round": round_number, "accused": accused}
        return await self._submit("reveal_finding", **place, nonce=nonce, finding=finding, opened_digest=opened_digest)

    async def advance_dispute(self, *, task_id: str, round_number: int, accused: str) -> Receipt:
        """Perform the step that is due; ContractRefused NOT_DUE where none is."""
        return await self._submit("advance_dispute", task_id=task_id, round=round_number, accused=accused)

    async def try_advance_dispute(self, *, task_id: str, round_number: int, accused: str) -> Mapping[str, Any]:
        """Ask, without writing, what `advance_dispute` would do now: its result, or ContractRefused NOT_DUE."""
        result: Mapping[str, Any] = await self._evaluate("advance_dispute", task_id=task_id, round=round_number, accused=accused)
        return result

    async def disputes(self, task_id: str) -> tuple[DisputeView, ...]:
        """Every dispute about a task's updates, open and closed."""
        return tuple(decode(DisputeView, entry, strict=False) for entry in await self._evaluate("disputes", task_id=task_id))
