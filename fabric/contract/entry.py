"""The contract's single door, called by the embedded ledger and by the chaincode server alike.

Every function takes no argument or one canonical JSON object and answers canonical JSON. Refusals are ContractError.

Events, one a transaction, JSON objects that also name the `rules` (release.Release) which decided:
- organisation_registered, identity_registered, identity_revoked, dataset_registered, leave_declared, heartbeat;
- task_submitted, task_approved, task_rejected, task_aborted, and task_abandoned where no round was open;
- listing_debited, listing_published, listing_closed, order_settled; withdrawals_recorded: of patients, before the rounds to come;
- release_debited: held-out patients pay for what a hospital will tell outside the rounds;
- stake_delegated: an organisation lent tokens to a hospital's weight in elections, or took them back;
- fairness_attested: an auditor examined a hospital off the ledger;
- dispute: one was opened, moved on or closed (records.Dispute); dispute_progress: a judge or key holder did its part;
- progress: a hospital wrote a key of its own in a phase, so `advance` may have become due;
- phase: a task or round has entered a phase {task_id, round (0 for keys and for the normalisation), phase, attempt, turn};
- settled: a round has ended (records.Settlement); `next` opens the following one, else `task_phase` says how the task ended.
Whatever a transaction slashed on proof stands under `slashed` in its event (records.Slash).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fabric import canonical
from fabric.contract import (
    absence,
    approvals,
    arguments,
    caller,
    ceremony,
    contributions,
    delegation,
    dispute_steps,
    disputes,
    fairness,
    false_shares,
    market,
    registry,
    releases,
    scoring,
    spending,
    sums,
    tasks,
    transitions,
    views,
    withdrawals,
)
from fabric.contract.access import TABLE
from fabric.contract.errors import ContractError
from fabric.contract.release import RELEASE, Release
from fabric.contract.state import State
from fabric.contract.stub import Stub

Handler = Callable[..., Any]

FUNCTIONS: dict[str, tuple[type[Any] | None, Handler]] = {
    "version": (None, views.version),
    "heartbeat": (None, registry.heartbeat),
    "register_organisation": (registry.RegisterOrganisation, registry.register_organisation),
    "register_identity": (registry.RegisterIdentity, registry.register_identity),
    "revoke_identity": (registry.RevokeIdentity, registry.revoke_identity),
    "register_dataset": (registry.RegisterDataset, registry.register_dataset),
    "declare_leave": (registry.DeclareLeave, registry.declare_leave),
    "submit_task": (tasks.SubmitTask, tasks.submit_task),
    "approve_task": (approvals.ApproveTask, approvals.approve_task),
    "reject_task": (approvals.RejectTask, approvals.reject_task),
    "advance": (tasks.TaskArgument, transitions.advance),
    "abort_task": (tasks.AbortTask, tasks.abort_task),
    "rejoin": (tasks.TaskArgument, absence.rejoin),
    "commit_key_share": (ceremony.CommitKeyShare, ceremony.commit_key_share),
    "confirm_key": (ceremony.ConfirmKey, ceremony.confirm_key),
    "accuse_dealer": (ceremony.AccuseDealer, ceremony.accuse_dealer),
    "debit": (spending.DebitRound, spending.debit),
    "debit_release": (releases.DebitRelease, releases.debit_release),
    "record_withdrawals": (withdrawals.RecordWithdrawals, withdrawals.record_withdrawals),
    "debit_listing": (market.DebitListing, market.debit_listing),
    "publish_listing": (market.PublishListing, market.publish_listing),
    "close_listing": (market.ListingArgument, market.close_listing),
    "settle_order": (tasks.TaskArgument, market.settle_order),
    "commit": (contributions.CommitRound, contributions.commit),
    "reveal": (contributions.RevealRound, contributions.reveal),
    "post_sums": (sums.PostSums, sums.post_sums),
    "post_share": (sums.PostShare, sums.post_share),
    "object_shares": (false_shares.ObjectShares, false_shares.object_shares),
    "object_sums": (sums.ObjectSums, sums.object_sums),
    "post_candidate": (sums.PostCandidate, sums.post_candidate),
    "commit_scores": (scoring.CommitScores, scoring.commit_scores),
    "reveal_scores": (scoring.RevealScores, scoring.reveal_scores),
    "delegate_stake": (delegation.DelegateStake, delegation.delegate_stake),
    "attest_fairness": (fairness.AttestFairness, fairness.attest_fairness),
    "open_dispute": (disputes.OpenDispute, disputes.open_dispute),
    "take_seat": (disputes.TakeSeat, disputes.take_seat),
    "share_disputed": (disputes.ShareDisputed, disputes.share_disputed),
    "commit_finding": (disputes.CommitFinding, disputes.commit_finding),
    "reveal_finding": (disputes.RevealFinding, disputes.reveal_finding),
    "advance_dispute": (disputes.DisputeArgument, dispute_steps.advance_dispute),
    "organisations": (None, views.organisations),
    "organisation": (views.OrganisationArgument, views.organisation),
    "identities": (None, views.identities),
    "budget": (views.BudgetArgument, views.budget),
    "datasets": (None, views.datasets),
    "spends": (views.BudgetArgument, views.spends),
    "listings": (None, views.listings),
    "orders": (None, views.orders),
    "tasks": (None, views.tasks),
    "task": (tasks.TaskArgument, views.task),
    "round": (views.RoundArgument, views.round_view),
    "settlement": (views.RoundArgument, views.settlement),
    "disputes": (tasks.TaskArgument, views.disputes),
    "trust": (None, views.trust),
}


@dataclass(frozen=True)
class Contract:
    """One version of the contract: its release, its functions, and the roles that may call them."""

    release: Release
    functions: Mapping[str, tuple[type[Any] | None, Handler]]
    access: Mapping[str, frozenset[str]]

    def invoke(self, stub: Stub, function: str, args: Sequence[bytes]) -> bytes:
        """Run one call against the state that `stub` shows; raise ContractError, with nothing written, where a rule refuses."""
        if function not in self.functions:
            raise ContractError(
                "UNKNOWN_FUNCTION", "the contract has no such function; ask for its version and read the documentation of that"
            )
        shape, handler = self.functions[function]
        state = State(stub, self.release)
        call = caller.identify(stub, state)
        caller.check(call, function, self.access[function])
        result = handler(call, _argument(function, shape, args))
        state.flush()
        return canonical.dumps(result)


def _argument(function: str, shape: type[Any] | None, args: Sequence[bytes]) -> Any:
    expected = 0 if shape is None else 1
    if len(args) != expected:
        raise ContractError(
            "BAD_ARGUMENT", f"{function} takes {'one JSON object' if expected else 'no argument'}; {len(args)} arguments came"
        )
    return None if shape is None else arguments.parse(shape, args[0])


CONTRACT = Contract(RELEASE, FUNCTIONS, TABLE)
invoke = CONTRACT.invoke
