"""What the contract's views answer, as frozen dataclasses. Fields a newer contract adds are ignored."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class VersionView:
    contract: str
    version: str
    schema: int


@dataclass(frozen=True)
class GatewayAddress:
    fingerprint: str
    endpoint: str


@dataclass(frozen=True)
class OrganisationView:
    """An organisation with its account. Amounts in micro-tokens; `trust_ppm` is 0 for one that never trained."""

    mspid: str
    name: str
    kind: str
    leave: bool
    gateways: tuple[GatewayAddress, ...]
    balance_micro: int
    bond_micro: int
    trust_ppm: int
    heartbeats: int
    delegated_micro: int = 0
    """What others lend to its stake."""
    fairness_ppm: int = 1_000_000
    """What auditors attested: rewards are weighted by it."""
    vesting_micro: int = 0
    """Rewards that are earned and fall due with the rounds to come."""
    ejected: bool = False
    """It lost its bond to a proof and takes part in nothing any more."""


@dataclass(frozen=True)
class IdentityView:
    mspid: str
    fingerprint: str
    role: str
    endpoint: str
    revoked: bool


@dataclass(frozen=True)
class FilterView:
    """One partition's Rényi filter. RDP in micro-units at the orders of fabric.contract.budget.ORDERS."""

    partition: str
    epsilon_micro: int
    delta_inverse: int
    caps_micro: tuple[int, ...]
    spent_micro: tuple[int, ...]
    epsilon_spent_micro: int


@dataclass(frozen=True)
class BudgetView:
    mspid: str
    dataset: str
    epsilon_micro: int
    delta_inverse: int
    filters: tuple[FilterView, ...]


@dataclass(frozen=True)
class DatasetView:
    """A registered data set with its budget for ever."""

    mspid: str
    dataset: str
    epsilon_micro: int
    delta_inverse: int


@dataclass(frozen=True)
class SpentView:
    """What a task took from one partition of a data set: `steps` releases of the same kind."""

    task_id: str
    partition: str
    mechanism: str
    noise_multiplier_micro: int
    sampling_rate_ppm: int
    steps: int


@dataclass(frozen=True)
class TrustView:
    """Trust of a hospital: T in ppm, the accumulators P and X in micro-units it comes from, its last credits, and its quarantine."""

    mspid: str
    trust_ppm: int
    positive: int
    negative: int
    streak: int
    history_ppm: tuple[int, ...]
    quarantined: bool = False  # settlements of contract 1.0 do not tell


@dataclass(frozen=True)
class TaskTerms:
    """What the researcher submitted; never changes."""

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
    normalisation: bool = False
    permit_expires: str = ""
    """The permit's last day, YYYY-MM-DD; empty where it has none."""
    training_limit: int = 1
    """Heartbeats for which a hospital that has debited and goes on beating is waited for; `heartbeat_limit` where that is more."""
    mode: str = "unstated"
    """Where the noise is added: local or distributed; unstated in tasks of contract 1.0, whose document alone says so."""

    @property
    def first_round(self) -> int:
        """0 where the task begins by normalising its inputs."""
        return 0 if self.normalisation else 1


@dataclass(frozen=True)
class DisputeSeat:
    """A judge, and the X25519 key (32 bytes in hex) that an update's shares are sealed to for it."""

    mspid: str
    sealing_key: str


@dataclass(frozen=True)
class DisputeShare:
    """A key holder's answer: digest of its sealed shares, None where it got no ciphertext."""

    mspid: str
    digest: str | None


@dataclass(frozen=True)
class FindingView:
    """What a judge found: sound, malformed, harmful, or unreadable where the key holders' shares did not open the update."""

    mspid: str
    finding: str
    opened_digest: str


@dataclass(frozen=True)
class DisputeView:
    """A dispute about one update. `phase`: seating, opening, finding, revealing, closed; `outcome`: guilty, unfounded, lapsed, or empty.

    `elapsed` of `limit` heartbeats of the phase have passed.
    """

    task_id: str
    round: int
    accused: str
    accuser: str
    reason: str
    phase: str
    ciphertext_digest: str
    committee: tuple[str, ...]
    quorum: tuple[str, ...]
    fined: tuple[str, ...]
    escrow_micro: int
    treasury_micro: int
    outcome: str
    elapsed: int
    limit: int
    seats: tuple[DisputeSeat, ...]
    shares: tuple[DisputeShare, ...]
    committed: tuple[str, ...]
    findings: tuple[FindingView, ...]


@dataclass(frozen=True)
class TaskSummary:
    """One line of the list of tasks. `phase`: see TaskView."""

    task_id: str
    digest: str
    title: str
    organisation: str
    phase: str
    reason: str
    round: int
    rounds: int
    participants: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """A hospital's answer to a task; a rejection has `approved` False, a reason and zeros.

    Digests of the SQL that the hospital read and of its resources, the latter salted; None in rejections and where a gateway did not
    tell yet.
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
    views_digest: str | None = None
    cohort_digest: str | None = None


@dataclass(frozen=True)
class KeyShare:
    mspid: str
    digest: str
    sealing_key: str


@dataclass(frozen=True)
class KeyConfirmation:
    mspid: str
    key_digest: str


@dataclass(frozen=True)
class Spend:
    """One privacy event of a debit. partition: train, validation or test; mechanism: gaussian or sampled_gaussian."""

    partition: str
    mechanism: str
    noise_multiplier_micro: int
    sampling_rate_ppm: int
    steps: int


@dataclass(frozen=True)
class Debit:
    mspid: str
    dataset: str
    spends: tuple[Spend, ...]


@dataclass(frozen=True)
class PrivacyStatement:
    """What the (ε, δ) of a hospital's approval are about; by partition, of which each patient is in one."""

    mspid: str
    unit: str
    neighbours: str
    accountant: str
    trust_model: dict[str, str]
    epsilon_micro: dict[str, int]
    delta_inverse: int


@dataclass(frozen=True)
class Withdrawal:
    """A batch of patients' withdrawals, recorded when `round` was the last round opened."""

    task_id: str
    mspid: str
    digest: str
    round: int


@dataclass(frozen=True)
class ListingView:
    """What a hospital offers; `description` is HealthDCAT-AP in JSON-LD, of that SHA-256."""

    listing_id: str
    mspid: str
    dataset: str
    digest: str
    description: str
    price_micro: int
    purposes: tuple[str, ...]
    legal_bases: tuple[str, ...]
    permit_required: bool
    closed: bool


@dataclass(frozen=True)
class Offer:
    """A listing as an order took it up."""

    listing_id: str
    mspid: str
    dataset: str
    digest: str
    price_micro: int


@dataclass(frozen=True)
class OrderView:
    """A task that took up offers; `outcome` and `paid_micro`, by hospital, are empty until it is settled."""

    task_id: str
    organisation: str
    legal_basis: str
    offers: tuple[Offer, ...]
    reward_micro: int
    settled: bool
    outcome: str
    paid_micro: dict[str, int]


@dataclass(frozen=True)
class KeyAccusation:
    """By the evidence with this digest, `accused` dealt a false share of the key, or accused another of it falsely."""

    mspid: str
    accused: str
    evidence: str


@dataclass(frozen=True)
class TaskView:
    """Where a task stands.

    phase: proposed → keys_commit → keys_share → rounds → finished; or abandoned, aborted (`reason` says why).
    participants: the key holders, sorted by MSP id; holder i of the threshold key (x = i, from 1) is participants[i - 1].
    attempt, turn, aggregators: of the key ceremony; aggregators[turn] is its hub. key_shares and confirmations are those of
    this attempt. absent: hospital → round since which it is left out until it calls `rejoin`. elapsed: heartbeats a quorum
    agrees have passed in this phase, of `terms.heartbeat_limit`; endpoints: of every hospital concerned, where it has one.
    """

    terms: TaskTerms
    phase: str
    reason: str
    participants: tuple[str, ...]
    threshold: int
    attempt: int
    turn: int
    aggregators: tuple[str, ...]
    round: int
    key_digest: str
    decryptions: int
    absent: dict[str, int]
    dropped: tuple[str, ...]
    escrow_micro: int
    elapsed: int
    hospitals: tuple[str, ...]
    decisions: tuple[Decision, ...]
    key_shares: tuple[KeyShare, ...]
    confirmations: tuple[KeyConfirmation, ...]
    endpoints: dict[str, str]
    accusations: tuple[KeyAccusation, ...] = ()
    statements: tuple[PrivacyStatement, ...] = ()
    releases: tuple[Debit, ...] = ()
    """Debits for what hospitals tell outside the rounds: their data's quality, and their evaluations of the model."""
    withdrawals: tuple[Withdrawal, ...] = ()
    disputes: tuple[DisputeView, ...] = ()
    """Those that are open."""

    @property
    def over(self) -> bool:
        """True once nothing more will happen in this task."""
        return self.phase in ("finished", "abandoned", "aborted")

    def decision(self, mspid: str) -> Decision | None:
        return next((decision for decision in self.decisions if decision.mspid == mspid), None)

    def holder_index(self, mspid: str) -> int:
        """The hospital's x of the threshold key, from 1."""
        return self.participants.index(mspid) + 1


@dataclass(frozen=True)
class Commit:
    mspid: str
    digest: str


@dataclass(frozen=True)
class Reveal:
    """`size`: bytes of the ciphertext."""

    mspid: str
    nonce: str
    ciphertext_digest: str
    size: int


@dataclass(frozen=True)
class Share:
    mspid: str
    digest: str


@dataclass(frozen=True)
class Sum:
    """The sum of one group: index into the round's groups, whose ciphertexts are in it, digest of the sum's bytes."""

    group: int
    members: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Candidate:
    digest: str
    rejected_groups: tuple[int, ...]
    aggregator: str


@dataclass(frozen=True)
class GroupScore:
    group: int
    utility_micro: int


@dataclass(frozen=True)
class Scores:
    """A validator's judgement: digest of the model it recomputed, its utility, and each other group's utility (micro)."""

    candidate_digest: str
    candidate_micro: int
    groups: tuple[GroupScore, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `score_commitment` and `reveal_scores` take."""
        return {**asdict(self), "groups": [asdict(group) for group in self.groups]}


@dataclass(frozen=True)
class ScoreReveal:
    mspid: str
    nonce: str
    scores: Scores


@dataclass(frozen=True)
class Objection:
    mspid: str
    reason: str
    attempt: int


@dataclass(frozen=True)
class FailedQuorum:
    """A quorum whose shares did not open the sums."""

    attempt: int
    quorum: tuple[str, ...]


@dataclass(frozen=True)
class ShareObjection:
    """The attempt's shares do not open the sums; `accused` gave a malformed one, or is empty."""

    mspid: str
    accused: str


@dataclass(frozen=True)
class RoundView:
    """A round: its record, and what each hospital wrote.

    phase: commit → reveal → sum → decrypt → score_commit → score_reveal → settled; or aborted. aggregators[turn] acts now.
    attempt: counts quorums and sums; shares are bound to it and `shares` holds those of this attempt. committed, revealed
    and scorers are fixed when their phase closes; before, look at commits, reveals and score_commits. groups, quorum: from
    phase sum on, drawn from reveal_seed; aggregators and committee from seed. quarantined: of the participants, when the round was
    opened. elapsed: see TaskView, limit: the task's heartbeat limit.
    """

    task_id: str
    round: int
    phase: str
    attempt: int
    turn: int
    participants: tuple[str, ...]
    absent: tuple[str, ...]
    quarantined: tuple[str, ...]
    committed: tuple[str, ...]
    revealed: tuple[str, ...]
    scorers: tuple[str, ...]
    aggregators: tuple[str, ...]
    committee: tuple[str, ...]
    quorum: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    seed: str
    reveal_seed: str
    sums: tuple[Sum, ...]
    pinned: dict[str, tuple[str, ...]]
    candidate: Candidate | None
    objections: tuple[Objection, ...]
    silent: tuple[str, ...]
    replacements: int
    decryptions: int
    elapsed: int
    limit: int
    debits: tuple[Debit, ...]
    commits: tuple[Commit, ...]
    reveals: tuple[Reveal, ...]
    shares: tuple[Share, ...]
    score_commits: tuple[Commit, ...]
    score_reveals: tuple[ScoreReveal, ...]
    endpoints: dict[str, str]
    failed_quorums: tuple[FailedQuorum, ...] = ()
    share_objections: tuple[ShareObjection, ...] = ()
    root: str = ""
    """Merkle root over the model before the round and its commitments; empty before commits are closed."""

    @property
    def normalises(self) -> bool:
        """Whether this is round 0, which normalises the model's inputs and trains nothing."""
        return self.round == 0

    @property
    def aggregator(self) -> str:
        """MSP id of the hospital whose turn it is to aggregate."""
        return self.aggregators[self.turn]

    def apart(self, group: int) -> bool:
        """Whether a group is of quarantined hospitals only: it is summed and judged, and has no part in the candidate."""
        return set(self.groups[group]) <= set(self.quarantined)

    def group_of(self, mspid: str) -> int | None:
        """The group a hospital was put in, None if it is in none."""
        return next((number for number, members in enumerate(self.groups) if mspid in members), None)


@dataclass(frozen=True)
class GroupResult:
    group: int
    members: tuple[str, ...]
    median_micro: int | None
    utility_ppm: int | None
    rejected: bool


@dataclass(frozen=True)
class HospitalResult:
    """What one hospital got in a round; `trust` is its state after it."""

    mspid: str
    attendance_ppm: int
    integrity: bool
    utility_ppm: int | None
    quality_ppm: int
    validator_ppm: int | None
    contributed: bool
    trust: TrustView
    pay_micro: int
    deposit_micro: int
    """Forfeited for silence, or a commitment that was never opened."""


@dataclass(frozen=True)
class NextRound:
    round: int
    seed: str
    participants: tuple[str, ...]
    aggregators: tuple[str, ...]
    committee: tuple[str, ...]


@dataclass(frozen=True)
class SettlementView:
    """How a round ended. accepted: the candidate is the new model; otherwise the model stays and `reason` says why.

    disputed: most validators computed another candidate. task_phase: rounds, finished or abandoned, with what went back
    to the researcher in `refund_micro`.
    """

    task_id: str
    round: int
    accepted: bool
    reason: str
    candidate: Candidate | None
    candidate_micro: int | None
    disputed: bool
    groups: tuple[GroupResult, ...]
    hospitals: tuple[HospitalResult, ...]
    budget_micro: int
    remainder_micro: int
    task_phase: str
    refund_micro: int
    next: NextRound | None
