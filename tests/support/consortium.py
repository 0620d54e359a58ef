"""A consortium on the in-memory ledger, played by scripted hospitals: only what the ledger sees, no training, no encryption."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fabric.contract.commitments import commitment, score_commitment
from fabric.contract.errors import ContractError
from tests.support.stub import MemoryLedger, Person, person

TASK = "breast-cancer"
LAB = "LabMSP"
DIGEST = hashlib.sha256(b"task document").hexdigest()
TRAIN = {"partition": "train", "mechanism": "gaussian", "noise_multiplier_micro": 20_000_000, "sampling_rate_ppm": 1_000_000, "steps": 1}
VALIDATION = {**TRAIN, "partition": "validation", "noise_multiplier_micro": 50_000_000}


def digest(*parts: Any) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def hospital_names(count: int) -> list[str]:
    return [f"H{number:02d}MSP" for number in range(1, count + 1)]


@dataclass
class Behaviour:
    """What a hospital does otherwise than it should, by phase; empty sets are honest."""

    offline: set[str] = field(default_factory=set)  # says nothing at all, not even heartbeats
    silent: dict[str, set[str]] = field(default_factory=dict)  # phase → hospitals that skip their duty in it
    utility: dict[str, int] = field(default_factory=dict)  # hospital → what its group's utility loses, micro
    candidate_micro: int = 10_000
    other_candidate: set[str] = field(default_factory=set)  # validators that computed another candidate
    rejected_groups: tuple[int, ...] = ()  # what the aggregator says of groups that broke their bounds

    def acts(self, mspid: str, phase: str) -> bool:
        return mspid not in self.offline and mspid not in self.silent.get(phase, set())


def refused(code: str) -> pytest.RaisesExc[ContractError]:
    """Expect a refusal with this code and a sentence."""
    return pytest.raises(ContractError, match=rf"^{code}: .{{20,}}")


class Consortium:
    """Hospitals with endpoint, gateway and data set registered; one research organisation."""

    def __init__(self, hospitals: int) -> None:
        self.ledger = MemoryLedger()
        self.hospitals = hospital_names(hospitals)
        self.researcher = person(LAB, "researcher")
        self.submit(person(LAB, "admin", "admin"), "register_organisation", name="Lab", kind="research")
        self.submit(
            person(LAB, "admin", "admin"), "register_identity", role="researcher", fingerprint=self.researcher.fingerprint, endpoint=""
        )
        for mspid in self.hospitals:
            self.register_hospital(mspid)

    def register_hospital(self, mspid: str, *, endpoint: str = "localhost:7001") -> None:
        admin = person(mspid, "admin", "admin")
        self.submit(admin, "register_organisation", name=f"Hospital {mspid}", kind="hospital")
        self.submit(admin, "register_identity", role="gateway", fingerprint=self.gateway(mspid).fingerprint, endpoint=endpoint)
        self.submit(self.gateway(mspid), "register_dataset", dataset="patients", epsilon_micro=8_000_000, delta_inverse=100_000)

    @staticmethod
    def gateway(mspid: str) -> Person:
        return person(mspid, "gateway")

    def submit(self, caller: Person, function: str, **argument: Any) -> Any:
        return self.ledger.submit(caller, function, argument or None)

    def by(self, mspid: str, function: str, **argument: Any) -> Any:
        """Submit as the hospital's gateway."""
        return self.submit(self.gateway(mspid), function, **argument)

    def endorse(self, mspid: str, function: str, **argument: Any) -> Any:
        return self.ledger.endorse(self.gateway(mspid), function, argument or None)

    def view(self, function: str, **argument: Any) -> Any:
        return self.ledger.evaluate(self.researcher, function, argument or None)

    def heartbeats(self, hospitals: Iterable[str], count: int = 1) -> None:
        for _ in range(count):
            for mspid in hospitals:
                self.by(mspid, "heartbeat")

    def task(self) -> Any:
        return self.view("task", task_id=TASK)

    def round(self, number: int | None = None) -> Any:
        return self.view("round", task_id=TASK, round=self.task()["round"] if number is None else number)

    def settlement(self, number: int) -> Any:
        return self.view("settlement", task_id=TASK, round=number)

    # The task up to its first round

    def propose(self, **changes: Any) -> None:
        terms = {
            "task_id": TASK,
            "digest": DIGEST,
            "title": "Breast cancer",
            "purpose": "Find malignant tumours",
            "permit": "EHDS-1",
            "rounds": 2,
            "min_hospitals": 3,
            "group_size": 3,
            "reward_micro": 100_000_000,
            "epsilon_micro": 6_000_000,
            "delta_inverse": 100_000,
            "score_epsilon_micro": 2_000_000,
            "score_clip_micro": 83_334,
            "heartbeat_limit": 3,
            "parameters": 31,
        }
        self.submit(self.researcher, "submit_task", **{**terms, **changes})

    def approve(self, mspid: str, **changes: Any) -> None:
        terms = {
            "task_id": TASK,
            "digest": DIGEST,
            "dataset": "patients",
            "epsilon_micro": 6_000_000,
            "score_epsilon_micro": 2_000_000,
            "delta_inverse": 100_000,
            "batch": 50,
            "patients": 100,
            "quality_ppm": 900_000,
            "last_round": self.view("task", task_id=TASK)["terms"]["rounds"],
        }
        self.by(mspid, "approve_task", **{**terms, **changes})

    def start(self, **changes: Any) -> None:
        """Propose, approve by all, make the key: round 1 is open."""
        self.propose(**changes)
        for mspid in self.hospitals:
            self.approve(mspid)
        self.advance()
        self.make_key()

    def make_key(self, hospitals: Iterable[str] | None = None) -> None:
        task = self.task()
        members = list(hospitals or task["participants"])
        for mspid in members:
            self.by(
                mspid, "commit_key_share", task_id=TASK, attempt=task["attempt"], digest=digest("share", mspid), sealing_key=digest(mspid)
            )
        self.advance()
        for mspid in members:
            self.by(mspid, "confirm_key", task_id=TASK, attempt=task["attempt"], key_digest=digest("key", task["attempt"]))
        self.advance()

    def advance(self) -> Any:
        return self.submit(self.researcher, "advance", task_id=TASK)

    def advance_late(self, behaviour: Behaviour) -> Any:
        """Let time pass until something is due, as the hospitals that are online count it."""
        alive = [mspid for mspid in self.hospitals if mspid not in behaviour.offline]
        # Four times as many where only a bare majority of a round's hospitals is left to count them.
        for _ in range(4 * self.task()["terms"]["heartbeat_limit"] + 1):
            try:
                return self.advance()
            except ContractError as refusal:
                if refusal.code != "NOT_DUE":
                    raise
                self.heartbeats(alive)
        raise AssertionError("nothing fell due")

    # A round

    def play_round(self, behaviour: Behaviour | None = None) -> Any:
        """Play the open round until it is settled; returns the settlement."""
        behaviour = behaviour or Behaviour()
        number = self.task()["round"]
        for _ in range(100):
            record = self.round(number)
            if record["phase"] == "settled":
                return self.settlement(number)
            self.play_phase(record, behaviour)
        raise AssertionError("the round does not end")

    def play_phase(self, record: Any, behaviour: Behaviour) -> None:
        """Let every hospital do its duty in this phase, then let `advance` do what is due."""
        getattr(self, f"_{record['phase']}")(record, behaviour)
        after = self.round(record["round"])
        if (after["phase"], after["turn"], after["attempt"]) == (record["phase"], record["turn"], record["attempt"]):
            self.advance_late(behaviour)

    def _commit(self, record: Any, behaviour: Behaviour) -> None:
        for mspid in record["participants"]:
            if behaviour.acts(mspid, "commit"):
                self.debit_and_commit(mspid, record["round"])

    def debit(self, mspid: str, number: int) -> None:
        self.by(mspid, "debit", task_id=TASK, round=number, spends=[TRAIN] if number == 0 else [TRAIN, VALIDATION])

    def debit_and_commit(self, mspid: str, number: int) -> None:
        self.debit(mspid, number)
        self.by(mspid, "commit", task_id=TASK, round=number, digest=self.commitment(mspid, number))

    @staticmethod
    def opening(mspid: str, number: int) -> dict[str, str]:
        return {"nonce": digest("nonce", mspid, number), "ciphertext_digest": digest("ciphertext", mspid, number)}

    def commitment(self, mspid: str, number: int) -> str:
        return commitment(TASK, number, mspid, **self.opening(mspid, number))

    def _reveal(self, record: Any, behaviour: Behaviour) -> None:
        for mspid in record["committed"]:
            if behaviour.acts(mspid, "reveal"):
                self.by(mspid, "reveal", task_id=TASK, round=record["round"], size=1000, **self.opening(mspid, record["round"]))

    def _sum(self, record: Any, behaviour: Behaviour) -> None:
        aggregator = record["aggregators"][record["turn"]]
        if behaviour.acts(aggregator, "sum"):
            held_back = behaviour.silent.get("upload", set()) | behaviour.offline
            self.by(aggregator, "post_sums", task_id=TASK, round=record["round"], sums=sums_of(record, held_back))

    def _decrypt(self, record: Any, behaviour: Behaviour) -> None:
        posted = {share["mspid"] for share in record["shares"]}
        for mspid in record["quorum"]:
            if mspid not in posted and behaviour.acts(mspid, "share"):
                place = {"task_id": TASK, "round": record["round"], "attempt": record["attempt"]}
                self.by(mspid, "post_share", **place, digest=digest("share", mspid, record["round"], record["attempt"]))
                posted.add(mspid)
        aggregator = record["aggregators"][record["turn"]]
        if posted == set(record["quorum"]) and behaviour.acts(aggregator, "candidate"):
            self.by(
                aggregator,
                "post_candidate",
                task_id=TASK,
                round=record["round"],
                digest=digest("model", record["round"]),
                rejected_groups=[entry["group"] for entry in record["sums"] if entry["group"] in behaviour.rejected_groups],
            )

    def _score_commit(self, record: Any, behaviour: Behaviour) -> None:
        for mspid in record["committee"]:
            if behaviour.acts(mspid, "score_commit"):
                committed = score_commitment(TASK, record["round"], mspid, digest(mspid), self.scores(record, behaviour, mspid))
                self.by(mspid, "commit_scores", task_id=TASK, round=record["round"], digest=committed)

    def _score_reveal(self, record: Any, behaviour: Behaviour) -> None:
        for mspid in record["scorers"]:
            if behaviour.acts(mspid, "score_reveal"):
                scores = self.scores(record, behaviour, mspid)
                self.by(mspid, "reveal_scores", task_id=TASK, round=record["round"], nonce=digest(mspid), scores=scores)

    @staticmethod
    def scores(record: Any, behaviour: Behaviour, mspid: str) -> dict[str, Any]:
        groups = [
            {"group": entry["group"], "utility_micro": 10_000 - sum(behaviour.utility.get(member, 0) for member in entry["members"])}
            for entry in record["sums"]
            if mspid not in record["groups"][entry["group"]]
        ]
        model = digest("other" if mspid in behaviour.other_candidate else "model", record["round"])
        if record["round"] == 0:
            return {"candidate_digest": model, "candidate_micro": 0, "groups": []}
        return {"candidate_digest": model, "candidate_micro": behaviour.candidate_micro, "groups": groups}

    # What must always hold

    def tokens(self) -> int:
        """Everything there is: balances, bonds, rewards that vest, escrow, treasury, and what proofs took."""
        accounts = sum(record["balance_micro"] + record["bond_micro"] for record in self.ledger.records("account"))
        escrow = sum(record["escrow_micro"] for record in self.ledger.records("progress"))
        treasury = sum(record["amount_micro"] for record in self.ledger.records("treasury"))
        slashed = sum(record["treasury_micro"] for record in self.ledger.records("slash"))
        vesting = sum(sum(record["due_micro"]) for record in self.ledger.records("vesting"))
        disputes = sum(record["escrow_micro"] + record["treasury_micro"] for record in self.ledger.records("dispute"))
        lent = sum(sum(record["by"].values()) for record in self.ledger.records("delegation"))
        return int(accounts + escrow + treasury + slashed + vesting + disputes + lent)

    def minted(self) -> int:
        return 1_000_000_000 * len(self.ledger.records("organisation"))


def sums_of(record: Any, held_back: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What an honest aggregator posts: each group's members whose ciphertexts it has, if there are three."""
    entries = []
    for number, group in enumerate(record["groups"]):
        members = record["pinned"].get(str(number)) or [mspid for mspid in group if mspid not in held_back]
        if len(members) >= 3:
            entries.append({"group": number, "members": members, "digest": digest("sum", record["round"], *members)})
    return entries
