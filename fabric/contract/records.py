"""The records of the state, by the kind that stands first in their key. Amounts are micro-tokens, shares parts per million."""

from typing import TypedDict


class GatewayAddress(TypedDict):
    fingerprint: str
    endpoint: str


class Roster(TypedDict):
    """`roster`: every organisation by kind, sorted, so that submits need no range read."""

    hospital: list[str]
    research: list[str]
    audit: list[str]


class Organisation(TypedDict):
    """`organisation` mspid."""

    mspid: str
    name: str
    kind: str
    leave: bool
    gateways: list[GatewayAddress]


class Identity(TypedDict):
    """`identity` mspid fingerprint. The MSP id is part of the key, so nobody can occupy another's fingerprint."""

    mspid: str
    fingerprint: str
    role: str
    endpoint: str
    revoked: bool


class Account(TypedDict):
    """`account` mspid."""

    balance_micro: int
    bond_micro: int


class TreasuryEntry(TypedDict):
    """`treasury` task round: a delta row; the treasury's balance is their sum."""

    task_id: str
    round: int
    amount_micro: int


class Delegations(TypedDict):
    """`delegation` mspid: what each organisation lends to a hospital's stake, in micro-tokens (fabric.contract.delegation)."""

    mspid: str
    by: dict[str, int]


class Attestations(TypedDict):
    """`fairness` mspid: what each auditing organisation attested last, in ppm (fabric.contract.fairness)."""

    mspid: str
    by: dict[str, int]


class Vesting(TypedDict):
    """`vesting` mspid: rewards that are earned but not due, by round, next first (fabric.contract.vesting)."""

    mspid: str
    due_micro: list[int]


class Slash(TypedDict):
    """`slash` mspid: bond and unvested rewards, taken on proof, once. `honest` got `share_micro` each, the treasury the rest."""

    mspid: str
    reason: str
    evidence_digest: str
    bond_micro: int
    vesting_micro: int
    honest: list[str]
    share_micro: int
    treasury_micro: int


class Dispute(TypedDict):
    """`dispute` task round accused, and the event `dispute`.

    phase: seating, opening, finding, revealing or closed; outcome, once closed: guilty, unfounded or lapsed. `committee` are the judges,
    from the end of `seating` on those that took their seat; `quorum` the holders of the key that open the update.
    `escrow_micro` is the accuser's bond while it is held, `treasury_micro` what the treasury got: that bond, and deposits of the `fined`.
    """

    task_id: str
    round: int
    accused: str
    accuser: str
    reason: str
    phase: str
    ciphertext_digest: str
    committee: list[str]
    quorum: list[str]
    clock: dict[str, int]
    fined: list[str]
    escrow_micro: int
    treasury_micro: int
    outcome: str


class DisputeSeat(TypedDict):
    """`dispute_seat` task round accused mspid: a judge, and the key that the update's shares are sealed to for it."""

    mspid: str
    sealing_key: str


class DisputeShare(TypedDict):
    """`dispute_share` task round accused mspid: digest of the sealed shares, None where the ciphertext was not to be had."""

    mspid: str
    digest: str | None


class Finding(TypedDict):
    """`finding` task round accused mspid: what a judge found in the update that it opened. Its commitment stands in `finding_commit`."""

    mspid: str
    finding: str
    nonce: str
    opened_digest: str


class Heartbeat(TypedDict):
    """`heartbeat` mspid."""

    count: int


class Filter(TypedDict):
    """`filter` mspid dataset partition: RDP per order of budget.ORDERS, in micro."""

    epsilon_micro: int
    delta_inverse: int
    caps_micro: list[int]
    spent_micro: list[int]


class TaskFilter(Filter):
    """`task_filter` task mspid partition. `debited`: the first round that is not debited yet.

    It stands here and is not read from `debit`, which a majority without this hospital could write: a spend counts once it is spent.
    """

    debited: int


class Dataset(TypedDict):
    """`dataset` mspid dataset."""

    mspid: str
    dataset: str
    epsilon_micro: int
    delta_inverse: int


class Trust(TypedDict):
    """`trust` mspid: the state of trust.TrustState; `history_ppm` holds the last credits for group utility, oldest first."""

    mspid: str
    positive: int
    negative: int
    trust_ppm: int
    streak: int
    history_ppm: list[int]
    quarantined: bool


class TaskTerms(TypedDict):
    """`task` task: what was submitted. Never changes.

    permit_expires: the permit's last day, which gateways heed; empty for none. training_limit: heartbeats for which a round waits for a
    hospital that trains; `heartbeat_limit` where that is more. mode: where the noise is added, local or distributed; unstated where the
    document alone says so.
    """

    task_id: str
    digest: str
    title: str
    purpose: str
    permit: str
    organisation: str
    researcher: str
    rounds: int
    min_hospitals: int
    group_size: int
    reward_micro: int
    epsilon_micro: int
    delta_inverse: int
    score_epsilon_micro: int
    score_clip_micro: int
    heartbeat_limit: int
    parameters: int
    normalisation: bool
    permit_expires: str
    training_limit: int
    mode: str


class PrivacyStatement(TypedDict):
    """`statement` task mspid: what the (ε, δ) of an approval are about; by partition, of which each patient is in one."""

    mspid: str
    unit: str
    neighbours: str
    accountant: str
    trust_model: dict[str, str]
    epsilon_micro: dict[str, int]
    delta_inverse: int


class TaskState(TypedDict):
    """`progress` task: where a task stands. Changed by `advance`, `abort_task` and the end of a round only.

    phase: proposed, keys_commit, keys_share, rounds, finished, abandoned or aborted. `clock` holds the heartbeat counts
    at the start of the phase of the hospitals that decide how much time has passed.
    """

    task_id: str
    phase: str
    reason: str
    participants: list[str]
    threshold: int
    attempt: int
    turn: int
    aggregators: list[str]
    clock: dict[str, int]
    round: int
    key_digest: str
    decryptions: int
    absent: dict[str, int]
    dropped: list[str]
    escrow_micro: int


class Undecided(TypedDict):
    """`decision` task mspid before the hospital has answered: it keeps the place, so that from the start nobody else can."""

    mspid: str


class Decision(TypedDict):
    """`decision` task mspid: a hospital's signed answer, bound to the task's digest.

    `views_digest` is of the SQL that the hospital read; `cohort_digest` is of the resources that it gives, salted by the hospital. Both
    are None in approvals that a gateway of contract 1.0 signed.
    """

    mspid: str
    approved: bool
    reason: str
    digest: str
    dataset: str
    epsilon_micro: int
    score_epsilon_micro: int
    delta_inverse: int
    batch: int
    patients: int
    quality_ppm: int
    last_round: int
    views_digest: str | None
    cohort_digest: str | None


class Withdrawal(TypedDict):
    """`withdrawal` task mspid digest: a batch of patients' withdrawals, recorded when `round` was the last round opened."""

    task_id: str
    mspid: str
    digest: str
    round: int


class Listing(TypedDict):
    """`listing` listing: what a hospital offers; never changes but for `closed`. `description`: HealthDCAT-AP in JSON-LD, of that digest.

    `price_micro` is what an equal share of an order's reward must come to. Its debit stands in `listing_debit` listing.
    """

    listing_id: str
    mspid: str
    dataset: str
    digest: str
    description: str
    price_micro: int
    purposes: list[str]
    legal_bases: list[str]
    permit_required: bool
    closed: bool


class Offer(TypedDict):
    """A listing as an order took it up."""

    listing_id: str
    mspid: str
    dataset: str
    digest: str
    price_micro: int


class Order(TypedDict):
    """`order` task: the offers that a task took up; `outcome` and `paid_micro`, by hospital, once it is settled."""

    task_id: str
    organisation: str
    legal_basis: str
    offers: list[Offer]
    reward_micro: int
    settled: bool
    outcome: str
    paid_micro: dict[str, int]


class KeyShare(TypedDict):
    """`key_share` task attempt mspid: digest of the public key share, and the key that shares for this hospital are sealed to."""

    mspid: str
    digest: str
    sealing_key: str


class KeyConfirmation(TypedDict):
    """`key_confirmation` task attempt mspid."""

    mspid: str
    key_digest: str


class KeyAccusation(TypedDict):
    """`key_accusation` task attempt mspid: who, by the evidence with this digest, dealt a false share or accused falsely."""

    mspid: str
    accused: str
    evidence: str


class SumRecord(TypedDict):
    group: int
    members: list[str]
    digest: str


class Candidate(TypedDict):
    digest: str
    rejected_groups: list[int]
    aggregator: str


class Objection(TypedDict):
    mspid: str
    reason: str
    attempt: int


class FailedQuorum(TypedDict):
    """A quorum whose shares did not open the sums."""

    attempt: int
    quorum: list[str]


class ShareObjection(TypedDict):
    """`share_objection` task round attempt mspid: the shares do not open the sums; `accused` gave a malformed one, or is empty."""

    mspid: str
    accused: str


class RoundRecord(TypedDict):
    """`round` task round; round 0 is that of fabric.contract.normalisation.

    Constant while hospitals write the keys of their own in a phase, so that they never conflict.

    phase: commit, reveal, sum, decrypt, score_commit, score_reveal, settled or aborted. `sums` are what the aggregator posted last;
    `pinned` are the members each group was first posted with, which no later post of the round may change. `seed` drew the
    aggregators and the committee, `reveal_seed` the groups and the quorum. `quarantined`: of the participants, when the round was opened.
    """

    task_id: str
    round: int
    phase: str
    attempt: int
    turn: int
    participants: list[str]
    absent: list[str]
    quarantined: list[str]
    failed_quorums: list[FailedQuorum]
    committed: list[str]
    revealed: list[str]
    scorers: list[str]
    aggregators: list[str]
    committee: list[str]
    quorum: list[str]
    groups: list[list[str]]
    seed: str
    reveal_seed: str
    weights: dict[str, int]
    clock: dict[str, int]
    sums: list[SumRecord]
    pinned: dict[str, list[str]]
    candidate: Candidate | None
    objections: list[Objection]
    silent: list[str]
    replacements: int
    decryptions: int


class Spend(TypedDict):
    partition: str
    mechanism: str
    noise_multiplier_micro: int
    sampling_rate_ppm: int
    steps: int


class Debit(TypedDict):
    """`debit` task round mspid, `release` task mspid quality-or-evaluation."""

    mspid: str
    dataset: str
    spends: list[Spend]


class ListingDebit(Debit):
    """`listing_debit` listing: what its statistics cost, before they were made."""

    listing_id: str


class Commit(TypedDict):
    """`commit` task round mspid, and `score_commit` task round mspid."""

    mspid: str
    digest: str


class RoundRoot(TypedDict):
    """`round_root` task round: the Merkle root over the model before the round and its commitments (fabric.contract.round_roots)."""

    model_digest: str
    root: str


class Reveal(TypedDict):
    """`reveal` task round mspid."""

    mspid: str
    nonce: str
    ciphertext_digest: str
    size: int


class ShareRecord(TypedDict):
    """`share` task round attempt mspid."""

    mspid: str
    digest: str


class GroupScore(TypedDict):
    group: int
    utility_micro: int


class Scores(TypedDict):
    candidate_digest: str
    candidate_micro: int
    groups: list[GroupScore]


class ScoreReveal(TypedDict):
    """`score_reveal` task round mspid."""

    mspid: str
    nonce: str
    scores: Scores


class GroupResult(TypedDict):
    """Outcome of one group: median utility of the committee, rank among the judged groups, or thrown out."""

    group: int
    members: list[str]
    median_micro: int | None
    utility_ppm: int | None
    rejected: bool


class HospitalResult(TypedDict):
    """Everything that trust.update and incentives.weight need to find `trust` and `pay_micro` again."""

    mspid: str
    attendance_ppm: int
    integrity: bool
    utility_ppm: int | None
    quality_ppm: int
    validator_ppm: int | None
    contributed: bool
    trust: Trust
    pay_micro: int
    deposit_micro: int


class NextRound(TypedDict):
    round: int
    seed: str
    participants: list[str]
    aggregators: list[str]
    committee: list[str]


class Settlement(TypedDict):
    """`settlement` task round, and the event `settled`. `next` is None once the task is over; `task_phase` then says how.

    Each of `honest` got `share_micro` of the deposits that the `fined` forfeited; `released_micro` is what fell due of earlier rounds' pay.
    """

    task_id: str
    round: int
    accepted: bool
    reason: str
    candidate: Candidate | None
    candidate_micro: int | None
    disputed: bool
    groups: list[GroupResult]
    hospitals: list[HospitalResult]
    fined: list[str]
    honest: list[str]
    share_micro: int
    released_micro: dict[str, int]
    budget_micro: int
    remainder_micro: int
    task_phase: str
    refund_micro: int
    next: NextRound | None
